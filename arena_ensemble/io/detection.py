"""Which format a file is in, and how its cells and votes are written: decided from columns and first rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..errors import InputError
from .battle_formats import FORMATS, Format, Layout
from .cells import LIST, RowProblem
from .column_names import MAKE, WINNERS, Columns
from .layouts import columns_read, decide_layout, fields_of
from .messages import last_text
from .questions import Question, find_question, question_columns
from .tables import Table
from .votes import VoteColumns, Votes, vote_columns

HEAD_ROWS: Final = 1000


@dataclass(frozen=True)
class Detected:
    """Everything that is decided before the rows are read."""

    form: Format
    layout: Layout
    votes: Votes
    fields: Mapping[str, str]
    """name of a cell, as the format's function takes it → column of the file"""
    id_column: str | None
    turn_column: str | None
    notes: tuple[str, ...] = ()
    columns_read: Mapping[str, str] | None = None
    """column of the file → what it was taken for"""


def detect(table: Table, wanted: str | None, *, need_ids: bool = True) -> Detected:
    """Decide how a file of battles is read.

    Parameters
    ----------
    wanted
        A key of ``FORMATS``, or None to decide from the columns.
    need_ids
        Refuse a file without ids, unless its format numbers the rows anyway.

    Raises
    ------
    InputError
        No format fits, or two fit and disagree; the message names what to make, or ``--format``.
    """
    if wanted is not None and wanted not in FORMATS:
        raise InputError(f"unknown format {wanted!r}; known formats: {', '.join(FORMATS)}; give one of these")
    columns = Columns(table.columns, file=table.name)
    head = _head(table, columns)
    question = find_question(columns, head)
    places = vote_columns(columns)
    form = FORMATS[wanted] if wanted else _fitting(columns, question, places, head)
    _require(form, columns, question, need_ids=need_ids)
    layout = decide_layout(form, columns, question, head, plain=wanted == "wsdm")
    if wanted is None and form.name == "wsdm" and layout.question is not None:
        form = FORMATS["kaggle" if layout.question.kind == LIST else "wsdm"]
    votes = Votes(table.name, [] if form.paired else places, head, prefer=form.votes if wanted else None)
    notes = []
    if not form.paired and not columns.lacking(FORMATS["pairs"].required):
        notes.append("chosen and rejected are not read: the votes count")
    fields = fields_of(form, columns, layout, head)
    id_column = next((name for name in map(columns.find, form.ids) if name is not None), None)
    return Detected(
        form,
        layout,
        votes,
        fields,
        id_column,
        None if form.paired else columns.find("turn"),
        tuple(notes),
        columns_read(layout, votes, fields, id_column),
    )


def _head(table: Table, columns: Columns) -> dict[str, Sequence[Any]]:
    """Cells of the first rows of every column that may count, by column."""
    fields = [*(name for form in FORMATS.values() for name in form.required), "tie"]
    names = [name for name in map(columns.find, fields) if name is not None]
    names += [*question_columns(columns), *(name for place in vote_columns(columns) for name in place.names)]
    names = list(dict.fromkeys(names))
    rows = table.head(names, HEAD_ROWS) if names else []
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _fitting(
    columns: Columns,
    question: Question | None,
    places: Sequence[VoteColumns],
    head: Mapping[str, Sequence[Any]],
) -> Format:
    """The one format whose columns are all there; where several are, the votes and the texts must agree."""
    fits = [
        form
        for form in FORMATS.values()
        if not columns.lacking(form.required) and (question is not None or not form.asks)
    ]
    if not fits:
        raise InputError(_nothing_fits(columns, question))
    # the format that says more of the columns counts: RewardBench before chosen and rejected
    fits = [form for form in fits if not any(set(form.required) < set(other.required) for other in fits)]
    names = [form.name for form in fits]
    if "kaggle" in names and "wsdm" in names:  # the same columns: the way of voting tells them apart
        names.remove("wsdm" if any(place.field == WINNERS[0] for place in places) else "kaggle")
    paired = [name for name in names if FORMATS[name].paired]
    voted = [name for name in names if not FORMATS[name].paired]
    if len(voted) == 2 and voted[1] == "arena" and voted[0] in ("kaggle", "wsdm"):
        _check_answers_twice(columns, head)
        voted = voted[:1]
    if len(voted) > 1 or len(paired) > 1:
        raise InputError(
            f"{columns.file} fits the formats {', '.join(names)}; say which to read with --format NAME"
        )
    if voted and paired:
        _check_pairs_beside(columns, places, head, FORMATS[voted[0]], FORMATS[paired[0]])
    return FORMATS[(voted or paired)[0]]


