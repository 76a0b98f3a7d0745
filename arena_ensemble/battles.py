"""Battles: the input of the pipeline, what exchanging the two responses means, and the one join by id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from .errors import InputError

TURNS: Final = pl.List(pl.String)
TEXTS: Final = ("prompt", "response_a", "response_b")
PART_ROWS: Final = 1 << 16
_REQUIRED: Final = {"prompt": TURNS, "response_a": TURNS, "response_b": TURNS, "outcome": pl.Int8}
_OPTIONAL: Final = {"model_a": pl.String, "model_b": pl.String, "language": pl.String}
_EXCHANGED: Final = {
    "response_a": "response_b",
    "response_b": "response_a",
    "model_a": "model_b",
    "model_b": "model_a",
}


class Outcome(IntEnum):
    """Who won, in the column order of every (n, 3) array of this package (Kaggle's order)."""

    A = 0
    B = 1
    TIE = 2


SWAP: Final = (1, 0, 2)
"""Column order after the two responses are exchanged: ``probs[:, SWAP]``. An involution."""


def _as_turns(value: Any, name: str, number: int) -> Any:
    """A plain text as a list of one turn; what is no text is refused, which polars would make null."""
    if name not in TEXTS or value is None:
        return value
    turns = value.tolist() if hasattr(value, "tolist") else value
    turns = [turns] if isinstance(turns, str) else turns
    if isinstance(turns, list | tuple):
        other = [turn for turn in turns if not isinstance(turn, str | None)]
        if not other:
            return list(turns)
        kind = f"a list with {type(other[0]).__name__}"
    else:
        kind = type(value).__name__
    raise InputError(
        f"row {number} of the battles: {name} is {kind}; give a text, or a list of turns, each a text or "
        "None (of chat messages their content)"
    )


def match_rows(ids: pl.Series, wanted: pl.Series) -> npt.NDArray[np.int64]:
    """The row of ``ids`` at which each wanted id stands, (len(wanted),); -1 where it is not there.

    Parameters
    ----------
    ids
        Unique ids.
    wanted
        Ids of the same type, in any order.
    """
    rows = pl.DataFrame({"id": ids, "row": np.arange(len(ids))})
    found = pl.DataFrame({"id": wanted}).join(rows, on="id", how="left", maintain_order="left")["row"]
    return found.fill_null(-1).to_numpy().astype(np.int64)


def align_rows(
    ids: pl.Series, wanted: pl.Series, *, name: str, missing: str = "missing", remedy: str = ""
) -> npt.NDArray[np.int64]:
    """As :func:`match_rows`, where every wanted id must be there: rows are joined by id, never by position.

    Parameters
    ----------
    name
        What is aligned, for the error.
    missing
        What is wrong with an id that is not there: "2 ids are ``missing``".
    remedy
        What to do then, for the error.

    Raises
    ------
    InputError
        An id is missing, or the ids are of another type.
    """
    if ids.dtype != wanted.dtype:
        raise InputError(f"{name}: ids are {ids.dtype}, the battles' ids are {wanted.dtype}")
    rows = match_rows(ids, wanted)
    absent = wanted.filter(pl.Series(rows < 0))
    if len(absent):
        more = f"; {remedy}" if remedy else ""
        raise InputError(f"{name}: {len(absent)} ids are {missing}, the first is {absent[0]!r}{more}")
    return rows


@dataclass(frozen=True, eq=False)
class Battles:
    """An immutable table of battles.

    ``frame`` holds ``id`` (Int64 or String, unique, never re-typed), ``prompt``, ``response_a``,
    ``response_b`` (each a list of turns, a turn may be null), ``outcome`` (Int8 in {0, 1, 2} or
    null), and where known ``model_a``, ``model_b``, ``language`` (String).

    Raises
    ------
    InputError
        A required column is missing or of another type, an id is null or repeats, or an outcome
        lies outside {0, 1, 2}.
    """

    frame: pl.DataFrame
    _digests: dict[bool, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        frame = self.frame
        for name, dtype in _REQUIRED.items():
            if name not in frame.columns:
                raise InputError(f"battles lack the column {name!r}; columns: {', '.join(frame.columns)}")
            if frame.schema[name] != dtype:
                raise InputError(f"battles column {name!r} is {frame.schema[name]}, expected {dtype}")
        if "id" not in frame.columns or frame.schema["id"] not in (pl.Int64, pl.String):
            raise InputError("battles need a column 'id' of integers or strings")
        if frame["id"].null_count():
            raise InputError("battles hold a null id")
        repeated = frame["id"].filter(frame["id"].is_duplicated())
        if len(repeated):
            raise InputError(f"battles repeat the id {repeated[0]!r}; every id must be unique")
        outcome = frame["outcome"].drop_nulls()
        if len(outcome) and not outcome.is_between(0, 2).all():
            raise InputError("battles hold an outcome outside 0 (A), 1 (B), 2 (tie)")
        known = ["id", *_REQUIRED, *(name for name in _OPTIONAL if name in frame.columns)]
        object.__setattr__(self, "frame", frame.select(known))

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> Battles:
        """Build from dictionaries with the columns above; a missing ``outcome`` is null.

        ``prompt``, ``response_a`` and ``response_b`` are lists of turns; a plain text is one turn.

        Raises
        ------
        InputError
            A row lacks its id or a text, a text is something else, or as for the class.
        """
        for number, row in enumerate(rows, start=1):
            lacks = [name for name in ("id", *TEXTS) if name not in row]
            if lacks:
                raise InputError(
                    f"row {number} of the battles lacks {', '.join(map(repr, lacks))}; it has: "
                    f"{', '.join(map(str, row)) or 'nothing'}"
                )
        kind = pl.Int64 if all(isinstance(row["id"], int) for row in rows) else pl.String
        schema: dict[str, Any] = {"id": kind, **_REQUIRED}
        schema.update({name: dtype for name, dtype in _OPTIONAL.items() if any(name in r for r in rows)})
        records = [
            {name: _as_turns(row.get(name), name, number) for name in schema}
            for number, row in enumerate(rows, start=1)
        ]
        return cls(pl.DataFrame(records, schema=schema))

    def __len__(self) -> int:
        return self.facts.height

    @property
    def facts(self) -> pl.DataFrame:
        """Ids, outcomes and what else is known, for whoever needs no texts: those may lie in files."""
        return self.frame

    @property
    def ids(self) -> pl.Series:
        """The ids, in row order."""
        return self.facts["id"]

    @property
    def labelled(self) -> bool:
        """Whether every row has an outcome."""
        return self.facts["outcome"].null_count() == 0

    def outcomes(self) -> npt.NDArray[np.int64]:
        """Outcomes as integers, (n,), in {0, 1, 2}.

        Raises
        ------
        InputError
            A row has no outcome.
        """
        column = self.facts["outcome"]
        if column.null_count():
            row = int(column.is_null().arg_max() or 0)
            raise InputError(f"battle {self.ids[row]!r} (row {row + 1}) has no outcome; training needs one")
        return column.to_numpy().astype(np.int64)

    def parts(self, rows: int = PART_ROWS) -> Iterator[Battles]:
        """The battles in order, so many at a time: for what looks at each text once."""
        if len(self) <= rows:
            yield self
            return
        for start in range(0, len(self), rows):
            yield Battles(self.frame.slice(start, rows))

    def in_memory(self) -> Battles:
        """The same battles, no text in a file."""
        return self

    def take(self, rows: npt.NDArray[np.integer[Any]] | Sequence[int]) -> Battles:
        """The given rows, in the given order."""
        return Battles(self.frame[np.asarray(rows, dtype=np.int64)])

    def without_outcomes(self) -> Battles:
        """The same battles with every outcome null: what a model may see when it predicts."""
        if self.frame["outcome"].null_count() == len(self):
            return self
        return Battles(self.frame.with_columns(pl.lit(None, dtype=pl.Int8).alias("outcome")))

    def swapped(self) -> Battles:
        """Exchange the two responses, the model names and the outcome. Swapping twice is identity.

        A rename of columns; the text is not copied.
        """
        frame = self.frame.rename({k: v for k, v in _EXCHANGED.items() if k in self.frame.columns})
        outcome = pl.col("outcome")
        flipped = pl.when(outcome == 2).then(outcome).otherwise(1 - outcome).cast(pl.Int8)
        return Battles(frame.with_columns(flipped.alias("outcome")).select(self.frame.columns))

    def digest(self, *, outcomes: bool = True) -> str:
        """SHA-256 over ids and texts (and outcomes), independent of file format and library version.

        Computed once: the table never changes.
        """
        if outcomes not in self._digests:
            self._digests[outcomes] = self._digest(outcomes)
        return self._digests[outcomes]

    def _digest(self, outcomes: bool) -> str:
        columns = ["id", "prompt", "response_a", "response_b", *(["outcome"] if outcomes else [])]
        state = hashlib.sha256(json.dumps(columns).encode())
        for part in self.parts():
            for row in part.frame.select(columns).iter_rows():
                state.update(json.dumps(row, ensure_ascii=False).encode())
        return state.hexdigest()
