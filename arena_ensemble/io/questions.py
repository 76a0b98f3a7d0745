"""Where a file keeps the question: one column, instruction and input, messages, a system text before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .cells import MESSAGES, PLAIN, Cells, Turns, is_missing, text_cell
from .column_names import QUESTIONS, Columns
from .messages import dialogue, joined, message_list, role_of

_HEAD_SHARE: Final = 2
"""a column holds messages where at least one filled cell in this many does"""


@dataclass(frozen=True)
class Question:
    """The columns that hold the question, and how their cells are written."""

    columns: tuple[str, ...]
    """as the file spells them: the question, what is added to it"""
    kind: str = PLAIN
    added: str | None = None
    """column of the input that follows an instruction"""
    system: str | None = None
    """column of the system text, put before the first question"""

    def read(self, cells: Cells) -> list[Any] | Turns:
        """Turns of text, or messages (then without an answer at their end)."""
        value = cells[self.columns[0]]
        if self.kind == MESSAGES:
            messages = dialogue(value, self.columns[0], messages=True)
            if isinstance(messages, list) and messages and isinstance(messages[0], dict):
                while len(messages) > 1 and role_of(messages[-1]) == "assistant":
                    messages = messages[:-1]
                return messages
            return [messages] if not isinstance(messages, list) else messages
        asked = text_cell(value, self.columns[0], self.kind) or [None]
        if self.added is not None and not is_missing(cells[self.added]):
            asked = [*asked[:-1], joined(asked[-1], str(cells[self.added]))]
        return asked

    def with_system(self, asked: Turns, cells: Cells) -> Turns:
        """The questions, the first one after the system text, unless that is there already."""
        text = None if self.system is None else cells[self.system]
        if is_missing(text) or (asked and asked[0] is not None and asked[0].startswith(str(text))):
            return asked
        return [joined(str(text), asked[0] if asked else None), *asked[1:]]


def question_columns(columns: Columns) -> list[str]:
    """Every column that may hold the question or belongs to it, as the file spells them."""
    fields = (*QUESTIONS, "system")
    return [name for name in map(columns.find, fields) if name is not None]


def find_question(columns: Columns, head: Mapping[str, Sequence[Any]]) -> Question | None:
    """The first known column of which any cell is filled; None where a file has none of them.

    Parameters
    ----------
    head
        Cells of the first rows, by column.
    """
    present = [(field, name) for field in QUESTIONS if (name := columns.find(field)) is not None]
    if not present:
        return None
    filled = [pair for pair in present if any(not is_missing(cell) for cell in head[pair[1]])]
    field, name = (filled or present)[0]
    added = columns.find("input") if field == "instruction" else None
    kind = MESSAGES if holds_messages(head[name]) else PLAIN
    return Question((name,), kind, added, columns.find("system"))


def holds_messages(cells: Sequence[Any]) -> bool:
    """Whether a column holds lists of messages, decided over many rows."""
    filled = [cell for cell in cells if not is_missing(cell)]
    found = sum(message_list(cell) is not None or _cut_messages(cell) for cell in filled)
    return bool(filled) and _HEAD_SHARE * found >= len(filled)


def _cut_messages(cell: Any) -> bool:
    return isinstance(cell, str) and cell.lstrip().startswith(('[{"', "[{'"))
