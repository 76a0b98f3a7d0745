"""Single cells: what a list of turns, a conversation, a verdict look like, and what is wrong with one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from ..battles import Outcome

Turns = list[str | None]
Cells = Mapping[str, Any]

WINNERS: Final = ("winner_model_a", "winner_model_b", "winner_tie")
_ONE_HOT: Final = {
    hot: outcome
    for outcome, hots in {
        Outcome.A: [("1", "0", "0"), (1, 0, 0)],
        Outcome.B: [("0", "1", "0"), (0, 1, 0)],
        Outcome.TIE: [("0", "0", "1"), (0, 0, 1)],
    }.items()
    for hot in hots
}
_VERDICTS: Final = {
    "model_a": Outcome.A,
    "model_b": Outcome.B,
    "a": Outcome.A,
    "b": Outcome.B,
    "tie": Outcome.TIE,
    "tie (bothbad)": Outcome.TIE,
    "tie (both bad)": Outcome.TIE,
    "bothbad": Outcome.TIE,
    "both_bad": Outcome.TIE,
    "both bad": Outcome.TIE,
}


class RowProblem(Exception):
    """One row that cannot be used; the reader adds the file, the row number and the id."""


class ReadRow(NamedTuple):
    """One battle, before it is put into columns."""

    prompt: Turns
    response_a: Turns
    response_b: Turns
    outcome: int | None = None
    model_a: str | None = None
    model_b: str | None = None
    language: str | None = None


def turns(value: Any, name: str) -> Turns | None:
    """A cell holding a list of turns, as JSON text or as a list; None for a JSON null.

    Raises
    ------
    RowProblem
        Empty, cut off, or not a list of strings and nulls.
    """
    if isinstance(value, str):
        value = _decoded(value, name)
    if value is None:
        return None
    if not isinstance(value, list):
        raise RowProblem(f"{name} is JSON but no list of turns (a {_json_kind(value)})")
    for place, turn in enumerate(value, start=1):
        if not (turn is None or isinstance(turn, str)):
            raise RowProblem(f"{name} is no list of strings and nulls (turn {place} is a {_json_kind(turn)})")
    return value


def _decoded(text: str, name: str) -> Any:
    if not text.strip():
        raise RowProblem(f"{name} is empty, expected a JSON list")
    try:
        return json.loads(text)
    except RecursionError:
        raise RowProblem(f"{name} is JSON nested too deeply") from None
    except json.JSONDecodeError as error:
        python = "'" in text[:3]
        remedy = "it looks like Python; write it as JSON" if python else "the cell is cut off or was edited"
        raise RowProblem(
            f"{name} is not whole JSON ({error.msg} at character {error.pos + 1}); {remedy}"
        ) from None
    except ValueError:
        raise RowProblem(f"{name} is JSON with a number of too many digits") from None


def plain(value: Any, name: str) -> Turns:
    """A cell holding one turn as plain text; an absent cell is one null turn."""
    if value is None or isinstance(value, str):
        if value and "\0" in value:
            raise RowProblem(f"{name} holds a NUL byte; the file is damaged")
        return [value or None]
    raise RowProblem(f"{name} is a {_json_kind(value)}, expected text")


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
            raise RowProblem(f"prompt has {len(asked)} turns, {name} has {len(side)}; they must be as many")
    return asked, answers[0], answers[1]


def one_hot_outcome(cells: Sequence[Any]) -> int:
    """The outcome of Kaggle's three winner columns.

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
    values = []
    for name, cell in zip(WINNERS, cells, strict=True):
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            raise RowProblem(f"{name} is empty, expected 0 or 1")
        try:
            value = float({"true": 1, "false": 0}.get(str(cell).strip().lower(), cell))
        except (TypeError, ValueError):
            raise RowProblem(f"{name} is {str(cell)[:30]!r}, expected 0 or 1") from None
        if value not in (0, 1):
            raise RowProblem(f"{name} is {cell}, expected 0 or 1")
        values.append(int(value))
    if sum(values) != 1:
        raise RowProblem(f"winner columns sum to {sum(values)}, expected 1")
    return values.index(1)


