"""Single cells of text: lists of turns (JSON or Python), plain text, and which of them a column holds."""

from __future__ import annotations

import ast
import io
import json
import math
import re
import tokenize
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

Turns = list[str | None]
Cells = Mapping[str, Any]

LIST, PLAIN, MESSAGES = "list", "plain", "messages"
"""What a column of texts holds: lists of turns, plain text, or lists of messages."""
_MISSING: Final = frozenset({"", "nan", "null", "none", "na", "n/a", "<na>"})
# As Python's repr writes a list of strings and None. Strings without a comma between them, as NumPy
# prints an array, do not match: Python would join them into one.
_ITEM: Final = r"""(?:'(?:[^'\\\n]++|\\[\\'"nrtxuU])*+'|"(?:[^"\\\n]++|\\[\\'"nrtxuU])*+"|None)"""
_PYTHON_LIST: Final = re.compile(rf"\s*\[\s*{_ITEM}(?:\s*,\s*{_ITEM})*+\s*\]\s*")
_PYTHON_MESSAGES: Final = re.compile(r"\s*\[?\s*\{'")
_LOOKS_LISTED: Final = re.compile(r"""\s*\[\s*(?:["'\[\]{]|null\b|None\b)""")
_FEW: Final = 3
"""with fewer cells than this a column does not decide alone how it is written"""


class RowProblem(Exception):
    """One row that cannot be used; the reader adds the file, the row number and the id."""


class BattleRow(NamedTuple):
    """One battle, before it is put into columns."""

    prompt: Turns
    response_a: Turns
    response_b: Turns
    outcome: int | None = None
    model_a: str | None = None
    model_b: str | None = None
    language: str | None = None


def is_missing(value: Any) -> bool:
    """Whether a cell of a vote or an id holds nothing: null, NaN, empty, or the words for it."""
    if value is None:
        return True
    if isinstance(value, float):
        return math.isnan(value)
    return isinstance(value, str) and value.strip().lower() in _MISSING


def turns(value: Any, name: str) -> Turns | None:
    """A cell holding a list of turns, as JSON text, as Python writes it, or as a list; None for a null.

    Raises
    ------
    RowProblem
        Empty, cut off, or not a list of strings and nulls.
    """
    if isinstance(value, str):
        value = decoded(value, name)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if not isinstance(value, list):
        raise RowProblem(
            f"{name} is JSON but no list of turns (a {json_kind(value)}); write it as a JSON list of strings"
        )
    for place, turn in enumerate(value, start=1):
        if not (turn is None or isinstance(turn, str)):
            raise RowProblem(
                f"{name} is no list of strings and nulls (turn {place} is a {json_kind(turn)}); write each "
                "turn as "
                "a string"
            )
    return value


def decoded(text: str, name: str) -> Any:
    """The value of a cell of JSON, or of a list of strings and None as Python writes it.

    Raises
    ------
    RowProblem
        Empty, or neither.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise RowProblem(f"{name} is JSON nested too deeply; write it as a list of strings") from None
    except json.JSONDecodeError as error:
        if not text.strip():
            raise RowProblem(f"{name} is empty, expected a JSON list; write [null] for no text") from None
        found = python_value(text)
        if found is not None:
            return found
        if "'" in text[:3]:
            remedy = "it looks like a printed NumPy array, or Python with other values; write it as JSON"
        else:
            remedy = "the cell is cut off or was edited: fetch it again, or --format wsdm for plain text"
        raise RowProblem(
            f"{name} is not whole JSON ({error.msg} at character {error.pos + 1}); {remedy}"
        ) from None
    except ValueError:
        raise RowProblem(f"{name} is JSON with a number of too many digits; write it as a string") from None


def python_value(text: str) -> list[Any] | dict[str, Any] | None:
    """A list of strings and None, or messages, as Python writes them; None for anything else.

    Only literals are read, so nothing runs. Strings side by side, as NumPy prints an array, are refused:
    Python would join them into one.
    """
    if not (_PYTHON_LIST.fullmatch(text) or (_PYTHON_MESSAGES.match(text) and _no_strings_meet(text))):
        return None
    try:
        found = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return found if isinstance(found, (list, dict)) else None


def _no_strings_meet(text: str) -> bool:
    before = -1
    try:
        for token in tokenize.generate_tokens(io.StringIO(text.strip()).readline):
            if token.type == before == tokenize.STRING:
                return False
            if token.type not in (tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT):
                before = token.type
    except (tokenize.TokenError, SyntaxError):
        return False
    return True


def plain(value: Any, name: str) -> Turns:
    """A cell holding one turn as plain text; an absent cell is one null turn.

    Raises
    ------
    RowProblem
        No text, or a NUL byte in it.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise RowProblem(f"{name} holds a NUL byte; the file is damaged: fetch it again")
        return [value or None]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return [None]
    raise RowProblem(f"{name} is a {json_kind(value)}, expected text; write it as a string")


