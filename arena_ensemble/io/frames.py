"""Battles that are in memory already: a polars or pandas frame, or dictionaries."""

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
from .ids import replaced_surrogates


class PandasLike(Protocol):
    """A pandas frame, as far as it is needed: pandas itself is no dependency."""

    def to_dict(self, orient: str) -> list[dict[str, Any]]:
        """Rows as dictionaries, for ``orient="records"``."""


BattlesLike = (
    Battles | str | Path | pl.DataFrame | PandasLike | Mapping[str, Any] | Sequence[Mapping[str, Any]]
)


def as_battles(battles: BattlesLike, *, format: str | None = None) -> Battles:
    """Battles from whatever holds them.

    Parameters
    ----------
    battles
        `Battles`; a file; a polars or pandas frame with the columns of any known format, read as a file
        with these cells would be; or dictionaries (one, or a sequence) with ``prompt``, ``response_a`` and
        ``response_b``, each a text, taken as it stands, or a list of turns. Rows without ids are numbered
        from 1.
    format
        Of a file or a frame: a key of ``FORMATS``; by default decided from columns and cells.

    Raises
    ------
    InputError
        There are no rows, they cannot be read as battles, or this is none of the above.
    """
    if isinstance(battles, Battles):
        return battles
    if isinstance(battles, str | Path):
        return read_battles(Path(battles), format=format)
    if isinstance(battles, Mapping):
        return _from_rows([battles])
    if isinstance(battles, pl.DataFrame):
        return _from_frame(battles.to_dicts(), format)
    if hasattr(battles, "to_dict"):
        return _from_frame(battles.to_dict("records"), format)
    if isinstance(battles, list | tuple) and all(isinstance(row, Mapping) for row in battles):
        return _from_rows(battles)
    raise InputError(
        f"battles given as {type(battles).__name__}: give Battles, a file, a polars or pandas frame, "
        "or a list of dictionaries with prompt, response_a and response_b"
    )


def _from_rows(rows: Sequence[Mapping[str, Any]]) -> Battles:
    _refuse_none(rows)
    numbered = ({"id": number, **row} for number, row in enumerate(rows, start=1))
    return Battles.from_rows([{name: _writable(value) for name, value in row.items()} for row in numbered])


def _writable(value: Any) -> Any:
    """Texts with lone surrogates replaced, as in files."""
    if isinstance(value, list | tuple):
        return [_writable(one) for one in value]
    return replaced_surrogates(value) if isinstance(value, str) else value


def _from_frame(rows: list[dict[str, Any]], format: str | None) -> Battles:
    _refuse_none(rows)
    lines = "".join(json.dumps(row, default=_plain) + "\n" for row in rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.jsonl"
        path.write_text(lines, encoding="utf-8")
        return read_battles(path, format=format, need_ids=False)


def _refuse_none(rows: Sequence[Any]) -> None:
    if not rows:
        raise InputError("no battles: give at least one row with prompt, response_a and response_b")


def _plain(value: Any) -> Any:
    """NumPy and polars scalars and arrays as JSON values; whatever else a column holds as text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return value.to_list() if hasattr(value, "to_list") else str(value)
