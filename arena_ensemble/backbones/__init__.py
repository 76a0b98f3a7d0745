"""The registry of backbones: a name, the module that makes it. Nothing is imported until asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Final, cast

from ..errors import ArenaError, RecipeError
from .base import Backbone

MODULES: Final = {
    "classify": "arena_ensemble.backbones.classify",
    "generate": "arena_ensemble.backbones.generate",
    "reward": "arena_ensemble.backbones.reward",
    "lexical": "arena_ensemble.backbones.lexical",
}


def get(name: str) -> Backbone:
    """The backbone of that name: a module with ``prepare``, ``fit``, ``load`` and ``predict``.

    Raises
    ------
    RecipeError
        No backbone has that name.
    """
    if name not in MODULES:
        raise RecipeError(f"unknown backbone {name!r}; there are: {', '.join(MODULES)}")
    return cast(Backbone, import_module(MODULES[name]))


@contextlib.contextmanager
def reraise_os_errors(folder: Path) -> Iterator[None]:
    """What the disk says while a backbone works in ``folder``, as one clear error.

    safetensors tells of a full disk by an exception of its own, which is no ``OSError``.
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
