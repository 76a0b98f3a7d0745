"""How judgements of pairs lie in a table: rows of one judge each, or a row a pair with columns of judges.

A shape is decided from the columns and the first rows of a file, and reads all of its rows or some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import numpy as np

from ..errors import InputError
from ..judgements import First, JudgeColumn
from ..judgements.known import Known, known_judge
from .cells import is_missing
from .judge_cells import from_logs, label_masses, spread_out
from .judgement_rows import Words, number_rows, probability_column, score_column, verdict_column
from .seen_first import OrderColumn
from .tables import Row
from .unread import Unread, unread_texts
from .verdict_words import LOST, NUMBERED, verdict_of

SHAPES: Final = (
    "id, judge, verdict; id, judge, score_a, score_b; id with a column of verdicts a judge, or NAME_a, "
    "NAME_b, or NAME:score_a, NAME:score_b; item, answer, judge, score; or item, answer with a column of "
    "scores a judge"
)
Kind = Literal["verdicts", "scores", "probabilities", "logs", "labels"]
"""What cells hold: verdicts, scores, probabilities, their logarithms, or probabilities by label."""
Places = list[tuple[int, First]]


def coding_of(name: str, numbers: str | None, known: Known) -> str | None:
    """What a judge's numbers mean: as stated, else as the panel remembers; None where neither says it."""
    told = known_judge(known, name)
    return numbers or (None if told is None else told.numbers)


@dataclass(frozen=True)
class Cells:
    """What a judge answered: a row's place, where it stands in the file, and its cells."""

    places: Places
    wheres: list[str]
    cells: list[Sequence[Any]]

    @classmethod
    def empty(cls) -> Cells:
        """No row yet."""
        return cls([], [], [])


def column_of(
    name: str,
    kind: Kind,
    values: Sequence[str],
    given: Cells,
    n: int,
    *,
    file: str,
    first_row: int,
    coding: str | None,
    surely: bool,
    known: Known,
    unread: dict[str, Unread] | None,
    words: dict[str, Words] | None,
    partial: bool,
) -> JudgeColumn:
    """One judge's column of ``n`` rows from its cells; ``values`` are their columns, the rest as there.

    Raises
    ------
    InputError
        A cell that cannot be read, named by row.
    """
    if kind == "verdicts":
        places, flat = spread_out(given.places, [one for row in given.cells for one in row])
        if unread is not None:
            unread[name] = unread_texts(flat)
        told = known_judge(known, name)
        return verdict_column(
            name, places, flat, n, file=file, coding=coding, known=surely,
            remembered=told is not None and told.kind == "verdicts", words=words, partial=partial,
        )  # fmt: skip
    places, rows = list[tuple[int, First]](), list[Sequence[float]]()
    for place, where, row in zip(given.places, given.wheres, given.cells, strict=True):
        found: Sequence[Sequence[float]]
        if kind == "labels":
            found = [_labels(row[0], f"{where}: {values[0]}")]
        else:
            found = number_rows(row, [f"{where}: {column}" for column in values], logs=kind == "logs")
            if kind == "logs":
                found = [from_logs(one) for one in found]
        places += [place] * len(found)
        rows += found
    if kind == "scores" and len(values) == 1:  # a margin
        rows = [(one[0] / 2, -one[0] / 2) for one in rows]
    if kind == "scores":
        return score_column(places, [(one[0], one[1]) for one in rows], n)
    return probability_column(name, places, rows, n, file=file, first_row=first_row)


def _labels(cell: Any, where: str) -> tuple[float, float, float]:
    """Probabilities by label; NaN where the cell is empty."""
    if is_missing(cell):
        return (np.nan,) * 3
    found = label_masses(cell)
    if found is None:
        raise InputError(
            f"{where} is {str(cell)[:30]!r}, expected probabilities by label; write an object such as "
            '{"A": 0.7, "B": 0.2, "C": 0.1}'
        )
    return found