def text_cell(value: Any, name: str, kind: str) -> Turns | None:
    """The turns of a cell in a column of lists or of plain text; a list that is no text is always turns."""
    if kind == LIST or isinstance(value, list):
        return turns(value, name)
    return plain(value, name)


def paired(
    prompt: Turns | None, response_a: Turns | None, response_b: Turns | None
) -> tuple[Turns, Turns, Turns]:
    """The three lists with as many turns each; a null response is as many null turns.

    An empty conversation becomes one null turn, so that every battle has at least one turn.
    """
    asked: Turns = prompt or [None]
    answers: list[Turns] = [side or [None] * len(asked) for side in (response_a, response_b)]
    for name, side in zip(("response_a", "response_b"), answers, strict=True):
        if len(side) != len(asked):
            raise RowProblem(
                f"prompt has {len(asked)} turns, {name} has {len(side)}; they must be as many: write null "
                "for a turn "
                "without an answer"
            )
    return asked, answers[0], answers[1]


def list_votes(cells: Sequence[Any]) -> tuple[int, int]:
    """How many cells of a column look like lists of turns, and how many are plain text; nulls count for none.

    A text counts as a list where it is one, or begins like one, so that a list that was cut off is
    refused and not taken for text.
    """
    listed = texts = 0
    for cell in cells:
        if isinstance(cell, list):
            listed += 1
        elif isinstance(cell, str) and cell.strip() and cell.strip() != "null":
            looks = bool(_LOOKS_LISTED.match(cell)) and _is_list_like(cell)
            listed, texts = listed + looks, texts + (not looks)
    return listed, texts


def _is_list_like(cell: str) -> bool:
    text = cell.strip()
    if not text.endswith("]"):
        return True  # cut off
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return True  # Python's or NumPy's list, or broken JSON
    return all(part is None or isinstance(part, str) for part in value)


def column_kinds(samples: Mapping[str, Sequence[Any]]) -> dict[str, str | None]:
    """Whether each of the columns that belong together holds lists or plain text.

    Decided per column over many rows, so that a plain prompt ``["sort"]`` among others stays plain. A
    column of few cells follows all columns together.

    Returns
    -------
    dict
        Column → ``list`` or ``plain``; None where a large share of its cells says one thing and the rest
        the other.
    """
    counts = {name: list_votes(cells) for name, cells in samples.items()}
    all_listed, all_texts = (sum(pair[k] for pair in counts.values()) for k in (0, 1))
    pooled = LIST if 2 * all_listed >= max(all_listed + all_texts, 1) and all_listed else PLAIN
    found: dict[str, str | None] = {}
    for name, (listed, texts) in counts.items():
        total = listed + texts
        share = listed / total if total else 0.0
        if total < _FEW or (total < 4 * _FEW and 0.1 < share < 0.9):
            found[name] = pooled
        elif 0.25 <= share <= 0.75:
            found[name] = None
        else:
            found[name] = LIST if share > 0.5 else PLAIN
    return found


def json_kind(value: Any) -> str:
    """The kind of a value, in JSON's words."""
    kinds = {
        dict: "JSON object",
        list: "list",
        bool: "boolean",
        int: "number",
        float: "number",
        str: "string",
    }
    return "null" if value is None else kinds.get(type(value), type(value).__name__)


def text_or_none(value: Any) -> str | None:
    """The text of a cell; None where it is empty, absent or no text."""
    return value if isinstance(value, str) and value else None
