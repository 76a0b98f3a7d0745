"""`Judgements`: a table of pairs, and for each judge a column of what it answered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ..errors import InputError
from .columns import JudgeColumn
from .pair_names import joined_ids, match_pairs


@dataclass(frozen=True, eq=False)
class Judgements:
    """An immutable table: n pairs, and for each judge a column of what it answered.

    Parameters
    ----------
    ids
        (n,) unique ids, Int64 or String, as in `Battles`.
    columns
        Judge → its column of n rows.
    costs
        Judge → cost of one call, in any one unit (dollars, seconds); judges without a cost are absent.
    numbers
        Judge → what numbers meant as its verdicts, ``120`` or ``012``, of those that gave numbers.

    Raises
    ------
    InputError
        A null or repeated id, no judge, rows that differ, or a cost that is negative or of no judge.
    """

    ids: pl.Series
    columns: Mapping[str, JudgeColumn]
    costs: Mapping[str, float] = field(default_factory=dict)
    numbers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.ids.dtype not in (pl.Int64, pl.String) or self.ids.null_count():
            raise InputError("judgements need ids that are integers or strings, none of them null")
        if self.ids.n_unique() != len(self.ids):
            repeated = self.ids.filter(self.ids.is_duplicated())[0]
            raise InputError(f"judgements repeat the id {repeated!r}; give every pair one id")
        if not self.columns:
            raise InputError("judgements hold no judge; give at least one column of verdicts or scores")
        for name, column in self.columns.items():
            if len(column) != len(self.ids):
                raise InputError(
                    f"judge {name!r} has {len(column)} rows for {len(self.ids)} ids; align it first"
                )
        for name, cost in self.costs.items():
            if name not in self.columns or not 0 <= cost < float("inf"):
                raise InputError(f"cost {cost} of {name!r}: give a finite cost per call of a judge")
        object.__setattr__(self, "columns", dict(self.columns))
        object.__setattr__(self, "costs", {name: float(cost) for name, cost in self.costs.items()})
        object.__setattr__(self, "numbers", dict(self.numbers))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def judges(self) -> tuple[str, ...]:
        """The judges' names, in the order given."""
        return tuple(self.columns)

    @property
    def missing(self) -> dict[str, int]:
        """Judge → pairs about which it gave no usable answer."""
        return {name: int(column.missing.sum()) for name, column in self.columns.items()}

    def take(self, rows: npt.NDArray[np.integer[Any]] | Sequence[int]) -> Judgements:
        """The given rows, in the given order."""
        index = np.asarray(rows, dtype=np.int64)
        return Judgements(
            self.ids[index],
            {name: column.take(index) for name, column in self.columns.items()},
            self.costs,
            self.numbers,
        )

    def swapped(self) -> Judgements:
        """The judgements of the exchanged answers, what was seen first exchanged too."""
        return Judgements(
            self.ids,
            {name: column.swapped() for name, column in self.columns.items()},
            self.costs,
            self.numbers,
        )

    def select(self, judges: Sequence[str]) -> Judgements:
        """The given judges, in the given order.

        Raises
        ------
        InputError
            A judge that is not there.
        """
        if absent := [name for name in judges if name not in self.columns]:
            raise InputError(f"no judge {absent[0]!r}; choose among: {', '.join(self.judges)}")
        costs = {name: cost for name, cost in self.costs.items() if name in judges}
        numbers = {name: coding for name, coding in self.numbers.items() if name in judges}
        return Judgements(self.ids, {name: self.columns[name] for name in judges}, costs, numbers)

    @classmethod
    def joined(cls, parts: Sequence[Judgements]) -> Judgements:
        """Several tables of different judges as one, on the union of their ids in order of appearance.

        ``item|b|a`` is joined with ``item|a|b`` of another table, its answers exchanged.

        Raises
        ------
        InputError
            A judge that two tables hold, or ids of different types.
        """
        first = parts[0]
        columns: dict[str, JudgeColumn] = {}
        costs: dict[str, float] = {}
        numbers: dict[str, str] = {}
        for part in parts:
            if part.ids.dtype != first.ids.dtype:
                raise InputError(
                    f"two kinds of ids: one table has {_kind(first.ids)}, another {_kind(part.ids)}; write "
                    "them alike"
                )
        ids = joined_ids([part.ids for part in parts])
        for part in parts:
            if twice := [name for name in part.judges if name in columns]:
                raise InputError(
                    f"two tables hold the judge {twice[0]!r}; rename one of them, or put all rows of a judge "
                    "into one file"
                )
            columns.update(part._on(ids))
            costs.update(part.costs)
            numbers.update(part.numbers)
        return cls(ids, columns, costs, numbers)

    def aligned_to(self, ids: pl.Series) -> Judgements:
        """The rows of ``ids``, joined by id and in that order; what is not here is missing for every judge.

        A pair that is here as ``item|b|a`` only is joined with ``item|a|b``, its answers exchanged.

        Raises
        ------
        InputError
            The ids are of another type, or none is here.
        """
        if ids.dtype != self.ids.dtype:
            raise InputError(
                f"two kinds of ids: judgements have {_kind(self.ids)}, votes {_kind(ids)}; write them alike"
            )
        if len(ids) and (match_pairs(self.ids, ids)[0] < 0).all():
            raise InputError(
                f"no vote is about a pair that was judged: votes have ids like {ids[0]!r}, judgements like "
                f"{self.ids[0] if len(self) else None!r}; write the same ids in both"
            )
        return Judgements(ids, self._on(ids), self.costs, self.numbers)

    def _on(self, ids: pl.Series) -> dict[str, JudgeColumn]:
        """Judge → its column on other ids of the same type."""
        rows, exchanged = match_pairs(self.ids, ids)
        return {name: column.take(rows).swapped_where(exchanged) for name, column in self.columns.items()}

    def digest(self) -> str:
        """SHA-256 over ids, judges and what they answered, independent of the file it came from."""
        state = hashlib.sha256(json.dumps(self.ids.to_list(), ensure_ascii=False).encode())
        for name, column in self.columns.items():
            arrays = column.arrays()
            state.update(json.dumps([name, column.kind, *arrays]).encode())
            for array in arrays.values():
                plain = array + 0.0 if array.dtype == np.float64 else array  # -0.0 is 0.0
                state.update(np.ascontiguousarray(np.where(np.isnan(plain), np.nan, plain)).tobytes())
        return state.hexdigest()


def _kind(ids: pl.Series) -> str:
    """``whole numbers, such as 7``: for a message; of texts the first that is no number, if there is one."""
    if ids.dtype != pl.String:
        return f"whole numbers, such as {ids[0]}" if len(ids) else "whole numbers"
    odd = ids.filter(~ids.str.contains(r"\A-?\d+\z"))
    example = odd[0] if len(odd) else ids[0] if len(ids) else ""
    return f"texts, such as {str(example)[:40]!r}"
