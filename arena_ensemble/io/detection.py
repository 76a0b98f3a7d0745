"""Which format a file is in, and how its cells and votes are written: decided from columns and first rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ..errors import InputError
from .battle_formats import FORMATS, Format, Layout
from .cells import LIST, MESSAGES, PLAIN, RowProblem, column_kinds, is_missing
from .column_names import MAKE, WINNERS, Columns
from .messages import last_text, message_list, role_of, transcript
from .questions import Question, find_question, holds_messages, question_columns
from .tables import Table
from .votes import VoteColumns, Votes, vote_columns

HEAD_ROWS: Final = 1000
_BESIDE_PAIRS: Final = ("winner", "tie")


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
    layout = _layout(form, columns, question, head, plain=wanted == "wsdm", table=table)
    if wanted is None and form.name == "wsdm" and layout.question is not None:
        form = FORMATS["kaggle" if layout.question.kind == LIST else "wsdm"]
    pairs = "chosen" in form.required
    votes = Votes(table.name, [] if pairs else places, head, prefer=form.votes if wanted else None)
    notes = []
    if not pairs and "chosen" in columns and "rejected" in columns:
        notes.append("chosen and rejected are not read: the votes count")
    fields = _fields(form, columns, layout, head)
    id_column = next((name for name in map(columns.find, form.ids) if name is not None), None)
    return Detected(
        form,
        layout,
        votes,
        fields,
        id_column,
        columns.find("turn") if form.name == "arena" else None,
        tuple(notes),
        _columns_read(layout, votes, fields, id_column),
    )


def _head(table: Table, columns: Columns) -> dict[str, Sequence[Any]]:
    """Cells of the first rows of every column that may count, by column."""
    fields = ("response_a", "response_b", "conversation_a", "conversation_b", "chosen", "rejected", "tie")
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
    texts = question is not None and not columns.lacking(FORMATS["wsdm"].required)
    talks = not columns.lacking(FORMATS["arena"].required)
    pairs = not columns.lacking(FORMATS["pairs"].required)
    if texts and talks:
        _check_answers_twice(columns, head)
        talks = False
    if pairs and (texts or talks):
        _check_pairs_beside(columns, places, head, "arena" if talks else "kaggle or wsdm")
    if texts:
        return FORMATS["kaggle" if any(place.field == WINNERS[0] for place in places) else "wsdm"]
    if talks:
        return FORMATS["arena"]
    if pairs:
        bench = not columns.lacking(FORMATS["rewardbench"].required) and question is not None
        return FORMATS["rewardbench" if bench else "pairs"]
    raise InputError(_nothing_fits(columns, question))


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
    columns: Columns, places: Sequence[VoteColumns], head: Mapping[str, Sequence[Any]], other: str
) -> None:
    """Votes beat chosen and rejected, but must be there and not say the opposite."""
    file, pair = columns.file, _named(columns, ("chosen", "rejected"))
    votes = Votes(file, places, head)
    sides = ("conversation_a", "conversation_b") if other == "arena" else ("response_a", "response_b")
    names = [str(columns.find(field)) for field in (*sides, "chosen", "rejected")]
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
            f"{other} (no votes) or --format pairs"
        )
    if against:
        raise InputError(
            f"{file} fits two formats and they disagree: in {against} of the first {voted} votes, first in "
            "row "
            f"{first}, the vote goes against {pair}; say which to read with --format {other} (the votes) or "
            "--format pairs"
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


def _layout(
    form: Format,
    columns: Columns,
    question: Question | None,
    head: Mapping[str, Sequence[Any]],
    *,
    plain: bool,
    table: Table,
) -> Layout:
    sides = [name for name in form.required if name in _SIDES]
    where = {name: column for name in sides if (column := columns.find(name)) is not None}
    kinds: dict[str, str | None] = {}
    lists = {}
    for name, column in where.items():
        if holds_messages(head[column]):
            kinds[name] = MESSAGES
        else:
            lists[name] = head[column]
    if question is not None and question.kind != MESSAGES:
        lists["prompt"] = head[question.columns[0]]
    kinds |= dict.fromkeys(lists, PLAIN) if plain else column_kinds(lists)
    for name, kind in kinds.items():
        if kind is None:
            column = question.columns[0] if name == "prompt" and question else where[name]
            raise InputError(
                f"{table.name}: of the cells of {column} a part are lists of turns and a part plain text; "
                "write all in "
                "one way, or take all as plain text with --format wsdm"
            )
    told = {name: str(kind) for name, kind in kinds.items()}
    if question is not None:
        question = replace(question, kind=told.pop("prompt", question.kind))
    if "chosen" in form.required:
        _require_question(columns, question, [head[column] for column in where.values()])
    fast = question is not None and question.kind != MESSAGES and MESSAGES not in told.values()
    return Layout(told, question, plain_lists=fast and form.name in ("kaggle", "wsdm"))


_SIDES: Final = ("response_a", "response_b", "chosen", "rejected")


def _require_question(columns: Columns, question: Question | None, sides: Sequence[Sequence[Any]]) -> None:
    """Refuse pairs of which nothing holds the question."""
    filled = [cell for cells in sides for cell in cells if not is_missing(cell)]
    if question is not None or not filled:
        return
    asked = sum(
        transcript(cell) is not None or any(role_of(part) == "user" for part in message_list(cell) or ())
        for cell in filled
    )
    if not asked and not any(message_list(cell) or str(cell).lstrip()[:2] == "[{" for cell in filled):
        raise InputError(
            f"{columns.file} holds answers without their question: its columns are {columns.shown}; name "
            "the column of "
            f"the question prompt, or {MAKE}"
        )


def _fields(
    form: Format, columns: Columns, layout: Layout, head: Mapping[str, Sequence[Any]]
) -> dict[str, str]:
    found = {
        field: column
        for field in (*form.required, *form.optional)
        if (column := columns.find(field)) is not None
    }
    question = layout.question
    if question is not None:
        own = question.columns if form.name != "arena" else ()
        extra = [*own, question.added, question.system] if own else [question.system]
        found |= {name: name for name in extra if name is not None}
    if "chosen" in form.required:
        for name in _BESIDE_PAIRS:
            column = columns.find(name)
            if column is None:
                continue
            if name == "tie" or (
                Votes("", [VoteColumns("winner", (column,))], head).columns and _votes_in(column, head)
            ):
                found[name] = column
    return found


def _votes_in(column: str, head: Mapping[str, Sequence[Any]]) -> bool:
    place = VoteColumns("winner", (column,))
    good = 0
    for cell in head.get(column, ()):
        try:
            good += place.read([cell]) is not None
        except RowProblem:
            return False
    return good > 0


def _columns_read(
    layout: Layout, votes: Votes, fields: Mapping[str, str], id_column: str | None
) -> dict[str, str]:
    found = {} if id_column is None else {id_column: "id"}
    for field, column in fields.items():
        kind = layout.kinds.get(field)
        found[column] = field if kind is None else f"{field} ({_KIND_WORDS[kind]})"
    if layout.question is not None:
        question = layout.question
        for name in question.columns:
            if name in found:
                found[name] = f"question ({_KIND_WORDS[question.kind]})"
        if question.added in found:
            found[str(question.added)] = "input, after the question"
        if question.system in found:
            found[str(question.system)] = "system text, before the question"
    place = votes.place
    for name in () if place is None else place.names:
        found[name] = "vote"
    return found


_KIND_WORDS: Final = {LIST: "lists of turns", PLAIN: "plain text", MESSAGES: "messages"}
