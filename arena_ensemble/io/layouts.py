"""How the cells of one file are written, and what each column was taken for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from ..errors import InputError
from .battle_formats import Format, Layout
from .cells import LIST, MESSAGES, PLAIN, column_kinds, is_missing
from .column_names import MAKE, Columns
from .messages import message_list, role_of, transcript
from .questions import Question, holds_messages
from .votes import VoteColumns, Votes, holds_votes

_BESIDE_PAIRS: Final = ("winner", "tie")
_KIND_WORDS: Final = {LIST: "lists of turns", PLAIN: "plain text", MESSAGES: "messages"}


def decide_layout(
    form: Format,
    columns: Columns,
    question: Question | None,
    head: Mapping[str, Sequence[Any]],
    *,
    plain: bool = False,
) -> Layout:
    """Decide per column whether its cells are lists of turns, plain text or messages.

    Parameters
    ----------
    head
        Cells of the first rows, by column.
    plain
        Take lists for plain text, as the user asked.

    Raises
    ------
    InputError
        A column is written in two ways, or pairs come without a question.
    """
    where = {name: column for name in form.sides if (column := columns.find(name)) is not None}
    kinds: dict[str, str | None] = {
        n: MESSAGES for n, column in where.items() if holds_messages(head[column])
    }
    lists = {name: head[column] for name, column in where.items() if name not in kinds}
    if question is not None and question.kind != MESSAGES:
        lists["prompt"] = head[question.columns[0]]
    kinds |= dict.fromkeys(lists, PLAIN) if plain else column_kinds(lists)
    for name, kind in kinds.items():
        if kind is None:
            column = question.columns[0] if name == "prompt" and question else where[name]
            raise InputError(
                f"{columns.file}: of the cells of {column} a part are lists of turns and a part plain text; "
                "write "
                "all in one way, or take all as plain text with --format wsdm"
            )
    decided = {name: str(kind) for name, kind in kinds.items()}
    if question is not None:
        question = replace(question, kind=decided.pop("prompt", question.kind))
    if form.paired:
        _require_question(columns, question, [head[column] for column in where.values()])
    texts_only = question is not None and question.kind != MESSAGES and MESSAGES not in decided.values()
    return Layout(decided, question, texts_only=texts_only)


def _require_question(columns: Columns, question: Question | None, sides: Sequence[Sequence[Any]]) -> None:
    """Refuse pairs of which nothing holds the question."""
    filled = [cell for cells in sides for cell in cells if not is_missing(cell)]
    if question is not None or not filled:
        return
    asked = any(
        transcript(cell) is not None or any(role_of(part) == "user" for part in message_list(cell) or ())
        for cell in filled
    )
    # lists of messages that were cut off are named by row
    if not asked and not any(message_list(cell) or str(cell).lstrip()[:2] == "[{" for cell in filled):
        raise InputError(
            f"{columns.file} holds answers without their question: its columns are {columns.shown}; name the "
            f"column of the question prompt, or {MAKE}"
        )


def fields_of(
    form: Format, columns: Columns, layout: Layout, head: Mapping[str, Sequence[Any]]
) -> dict[str, str]:
    """Name of a cell, as the format's function takes it → column of the file."""
    found = {
        field: column
        for field in (*form.required, *form.optional)
        if (column := columns.find(field)) is not None
    }
    question = layout.question
    if question is not None:
        own = (*question.columns, question.added) if form.paired or form.asks else ()
        found |= {name: name for name in (*own, question.system) if name is not None}
    for field in _BESIDE_PAIRS if form.paired else ():
        beside = columns.find(field)
        if beside is not None and (field == "tie" or holds_votes(VoteColumns(field, (beside,)), head)):
            found[field] = beside
    return found


def columns_read(
    layout: Layout, votes: Votes, fields: Mapping[str, str], id_column: str | None
) -> dict[str, str]:
    """Column of the file → what it was taken for, in words."""
    found = {} if id_column is None else {id_column: "id"}
    for field, column in fields.items():
        kind = layout.kinds.get(field)
        found[column] = field if kind is None else f"{field} ({_KIND_WORDS[kind]})"
    question = layout.question
    if question is not None and question.columns[0] in fields:
        found[question.columns[0]] = f"question ({_KIND_WORDS[question.kind]})"
    if question is not None and question.added is not None:
        found[question.added] = "input, after the question"
    if question is not None and question.system is not None:
        found[question.system] = "system text, before the question"
    for name in () if votes.place is None else votes.place.voted:
        found[name] = "vote"
    return found