def _named(columns: Columns, fields: Sequence[str]) -> str:
    return " and ".join(str(columns.find(field)) for field in fields)


def _check_answers_twice(columns: Columns, head: Mapping[str, Sequence[Any]]) -> None:
    """Refuse a file whose two kinds of answers are not the same ones."""
    for response, talk in (("response_a", "conversation_a"), ("response_b", "conversation_b")):
        names = [str(columns.find(field)) for field in (response, talk)]
        for row, cells in enumerate(zip(*(head[name] for name in names), strict=True), start=1):
            if last_text(cells[0]) != last_text(cells[1]):
                raise InputError(
                    f"{columns.file} fits two formats and they disagree: {names[0]} and {names[1]} hold "
                    "different "
                    f"answers in row {row}; say which to read with --format kaggle, wsdm or arena"
                )


def _check_pairs_beside(
    columns: Columns,
    places: Sequence[VoteColumns],
    head: Mapping[str, Sequence[Any]],
    form: Format,
    pairs: Format,
) -> None:
    """Votes beat chosen and rejected, but must be there and not say the opposite."""
    file, pair = columns.file, _named(columns, pairs.sides)
    other = "kaggle or wsdm" if form.name in ("kaggle", "wsdm") else form.name
    votes = Votes(file, places, head)
    names = [str(columns.find(field)) for field in (*form.sides, *pairs.sides)]
    rows = zip(*(head[name] for name in names), strict=True)
    cells = list(zip(*(head[name] for name in votes.columns), strict=True)) if votes.columns else []
    voted = against = first = 0
    for number, (row, vote) in enumerate(zip(rows, cells, strict=False), start=1):
        try:
            outcome = votes.read(vote, number, number)
        except RowProblem:
            continue
        voted += outcome is not None
        if outcome in (0, 1):
            a, b, chosen, rejected = map(last_text, row)
            winner, loser = (a, b) if outcome == 0 else (b, a)
            if winner != loser and (chosen, rejected) == (loser, winner):
                first, against = first or number, against + 1
    if not voted:
        raise InputError(
            f"{file} fits two formats: two answers without votes, and {pair}; say which to read with "
            "--format "
            f"{other} (no votes) or --format {pairs.name}"
        )
    if against:
        raise InputError(
            f"{file} fits two formats and they disagree: in {against} of the first {voted} votes, first in "
            "row "
            f"{first}, the vote goes against {pair}; say which to read with --format {other} (the votes) or "
            f"--format {pairs.name}"
        )


def _nothing_fits(columns: Columns, question: Question | None) -> str:
    shapes = [FORMATS[name] for name in ("kaggle", "arena", "pairs")]
    lacks = {form.name: columns.lacking(form.required) for form in shapes}
    if question is None:
        lacks["kaggle"] = ["prompt", *lacks["kaggle"]]
    near = min(shapes, key=lambda form: len(lacks[form.name]) / (len(form.required) + form.asks))
    if len(lacks[near.name]) < len(near.required) + near.asks:
        return (
            f"{columns.file} lacks the column {', '.join(lacks[near.name])} ({near.title} format); its "
            "columns are "
            f"{columns.shown}; {MAKE}"
        )
    return f"{columns.file} has columns that fit no known format: {columns.shown}; {MAKE}"


def _require(form: Format, columns: Columns, question: Question | None, *, need_ids: bool) -> None:
    lacks = columns.lacking(form.required)
    if form.asks and question is None:
        lacks.insert(0, "prompt")
    if form.needs_id and need_ids and not any(name in columns for name in form.ids):
        lacks.append(form.ids[0])
    if lacks:
        raise InputError(
            f"{columns.file} lacks the column {', '.join(lacks)} ({form.title} format); its columns are "
            f"{columns.shown}; {MAKE}"
        )
