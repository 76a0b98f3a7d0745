"""How judgements of pairs lie in a table: rows of one judge each, or a row a pair with columns of judges.

A shape is decided from the columns and the first rows of a file, and reads all of its rows or some.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, ClassVar, Final, Literal

from ..errors import InputError
from ..judgements import First, JudgeColumn
from .cells import is_missing
from .column_names import WINNERS, Columns, canonical
from .judge_columns import (
    filled_heads,
    holds_verdicts,
    is_no_judge,
    names_note,
    numeric_columns,
    suffixed,
    unread_note,
)
from .judgement_rows import Words, first_of, number, probability_column, score_column, verdict_column
from .tables import Row, Table
from .unread import Unread, unread_texts
from .verdict_words import LOST, NUMBERED, verdict_of
from .votes import WORD_COLUMNS

SHAPES: Final = (
    "id, judge, verdict; id, judge, score_a, score_b; id with a column of verdicts a judge, or NAME_a, "
    "NAME_b, or NAME:score_a, NAME:score_b; item, answer, judge, score; or item, answer with a column of "
    "scores a judge"
)
_IDS: Final = ("id", "pair_id", "question_id")


@dataclass(frozen=True)
class LongShape:
    """Rows of one judge each; cells are its id, judge, order (where there is one), and values."""

    long: ClassVar[bool] = True
    notes: ClassVar[tuple[str, ...]] = ()

    file: str
    lead: tuple[str, ...]
    """columns of id, judge, and order"""
    values: tuple[str, ...]
    kind: Literal["verdicts", "scores", "probabilities"]
    numbers: str | None
    first: First

    @property
    def columns(self) -> list[str]:
        """Columns of the file in the order of a row's cells."""
        return [*self.lead, *self.values]

    def read(
        self,
        rows: Sequence[Row],
        *,
        first_row: int = 1,
        known: Collection[str] = (),
        unread: dict[str, Unread] | None = None,
        words: dict[str, Words] | None = None,
    ) -> dict[str, JudgeColumn]:
        """Judge → its column, a row for each distinct id in order of appearance.

        Parameters
        ----------
        first_row
            The number of the first of these rows in the file, for errors.
        known
            Names that are surely judges'.
        unread
            Takes the texts that are no verdict, by judge.
        words
            As for `verdict_column`: these are some of the file's rows.

        Raises
        ------
        InputError
            A cell that cannot be read, named by row.
        """
        index = {value: place for place, value in enumerate(dict.fromkeys(row[0] for row in rows))}
        by_judge: dict[str, tuple[list[tuple[int, First]], list[Sequence[Any]]]] = {}
        skip, ordered = len(self.lead), len(self.lead) == 3
        default = First.UNKNOWN if self.kind == "scores" else self.first
        for count, row in enumerate(rows, start=first_row):
            where = f"{self.file} row {count} (id {row[0]})"
            if is_missing(row[1]):
                raise InputError(f"{where}: judge is empty; name the judge")
            slot = first_of(row[2], where) if ordered else default
            places, cells = by_judge.setdefault(str(row[1]), ([], []))
            places.append((index[row[0]], slot))
            given = row[skip:]
            cells.append(
                given
                if self.kind == "verdicts"
                else [number(cell, f"{where}: {name}") for cell, name in zip(given, self.values, strict=True)]
            )
        found: dict[str, JudgeColumn] = {}
        n = len(index)
        # One judge that failed everywhere is missing; a file of which nothing can be read is a mistake.
        heard = self.kind == "verdicts" and any(
            verdict_of(row[skip], numbers=NUMBERED) != LOST for row in rows
        )
        for name, (places, cells) in by_judge.items():
            if self.kind == "verdicts":
                flat = [one[0] for one in cells]
                if unread is not None:
                    unread[name] = unread_texts(flat)
                found[name] = verdict_column(
                    name,
                    places,
                    flat,
                    n,
                    file=self.file,
                    coding=self.numbers,
                    known=heard or name in known,
                    words=words,
                )
            elif self.kind == "scores":
                found[name] = score_column(places, [(one[0], one[1]) for one in cells], n)
            else:
                found[name] = probability_column(name, places, cells, n, file=self.file, first_row=first_row)
        return found


