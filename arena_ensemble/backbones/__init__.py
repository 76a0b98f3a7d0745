"""The backbones: a registry of heads by name, and the language and lexical models behind them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import ArenaError
from .registry import HEADS, Head, get, head_of

__all__ = ["HEADS", "Head", "get", "head_of", "reraise_os_errors"]


@contextlib.contextmanager
def reraise_os_errors(folder: Path) -> Iterator[None]:
    """Errors of the file system while a backbone works in ``folder``, as one :class:`ArenaError`.

    safetensors reports a full disk by an exception of its own, which is no ``OSError``.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ArenaError(
            f"{folder}: {reason}; nothing finished earlier was changed. Free some space or choose another "
            "--workspace, then run the same command again"
        ) from error