@dataclass(frozen=True)
class LongShape:
    """Rows of one judge each; cells are its id, judge, order (where there is one), and values."""

    long: ClassVar[bool] = True

    file: str
    lead: tuple[str, ...]
    """columns of id, judge, and order"""
    values: tuple[str, ...]
    kind: Kind
    numbers: str | None
    first: First
    order: OrderColumn | None = None
    notes: tuple[str, ...] = ()
    sample: str | None = None
    """column that numbers the samples, which only tells rows that are there twice"""

    @property
    def columns(self) -> list[str]:
        """Columns of the file in the order of a row's cells."""
        return [*self.lead, *self.values, *([] if self.sample is None else [self.sample])]

    def repeats(self, rows: Sequence[Row]) -> int:
        """How many rows repeat a sample of a judge, as those of a file that was joined with itself do."""
        if self.sample is None:
            return 0
        keys = [(*map(str, row[: len(self.lead)]), str(row[-1])) for row in rows]
        return len(keys) - len(set(keys))

    def repeats_note(self, count: int) -> list[str]:
        """What to tell of so many such rows."""
        if not count:
            return []
        names = ", ".join([*self.lead[:2], str(self.sample), *self.lead[2:]])
        repeated = "row repeats" if count == 1 else "rows repeat"
        return [f"{count} {repeated} {names} and count as more samples; leave out what is there twice"]

    def read(
        self,
        rows: Sequence[Row],
        *,
        first_row: int = 1,
        known: Known = (),
        unread: dict[str, Unread] | None = None,
        words: dict[str, Words] | None = None,
        partial: bool = False,
    ) -> dict[str, JudgeColumn]:
        """Judge → its column, a row for each distinct id in order of appearance.

        Parameters
        ----------
        first_row
            The number of the first of these rows in the file, for errors.
        known
            Names that are surely judges', or what a panel remembers of them.
        unread
            Takes the texts that are no verdict, by judge.
        words, partial
            As for `verdict_column`: whether these are some of the file's rows.

        Raises
        ------
        InputError
            A cell that cannot be read, named by row.
        """
        index = {value: place for place, value in enumerate(dict.fromkeys(row[0] for row in rows))}
        by_judge: dict[str, Cells] = {}
        skip = len(self.lead)
        default = First.UNKNOWN if self.kind == "scores" else self.first
        placed = self.kind != "verdicts" or self.order is not None
        for count, row in enumerate(rows, start=first_row):
            where = f"{self.file} row {count} (id {row[0]})" if placed else ""
            if is_missing(row[1]):
                raise InputError(f"{self.file} row {count} (id {row[0]}): judge is empty; name the judge")
            slot = default if self.order is None else self.order.read(row[2], where)
            own = by_judge.setdefault(str(row[1]), Cells.empty())
            own.places.append((index[row[0]], slot))
            own.wheres.append(where)
            own.cells.append(row[skip : skip + len(self.values)])
        # One judge that failed everywhere is missing; a file of which nothing can be read is a mistake.
        heard = self.kind == "verdicts" and any(
            verdict_of(cell, numbers=NUMBERED) != LOST
            for cell in spread_out(rows, [row[skip] for row in rows])[1]
        )
        return {
            name: column_of(
                name, self.kind, self.values, own, len(index), file=self.file, first_row=first_row,
                coding=coding_of(name, self.numbers, known), surely=heard or name in known, known=known,
                unread=unread, words=words, partial=partial,
            )
            for name, own in by_judge.items()
        }  # fmt: skip


@dataclass(frozen=True)
class Wide:
    """Columns of one judge in a row a pair."""

    kind: Kind
    columns: tuple[tuple[tuple[str, ...], First | None], ...]
    """groups of columns, each one answer or sample, and what was seen first there (None: as the row says)"""


@dataclass(frozen=True)
class WideShape:
    """A row a pair, one or more columns a judge; cells are its id, order (where there is one), and values."""

    long: ClassVar[bool] = False

    file: str
    lead: tuple[str, ...]
    """columns of id and order"""
    judges: Mapping[str, Wide]
    numbers: str | None
    first: First
    order: OrderColumn | None = None
    notes: tuple[str, ...] = ()
    """on columns that may have been meant and are not read"""

    @property
    def _values(self) -> list[str]:
        return list(
            dict.fromkeys(name for one in self.judges.values() for own, _ in one.columns for name in own)
        )

    @property
    def columns(self) -> list[str]:
        """Columns of the file in the order of a row's cells."""
        return [*self.lead, *self._values]

    def read(
        self,
        rows: Sequence[Row],
        *,
        first_row: int = 1,
        known: Known = (),
        unread: dict[str, Unread] | None = None,
        words: dict[str, Words] | None = None,
        partial: bool = False,
    ) -> dict[str, JudgeColumn]:
        """Judge → its column, a row for each given; parameters and errors as for `LongShape.read`."""
        wheres, stated = list[str](), None
        if self.order is not None or any(one.kind != "verdicts" for one in self.judges.values()):
            wheres = [f"{self.file} row {k} (id {row[0]})" for k, row in enumerate(rows, start=first_row)]
        if self.order is not None:
            stated = [self.order.read(row[1], where) for row, where in zip(rows, wheres, strict=True)]
        place_of = {name: place for place, name in enumerate(self._values, start=len(self.lead))}
        found: dict[str, JudgeColumn] = {}
        for name, one in self.judges.items():
            default = First.UNKNOWN if one.kind == "scores" else self.first
            own = Cells.empty()
            for names, slot in one.columns:
                every = default if slot is None else slot
                seen = stated if slot is None and stated is not None else [every] * len(rows)
                at = [place_of[column] for column in names]
                own.places.extend(enumerate(seen))
                own.cells.extend([row[place] for place in at] for row in rows)
                if one.kind != "verdicts":
                    own.wheres.extend(wheres)
            found[name] = column_of(
                name, one.kind, one.columns[0][0], own, len(rows), file=self.file, first_row=first_row,
                coding=coding_of(name, self.numbers, known), surely=name in known, known=known,
                unread=unread, words=words, partial=partial,
            )  # fmt: skip
        return found
