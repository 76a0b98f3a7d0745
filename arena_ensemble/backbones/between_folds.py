"""What a process may keep loaded between the folds of one member: a base, its tokenizer, token ids.

Off unless the pipeline turns it on, because it shares one model: inside, what a backbone's ``fit`` or
``load`` returned is valid until the next ``fit`` or ``load``. Results are the same to the bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

Shelf = dict[str, Any]
"""By name; what lies there is the backbones' own."""
_open: list[Shelf] = []


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Fold models are fitted, loaded and used one after the other inside; all is given back at the end."""
    _open.append({})
    try:
        yield
    finally:
        _open.pop().clear()


def shelf() -> Shelf | None:
    """Where to keep things; None outside :func:`kept`."""
    return _open[-1] if _open else None
