"""What transformers prints of its own accord, off for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """transformers' own notices and bars off for a while: we report what matters."""
    from transformers.utils import logging as notices

    level = notices.get_verbosity()
    notices.set_verbosity_error()
    notices.disable_progress_bar()
    try:
        yield
    finally:
        notices.set_verbosity(level)