def verdict_outcome(cell: Any) -> int | None:
    """The outcome of one ``winner`` column; None where the column is absent or null."""
    if cell is None:
        return None
    known = _VERDICTS.get(cell.strip().lower()) if isinstance(cell, str) else None
    if known is None:
        raise RowProblem(f"winner is {str(cell)[:40]!r}, expected model_a, model_b or a kind of tie")
    return int(known)


def conversation(value: Any, name: str) -> tuple[Turns, Turns]:
    """What was asked and what was answered, turn by turn, of a list of messages with role and content.

    A system message is put before the first question. Messages of one role in a row are one turn; a
    question without an answer is answered by null. Of content in parts the texts are kept, and any
    other part stands as its type in brackets: ``[image]``.
    """
    messages = _decoded(value, name) if isinstance(value, str) else value
    if not isinstance(messages, list):
        raise RowProblem(
            f"{name} is a {_json_kind(messages)}, expected a list of messages with role and content"
        )
    asked: Turns = []
    answered: Turns = []
    system: list[str] = []
    for place, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or "role" not in message or "content" not in message:
            raise RowProblem(f"{name} message {place} is no object with role and content")
        side = _ROLES.get(str(message["role"]).strip().lower())
        text = _content(message["content"], f"{name} message {place}")
        if side is None:
            raise RowProblem(f"{name} message {place} has the role {str(message['role'])[:30]!r}")
        if side == "system":
            system.append(text or "")
        elif side == "user":
            if len(asked) == len(answered):
                asked.append(_with(*system, text))
                system = []
            else:
                asked[-1] = _with(asked[-1], text)
        elif len(answered) < len(asked):
            answered.append(text)
        elif answered:
            answered[-1] = _with(answered[-1], text)
        else:
            raise RowProblem(f"{name} begins with an answer; expected the user's message first")
    answered += [None] * (len(asked) - len(answered))
    return asked, answered


_ROLES: Final = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
}


def _with(*parts: str | None) -> str | None:
    told = [part for part in parts if part is not None]
    return "\n\n".join(told) if told else None


def _content(content: Any, name: str) -> str | None:
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        raise RowProblem(f"{name} has as content a {_json_kind(content)}, expected text or a list of parts")
    texts: list[str] = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif (
            isinstance(part, dict)
            and isinstance(part.get("text"), str)
            and part.get("type", "text") == "text"
        ):
            texts.append(part["text"])
        elif isinstance(part, dict) and isinstance(part.get("type"), str):
            texts.append(f"[{part['type'][:20]}]")
        elif part is not None:
            raise RowProblem(
                f"{name} has a part of the kind {_json_kind(part)}, expected text or an object with a type"
            )
    return "\n\n".join(texts) if texts else None


_TRANSCRIPT: Final = re.compile(r"\n\n(Human|Assistant): ?")


def dialogue(value: Any, name: str) -> list[Any] | str | None:
    """A cell of a chosen or rejected column: a list of messages, or one plain answer.

    A list of messages may be given as JSON text, or as a transcript in which each message begins with
    ``Human:`` or ``Assistant:`` after a blank line (Bai et al. 2022, arXiv:2204.05862).
    """
    if isinstance(value, list):
        return value[0] if len(value) == 1 and isinstance(value[0], str) else value
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        decoded = _decoded(value, name)
        return decoded if isinstance(decoded, list) else value
    if isinstance(value, str) and value.startswith("\n\nHuman:"):
        pieces = _TRANSCRIPT.split(value)[1:]
        return [{"role": role, "content": text} for role, text in zip(pieces[::2], pieces[1::2], strict=True)]
    return plain(value, name)[0]


def _json_kind(value: Any) -> str:
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