@dataclass(frozen=True)
class WideShape:
    """A row a pair, one or more columns a judge; cells are its id, order (where there is one), and values."""

    long: ClassVar[bool] = False

    file: str
    lead: tuple[str, ...]
    """columns of id and order"""
    verdicts: tuple[str, ...]
    scores: dict[str, tuple[str, ...]]
    probabilities: dict[str, tuple[str, ...]]
    numbers: str | None
    first: First
    notes: tuple[str, ...] = ()
    """on columns that may have been meant and are not read"""

    @property
    def _values(self) -> list[str]:
        groups = (*self.scores.values(), *self.probabilities.values())
        return list(dict.fromkeys([*self.verdicts, *(name for own in groups for name in own)]))

    @property
    def columns(self) -> list[str]:
        """Columns of the file in the order of a row's cells."""
        return [*self.lead, *self._values]

    def read(
        self,
        rows: Sequence[Row],
        *,
        first_row: int = 1,
        known: Collection[str] = (),
        unread: dict[str, Unread] | None = None,
        words: dict[str, Words] | None = None,
    ) -> dict[str, JudgeColumn]:
        """Judge → its column, a row for each given; parameters and errors as for `LongShape.read`."""
        wheres = [f"{self.file} row {k} (id {row[0]})" for k, row in enumerate(rows, start=first_row)]
        slots = [
            first_of(row[1], where) if len(self.lead) == 2 else self.first
            for row, where in zip(rows, wheres, strict=True)
        ]
        alone = slots if len(self.lead) == 2 else [First.UNKNOWN] * len(rows)
        place_of = {name: place for place, name in enumerate(self._values, start=len(self.lead))}

        def numbers_of(names: Sequence[str]) -> list[tuple[float, ...]]:
            return [
                tuple(number(row[place_of[name]], f"{where}: {name}") for name in names)
                for row, where in zip(rows, wheres, strict=True)
            ]

        n = len(rows)
        places, unordered = list(enumerate(slots)), list(enumerate(alone))
        found: dict[str, JudgeColumn] = {}
        for name in self.verdicts:
            cells = [row[place_of[name]] for row in rows]
            if unread is not None:
                unread[name] = unread_texts(cells)
            found[name] = verdict_column(
                name,
                places,
                cells,
                n,
                file=self.file,
                coding=self.numbers,
                known=name in known,
                words=words,
            )
        for name, own in self.scores.items():
            found[name] = score_column(unordered, [(one[0], one[1]) for one in numbers_of(own)], n)
        for name, own in self.probabilities.items():
            found[name] = probability_column(
                name, places, numbers_of(own), n, file=self.file, first_row=first_row
            )
        return found


def check_numbers(numbers: str | None) -> None:
    """Raise InputError where ``numbers`` is no coding of verdicts."""
    if numbers not in (None, "120", "012"):
        raise InputError(
            f"numbers {numbers!r}: give 120 (1 is A, 2 is B, 0 is a tie) or 012 (0 is A, 1 is B)"
        )


def id_name(table: Table, columns: Columns) -> str:
    """The column of ids.

    Raises
    ------
    InputError
        There is none.
    """
    name = next((found for found in map(columns.find, _IDS) if found is not None), None)
    if name is None:
        raise InputError(f"{table.name} lacks the column id; its columns are {columns.shown}; give {SHAPES}")
    return name


def shape_of(
    table: Table,
    columns: Columns,
    name: str,
    numbers: str | None,
    first: First,
    known: Collection[str] = (),
) -> LongShape | WideShape:
    """How a file's judgements lie, by its columns and the first filled cells of each; ``known`` as there.

    Raises
    ------
    InputError
        It has judges without verdicts, scores or probabilities, or no judge.
    """
    if "judge" in columns:
        return _long(table, columns, name, numbers, first)
    return _wide(table, columns, name, numbers, first, known)


def _long(table: Table, columns: Columns, name: str, numbers: str | None, first: First) -> LongShape:
    probs = [found for found in map(columns.find, ("p_a", "p_b", "p_tie")) if found is not None]
    scores = [found for found in map(columns.find, ("score_a", "score_b")) if found is not None]
    verdict, order = columns.find("verdict"), columns.find("first")
    lead = (name, str(columns.find("judge")), *([order] if order else []))
    if verdict is not None:
        return LongShape(table.name, lead, (verdict,), "verdicts", numbers, first)
    if len(scores) == 2:
        return LongShape(table.name, lead, tuple(scores), "scores", numbers, first)
    if columns.find("p_a") is not None and columns.find("p_b") is not None:
        return LongShape(table.name, lead, tuple(probs), "probabilities", numbers, first)
    raise InputError(
        f"{table.name} has judges, but neither verdict, nor score_a and score_b, nor p_a and p_b; its "
        f"columns are {columns.shown}; name them so"
    )


def _wide(
    table: Table, columns: Columns, name: str, numbers: str | None, first: First, known: Collection[str]
) -> WideShape:
    scores = suffixed(table, (":score_a", ":score_b"))
    probs = suffixed(table, ("_a", "_b"))
    if "score" in probs:  # of the file's one judge, who has no other name
        scores[PurePath(table.name).name.partition(".")[0]] = probs.pop("score")[:2]
    rest = [
        one for one in table.columns if not any(one in own for own in (*scores.values(), *probs.values()))
    ]
    order = columns.find("first")
    left_out = {name, order, *WINNERS, *WORD_COLUMNS}
    asked = [one for one in rest if one not in left_out and canonical(one) not in left_out]
    heads = filled_heads(table, [one for one in asked if one in known or not is_no_judge(one)])
    named = names_note(table, [one for one in asked if one not in heads])
    verdicts = tuple(one for one, head in heads.items() if one in known or holds_verdicts(head))
    probs = {judge: own for judge, own in probs.items() if numeric_columns(table, own)}
    if not (verdicts or scores or probs):
        why = "".join(f" ({note})" for note in named)
        raise InputError(f"{table.name} holds no judge{why}; its columns are {columns.shown}; give {SHAPES}")
    notes = named + unread_note({one: head for one, head in heads.items() if one not in verdicts})
    lead = (name, *([order] if order else []))
    return WideShape(table.name, lead, verdicts, scores, probs, numbers, first, tuple(notes))
