"""Battles that are in memory already: a polars or pandas frame, or dictionaries, read as a file would be."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from ..battles import Battles
from ..errors import InputError
from .battles import read_battles


class PandasLike(Protocol):
    """A pandas frame, as far as it is needed: pandas itself is no dependency."""

    def to_dict(self, orient: str) -> list[dict[str, Any]]:
        """Rows as dictionaries, for ``orient="records"``."""


BattlesLike = Battles | pl.DataFrame | PandasLike | Sequence[Mapping[str, Any]]


def as_battles(battles: BattlesLike) -> Battles:
    """Battles from whatever holds them in memory, by the rules of `read_battles`.

    Parameters
    ----------
    battles
        `Battles`, a polars or pandas frame with the columns of any known format, or dictionaries with
        ``prompt``, ``response_a`` and ``response_b`` (each a text, or a list of turns). Rows without ids are
        numbered from 1.

    Raises
    ------
    InputError
        There are no rows, or they cannot be read as battles.
    """
    if isinstance(battles, Battles):
        return battles
    if isinstance(battles, pl.DataFrame):
        rows: Sequence[Mapping[str, Any]] = battles.to_dicts()
    elif isinstance(battles, Sequence):
        rows = battles
    else:
        rows = battles.to_dict("records")
    if not rows:
        raise InputError("no battles: give at least one row with prompt, response_a and response_b")
    lines = "".join(json.dumps(dict(row), default=_plain) + "\n" for row in rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "battles.jsonl"
        path.write_text(lines, encoding="utf-8")
        return read_battles(path, need_ids=False)


def _plain(value: Any) -> Any:
    """NumPy and polars scalars and arrays as JSON values."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "to_list"):
        return value.to_list()
    raise InputError(
        f"a battle holds a {type(value).__name__}: give texts, lists of texts, and numbers as ids"
    )
