"""Columns of judgements while a file is read: rows of one judge, collected by id and order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ..errors import InputError
from ..judgements import First, LogProbs, Scores, Verdicts
from ..predictions import normalised
from .cells import is_missing
from .judge_cells import listed, spread_out
from .unread import beyond_verdicts, refuse_beyond
from .verdict_words import LOST, NUMBERED, NUMBERED_FROM_ZERO, number_of, verdict_of

_SUM_TOLERANCE: Final = 0.02
_PERCENT: Final = 100.0
_NO_SCALE: Final = (
    "write model_a, model_b or tie; of scores write NAME:score_a and NAME:score_b, or item, answer, judge, "
    "score; leave out a column that is no judge's"
)
_FEWEST, _MINUS = 3, 0.05
"""count and share of -1 from which it is more than a failure here and there"""
CODINGS: Final = {"120": NUMBERED, "012": NUMBERED_FROM_ZERO}
"""What the numbers of verdicts mean: A, B and tie in this order."""


@dataclass(frozen=True)
class Words:
    """What a judge's verdicts are written in: what numbers mean is told by all of them together."""

    filled: int = 0
    """cells that are not empty"""
    digits: frozenset[str] = frozenset()
    beyond: Mapping[str, int] = field(default_factory=dict)
    """numbers that are no verdicts → how often each is there"""
    minus: int = 0
    """cells that are -1, a failure as a rule"""

    @classmethod
    def of(cls, cells: Sequence[Any]) -> Words:
        """Of some cells."""
        digits = {digit for cell in cells if (digit := number_of(cell)) is not None}
        filled = sum(not is_missing(cell) for cell in cells)
        minus = sum(str(cell).strip() in ("-1", "-1.0") for cell in cells)
        return cls(filled, frozenset(digits), beyond_verdicts(cells), minus)

    def __add__(self, other: Words) -> Words:
        """Of both."""
        beyond = Counter(self.beyond) + Counter(other.beyond)
        return Words(self.filled + other.filled, self.digits | other.digits, beyond, self.minus + other.minus)

    def check(self, file: str, judge: str, coding: str | None, *, known: bool = False) -> None:
        """Raise InputError where numbers may mean two things, or are a scale.

        ``known``: whether a panel knows it as a judge of verdicts.
        """
        if self.minus >= max(_FEWEST, _MINUS * self.filled) and "2" not in self.digits and "1" in self.digits:
            raise InputError(
                f"{file}: the verdicts of {judge!r} are 1 and -1, of which -1 may be B or a failure; write "
                "model_a, model_b, tie, and leave failures empty"
            )
        if {"0.5", ".5"} & {*self.beyond} and self.digits <= {"0", "1"}:
            raise InputError(
                f"{file}: the verdicts of {judge!r} are shares, 0, 0.5 and 1, of which answer they do not "
                "say; write model_a, tie, model_b, or the share as NAME_prob_a"
            )
        if coding is None and self.digits and self.digits <= {"0", "1"}:
            raise InputError(
                f"{file}: the verdicts of {judge!r} are {' and '.join(sorted(self.digits))} alone, of which "
                "A may be either; say it with --numbers 012 (0 is A, 1 is B) or --numbers 120 (1 is A, 2 is "
                "B, 0 a tie), or write model_a, model_b, tie; leave out a column that is no judge's"
            )
        refuse_beyond(judge, self.beyond, self.filled, file=file, remedy=_NO_SCALE, known=known)


def verdict_column(
    name: str,
    places: Sequence[tuple[int, First]],
    cells: Sequence[Any],
    n: int,
    *,
    file: str,
    coding: str | None,
    known: bool = False,
    remembered: bool = False,
    words: dict[str, Words] | None = None,
    partial: bool = False,
) -> Verdicts:
    """One judge's verdicts: the row and order of each cell, cells counted as samples where both repeat.

    A cell that is a list holds samples.

    Parameters
    ----------
    known
        Whether it is surely a judge, which then is missing where not one of its cells is a verdict.
    remembered
        Whether it is known to give verdicts, from a panel.
    words
        Takes what the verdicts are written in.
    partial
        Whether these are some of a judge's verdicts: whoever has seen all of them checks ``words``.

    Raises
    ------
    InputError
        Numbers that may mean two things, numbers of a scale, or not one cell that is a verdict.
    """
    places, cells = spread_out(places, cells)
    written = Words.of(cells)
    if not partial:
        written.check(file, name, coding, known=remembered)
    if words is not None:
        words[name] = words.get(name, Words()) + written
    meaning = CODINGS[coding or "120"]
    codes = [verdict_of(cell, numbers=meaning) for cell in cells]
    filled = [str(cell) for cell in cells if not is_missing(cell)]
    if filled and not known and all(code == LOST for code in codes):
        common = ", ".join(repr(word[:30]) for word, _ in Counter(filled).most_common(3))
        raise InputError(
            f"{file}: not one of {len(filled)} verdicts of {name!r} can be read ({common}); write model_a, "
            "model_b or tie"
        )
    counts, unusable = np.zeros((n, 3, 3), np.int64), np.zeros((n, 3), np.int64)
    for (row, slot), code in zip(places, codes, strict=True):
        if code == LOST:
            unusable[row, slot] += 1
        else:
            counts[row, slot, code] += 1
    return Verdicts(counts, unusable)


