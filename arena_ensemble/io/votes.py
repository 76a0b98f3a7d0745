"""The one reader of votes: one-hot columns, words, numbers, and a tie flag beside pairs.

How a vote is written has nothing to do with how the texts are: every road (training data, labels, extra
battles, pairs) reads votes here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..battles import Outcome
from ..errors import InputError
from .cells import RowProblem, is_missing
from .column_names import WINNERS, Columns

WORD_COLUMNS: Final = ("winner", "label", "labels", "outcome", "vote", "verdict")
"""Columns that hold a vote in one cell, the likeliest first; ``winner`` holds words only."""
_ONE_HOT: Final = {
    hot: outcome
    for outcome, hots in {
        Outcome.A: [("1", "0", "0"), (1, 0, 0)],
        Outcome.B: [("0", "1", "0"), (0, 1, 0)],
        Outcome.TIE: [("0", "0", "1"), (0, 0, 1)],
    }.items()
    for hot in hots
}
_FLAGS: Final = {"true": 1, "false": 0}
_WORDS: Final = {
    **dict.fromkeys(("a", "model_a", "response_a", "answer_a", "assistant_a"), Outcome.A),
    **dict.fromkeys(("b", "model_b", "response_b", "answer_b", "assistant_b"), Outcome.B),
    **dict.fromkeys(
        ("tie", "draw", "tie_bothbad", "tie_both_bad", "bothbad", "both_bad", "bothgood", "both_good"),
        Outcome.TIE,
    ),
}
_BETWEEN: Final = re.compile(r"[ \-_().]+")
_EXPECTED: Final = "expected model_a, model_b or a kind of tie"
_COUNTED: Final = 10
"""from this many votes on, the values 1 and 2 without a single 0 are taken to be counted from 1"""


@dataclass(frozen=True)
class VoteColumns:
    """Where the vote stands: three one-hot columns, or one column."""

    field: str
    names: tuple[str, ...]
    """the columns as the file spells them; after ``winner`` those of the models, where there are any"""

    @property
    def voted(self) -> tuple[str, ...]:
        """The columns of the vote itself."""
        return self.names if self.field == WINNERS[0] else self.names[:1]

    def read(self, cells: Sequence[Any]) -> int | None:
        """The outcome of one row; None where no vote was given.

        Raises
        ------
        RowProblem
            No known vote.
        """
        if self.field == WINNERS[0]:
            return one_hot_outcome(cells)
        try:
            return word_outcome(cells[0], self.names[0], numbers=self.field != "winner")
        except RowProblem:
            models = list(cells[1:])
            if len(models) == 2 and models[0] != models[1] and cells[0] in models:
                return models.index(cells[0])  # the winner's own name
            raise


def vote_columns(columns: Columns) -> list[VoteColumns]:
    """Every place in which a file holds votes, the likeliest first.

    Raises
    ------
    InputError
        Some but not all of the one-hot columns are there.
    """
    found = []
    hot = [columns.find(name) for name in WINNERS]
    if hot[0] is not None or hot[1] is not None:
        lacks = [name for name, column in zip(WINNERS, hot, strict=True) if column is None]
        if lacks:
            raise InputError(
                f"{columns.file} lacks the column {', '.join(lacks)} (Kaggle LMSYS format), while the other "
                "winner "
                f"columns are there; its columns are {columns.shown}; add it (all 0 where no tie can be "
                "voted)"
            )
        found.append(VoteColumns(WINNERS[0], tuple(filter(None, hot))))
    for field in WORD_COLUMNS:
        name = columns.find(field)
        if name is not None:
            models = [columns.find(side) for side in ("model_a", "model_b")]
            beside = models if field == "winner" and None not in models else []
            found.append(VoteColumns(field, (name, *map(str, beside))))
    return found


def one_hot_outcome(cells: Sequence[Any]) -> int | None:
    """The outcome of Kaggle's three winner columns; None where all three are empty.

    Raises
    ------
    RowProblem
        A cell is empty, not a number, neither 0 nor 1, or the three do not sum to 1.
    """
    try:
        known = _ONE_HOT.get(tuple(cells))
    except TypeError:
        known = None
    if known is not None:
        return known
    if all(map(is_missing, cells)):
        return None
    values = [_zero_or_one(cell, name) for name, cell in zip(WINNERS, cells, strict=True)]
    if sum(values) != 1:
        raise RowProblem(f"winner columns sum to {sum(values)}, expected 1; mark one outcome with 1")
    return values.index(1)


def _zero_or_one(cell: Any, name: str) -> int:
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise RowProblem(f"{name} is empty, expected 0 or 1; fill in 0 or 1")
    try:
        value = float(_FLAGS.get(str(cell).strip().lower(), cell))
    except (TypeError, ValueError):
        raise RowProblem(f"{name} is {str(cell)[:30]!r}, expected 0 or 1; write 0 or 1") from None
    if value not in (0, 1):
        raise RowProblem(f"{name} is {cell}, expected 0 or 1; write 0 or 1")
    return int(value)


def word_outcome(cell: Any, name: str, *, numbers: bool) -> int | None:
    """The outcome of one cell; None where it is empty, null or NaN.

    Parameters
    ----------
    numbers
        Whether 0, 1 and 2 (A, B, tie) are read. In a column ``winner`` they are not: 1 is as often the
        first response as the second.
    """
    if is_missing(cell):
        return None
    text = str(cell).strip().lower()
    known = _WORDS.get(_BETWEEN.sub("_", text).strip("_"))
    if known is not None:
        return int(known)
    if not numbers:
        raise RowProblem(
            f"{name} is {str(cell)[:40]!r}, {_EXPECTED}; write one of these words (or numbers 0 A, 1 B, 2 "
            "tie in a "
            "column label)"
        )
    try:
        value = float(cell) if not isinstance(cell, bool) else -1.0
    except (TypeError, ValueError):
        value = -1.0
    if value not in (0, 1, 2):
        raise RowProblem(
            f"{name} is {str(cell)[:30]!r}, expected 0 (A), 1 (B) or 2 (tie), or model_a, model_b, tie; "
            "write one of these"
        )
    return int(value)


def tie_flag(cell: Any, name: str) -> bool:
    """Whether a pair is marked as a tie; an empty cell is no mark."""
    return not is_missing(cell) and bool(_zero_or_one(cell, name))


class Votes:
    """Reads the votes of a file from one place, and checks that other places do not contradict it.

    Parameters
    ----------
    file
        The file's name, for messages.
    places
        Where votes stand; see :func:`vote_columns`.
    head
        Cells of the first rows, by column: the first place whose cells can all be read is taken, a column
        of that name that holds something else (a quality label, say) is left alone.
    prefer
        The field to take, where a format was asked for; then nothing else is looked at.
    """

    def __init__(
        self,
        file: str,
        places: Sequence[VoteColumns],
        head: Mapping[str, Sequence[Any]],
        *,
        prefer: str | None = None,
    ) -> None:
        good = [place for place in places if holds_votes(place, head)]
        asked = [place for place in places if place.field == prefer]
        ordered = asked or good or list(places)
        self.file = file
        self.place: VoteColumns | None = ordered[0] if ordered else None
        self.others = [] if asked else [place for place in good if place != self.place]
        own = self.place.names if self.place else ()
        self.columns = tuple(dict.fromkeys([*own, *(name for place in self.others for name in place.names)]))
        """the columns to read, the taken ones first"""
        self._numbers = self.place is not None and _numeric(self.place, head)
        self._seen = {0: 0, 1: 0, 2: 0}
        self._differ: dict[str, tuple[int, Any, int, int, int]] = {}

    def read(self, cells: Sequence[Any], row: int, name: Any) -> int | None:
        """The outcome of one row, from the cells of ``columns``; row number and id are for messages."""
        if self.place is None:
            return None
        outcome = self.place.read(cells[: len(self.place.names)])
        if outcome is None:
            return None
        self._seen[outcome] += 1
        if self.others:
            self._compare(dict(zip(self.columns, cells, strict=True)), outcome, row, name)
        return outcome

    def _compare(self, cells: Mapping[str, Any], outcome: int, row: int, name: Any) -> None:
        for place in list(self.others):
            try:
                other = place.read([cells[column] for column in place.names])
            except RowProblem:
                self.others.remove(place)  # no column of votes after all
                self._differ.pop(place.field, None)
                continue
            if other is not None and other != outcome:
                first = self._differ.get(place.field, (row, name, outcome, other, 0))
                self._differ[place.field] = (*first[:4], first[4] + 1)

    def check(self) -> None:
        """Look at all votes together, once they are read.

        Raises
        ------
        InputError
            Two places contradict each other, or the numbers seem to be counted from 1.
        """
        if self.place is None:
            return
        words = ("A", "B", "tie")
        for place in self.others:
            if place.field in self._differ:
                row, name, one, other, count = self._differ[place.field]
                raise InputError(
                    f"{self.file} holds votes twice, in {', '.join(self.place.voted)} and in "
                    f"{place.names[0]}, and they "
                    f"disagree in {count} rows, first in row {row} (id {name}): {words[one]} and "
                    f"{words[other]}; remove "
                    "one of them, or say which counts: --format kaggle for the winner columns, wsdm for "
                    "winner"
                )
        voted = sum(self._seen.values())
        if self._numbers and not self._seen[0] and self._seen[1] and self._seen[2] and voted >= _COUNTED:
            raise InputError(
                f"{self.file}: {self.place.names[0]} holds 1 and 2 but not a single 0 in {voted} votes: "
                "they seem to be "
                "counted from 1; write 0 for A, 1 for B, 2 for a tie, or the words model_a, model_b, tie"
            )


def holds_votes(place: VoteColumns, head: Mapping[str, Sequence[Any]]) -> bool:
    """Whether most of the cells that are filled in are votes."""
    good = bad = 0
    for cells in zip(*(head.get(name, ()) for name in place.names), strict=True):
        try:
            good += place.read(cells) is not None
        except RowProblem:
            bad += 1
    return good >= bad and good > 0


def _numeric(place: VoteColumns, head: Mapping[str, Sequence[Any]]) -> bool:
    if place.field in (WINNERS[0], "winner"):
        return False
    cells = [cell for cell in head.get(place.names[0], ()) if not is_missing(cell)]
    return any(str(cell).strip()[:1].isdigit() for cell in cells)
