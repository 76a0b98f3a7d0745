"""Lists of messages: role and content, or ShareGPT's from and value → questions and answers, turn by turn."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from .cells import RowProblem, Turns, decoded, json_kind, plain, python_value, turns

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
    "chatgpt": "assistant",
}
_KEYS: Final = (("role", "content"), ("from", "value"))
_TRANSCRIPT: Final = re.compile(r"\n\n(Human|Assistant): ?")
_EXPECTED: Final = 'write each message as {"role": "user", "content": "…"}'


def is_message(value: Any) -> bool:
    """Whether a value is one message object."""
    return isinstance(value, dict) and any(role in value and text in value for role, text in _KEYS)


def role_of(message: Any) -> str | None:
    """``system``, ``user`` or ``assistant``; None for anything else."""
    if not is_message(message):
        return None
    return _ROLES.get(str(message.get("role", message.get("from"))).strip().lower())


def conversation(value: Any, name: str) -> tuple[Turns, Turns]:
    """What was asked and what was answered, turn by turn, of a list of messages.

    A message is an object with role and content, or with from and value (ShareGPT). A system message is
    put before the first question. Messages of one role in a row are one turn; a question without an
    answer is answered by null. Of content in parts the texts are kept, and any other part stands as its
    type in brackets: ``[image]``.

    Raises
    ------
    RowProblem
        No list of messages, an unknown role, or an answer before any question.
    """
    messages = decoded(value, name) if isinstance(value, str) else value
    if is_message(messages):
        messages = [messages]
    if not isinstance(messages, list):
        raise RowProblem(
            f"{name} is a {json_kind(messages)}, expected a list of messages with role and content; "
            f"{_EXPECTED}"
        )
    asked: Turns = []
    answered: Turns = []
    system: list[str] = []
    for place, message in enumerate(messages, start=1):
        if not is_message(message):
            raise RowProblem(f"{name} message {place} is no object with role and content; {_EXPECTED}")
        side = role_of(message)
        text = _content(message.get("content", message.get("value")), f"{name} message {place}")
        if side is None:
            role = str(message.get("role", message.get("from")))[:30]
            raise RowProblem(f"{name} message {place} has the role {role!r}; use system, user or assistant")
        if side == "system":
            system.append(text or "")
        elif side == "user":
            if len(asked) == len(answered):
                asked.append(joined(*system, text))
                system = []
            else:
                asked[-1] = joined(asked[-1], text)
        elif len(answered) < len(asked):
            answered.append(text)
        elif answered:
            answered[-1] = joined(answered[-1], text)
        else:
            raise RowProblem(f"{name} begins with an answer; put the user's message first")
    answered += [None] * (len(asked) - len(answered))
    return asked, answered


def joined(*parts: str | None) -> str | None:
    """The texts that are there, with a blank line between them; None where there is none."""
    texts = [part for part in parts if part is not None]
    return "\n\n".join(texts) if texts else None


def _content(content: Any, name: str) -> str | None:
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        raise RowProblem(
            f"{name} has as content a {json_kind(content)}, expected text or a list of parts; write it as "
            "text"
        )
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
                f"{name} has a part of the kind {json_kind(part)}, expected text or an object with a type; "
                "write it as text"
            )
    return "\n\n".join(texts) if texts else None


def message_list(value: Any) -> list[Any] | None:
    """The messages of a cell: a list, a single message object, or either as JSON text; else None."""
    if isinstance(value, str):
        if value.lstrip()[:1] not in ("[", "{"):
            return None
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = python_value(value)
    if is_message(value):
        return [value]
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        return value
    return None


def last_text(value: Any) -> Any:
    """The last answer of a cell, however it is written: to compare cells of different columns."""
    messages = message_list(value) or transcript(value)
    if messages and is_message(messages[-1]):
        return messages[-1].get("content", messages[-1].get("value"))
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = turns(value, "")
        except RowProblem:
            return value
    return value[-1] if isinstance(value, list) and value else value


def transcript(value: Any) -> list[dict[str, str]] | None:
    """Messages of a text in which each begins with ``Human:`` or ``Assistant:`` after a blank line.

    The layout of Bai et al. (2022, arXiv:2204.05862); None for any other text.
    """
    if not isinstance(value, str) or not value.startswith("\n\nHuman:"):
        return None
    pieces = _TRANSCRIPT.split(value)[1:]
    return [{"role": role, "content": text} for role, text in zip(pieces[::2], pieces[1::2], strict=True)]


def dialogue(value: Any, name: str, *, messages: bool) -> list[Any] | str | None:
    """A cell of a question or an answer: a list of messages, or one plain text.

    Parameters
    ----------
    messages
        Whether the column holds messages; otherwise a text that happens to look like them stays a text.
    """
    if isinstance(value, list):
        return value[0] if len(value) == 1 and isinstance(value[0], str) else value
    if is_message(value):
        return [value]
    if messages and isinstance(value, str):
        value = decoded(value, name)
        if not (is_message(value) or isinstance(value, list)):
            raise RowProblem(f"{name} is a {json_kind(value)} among lists of messages; {_EXPECTED}")
        return [value] if is_message(value) else value
    return transcript(value) or plain(value, name)[0]