def score_column(places: Sequence[tuple[int, First]], cells: Iterable[tuple[float, float]], n: int) -> Scores:
    """One judge's scores of both answers; several of one row and order are samples."""
    mean, spread = folded([(row * 3 + slot) for row, slot in places], np.array(list(cells)), n * 3)
    return Scores(mean.reshape(n, 3, 2), spread.reshape(n, 3, 2))


def folded(
    keys: Sequence[int], values: np.ndarray[Any, np.dtype[np.float64]], n: int
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Mean and standard deviation (n, k) of the values (m, k) of each key; NaN where there is none."""
    index = np.asarray(keys, dtype=np.int64)
    width = values.shape[1]
    mean, spread = np.full((n, width), np.nan), np.full((n, width), np.nan)
    for k in range(width):
        given = ~np.isnan(values[:, k])
        rows, one = index[given], values[given, k]
        count = np.bincount(rows, minlength=n)
        there = count > 0
        average = np.bincount(rows, one, minlength=n)[there] / count[there]
        mean[there, k] = average
        around = one - mean[rows, k]
        spread[there, k] = np.sqrt(np.bincount(rows, around**2, minlength=n)[there] / count[there])
    return mean, spread


def probability_column(
    name: str,
    places: Sequence[tuple[int, First]],
    cells: Sequence[Sequence[float]],
    n: int,
    *,
    file: str,
    first_row: int = 1,
) -> LogProbs:
    """One judge's probabilities (A, B[, tie]); several of one row and order are averaged.

    ``first_row`` is the number of the judge's first row here, for the error.

    Raises
    ------
    InputError
        A row whose sum misses 1 (or 100, of percentages) by more than .02 of it, or a negative number.
    """
    found = np.full((n, 3, 3), np.nan)
    table = np.array(cells, dtype=np.float64)
    if table.shape[1] == 1:  # A's alone: the rest is B's
        table = np.hstack([table, 1.0 - table])
    if table.shape[1] == 2:
        table = np.column_stack([table, np.where(np.isnan(table).any(axis=1), np.nan, 0.0)])
    table[np.isnan(table).any(axis=1)] = np.nan
    percent = (table >= 0).all(axis=1) & (np.abs(table.sum(axis=1) / _PERCENT - 1) <= _SUM_TOLERANCE)
    table[percent] /= _PERCENT
    bad = ~(
        np.isnan(table[:, 0]) | ((table >= 0).all(axis=1) & (np.abs(table.sum(axis=1) - 1) <= _SUM_TOLERANCE))
    )
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        own = np.array(cells[row], dtype=np.float64)
        logs = (own <= 0).all() and abs(np.exp(own).sum() - 1) <= _SUM_TOLERANCE
        remedy = "these are logarithms: write their exponentials" if logs else "give numbers that sum to 1"
        if len(own) == 2 and (own >= 0).all() and own.sum() < 1:
            remedy = "give the tie's too, or numbers that sum to 1"
        raise InputError(
            f"{file}: the probabilities of {name!r} in its row {row + first_row} are {own.tolist()}; {remedy}"
            ", or scores as NAME:score_a and NAME:score_b; leave out columns that are no judge's"
        )
    mean, _ = folded([row * 3 + slot for row, slot in places], table, n * 3)
    given = ~np.isnan(mean).any(axis=1)
    with np.errstate(divide="ignore"):
        found.reshape(-1, 3)[given] = normalised(np.log(mean[given]))
    return LogProbs(found)


def number(cell: Any, where: str, *, logs: bool = False) -> float:
    """A finite number, or of logarithms that of 0; NaN where the cell is empty.

    Raises
    ------
    InputError
        Text that is no number, or infinity.
    """
    if is_missing(cell):
        return math.nan
    try:
        value = float(cell)
    except (TypeError, ValueError):
        value = math.inf
    if math.isinf(value) and not (logs and value < 0):
        raise InputError(f"{where} is {str(cell)[:30]!r}, expected a number; leave a missing one empty")
    return value


def number_rows(
    cells: Sequence[Any], wheres: Sequence[str], *, logs: bool = False
) -> list[tuple[float, ...]]:
    """Numbers of a row's cells, a tuple for each sample where a cell is a list; NaN where one has fewer.

    Parameters
    ----------
    wheres
        For each cell where it stands, for the error.
    logs
        Whether they are logarithms, of which that of 0 is a number.
    """
    lists = [listed(cell) for cell in cells]
    if all(one is None for one in lists):
        return [tuple(number(cell, where, logs=logs) for cell, where in zip(cells, wheres, strict=True))]
    columns = [[cell] if one is None else one for cell, one in zip(cells, lists, strict=True)]
    depth = max(1, *map(len, columns))
    return [
        tuple(
            number(column[k], where, logs=logs) if k < len(column) else math.nan
            for column, where in zip(columns, wheres, strict=True)
        )
        for k in range(depth)
    ]
