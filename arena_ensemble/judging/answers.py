"""What a judge answered: probabilities of the three letters, or a verdict in its text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

LETTERS: Final = "ABC"
"""answer 1, answer 2, tie"""
_BRACKETS: Final = re.compile(r"\[\[\s*([ABC])\s*\]\]")
_ALONE: Final = re.compile(r"[\s\"'`*(\[]*([ABC])[\s\"'`*)\].:]*\Z")
_LAST: Final = re.compile(r"(?:answer|verdict|preference|choice)\W{1,4}([ABC])\b(?!\w)", re.IGNORECASE)
_LEAST_MASS: Final = 0.5
"""Share of probability that the three letters must hold at the first token; else it is no verdict."""


@dataclass(frozen=True)
class Answer:
    """An answer as it was shown: letters are of the first and the second answer shown, and of a tie."""

    verdict: str = ""
    """A, B, C, or empty where there is none: a refusal, or words that are no verdict"""
    probs: tuple[float, float, float] | None = None
    """of A, B, C, that sum to 1; None where the server gives no log-probabilities"""
    tokens_in: int = 0
    tokens_out: int = 0
    why: str = ""
    """why there is no verdict, in a few words"""


class Rubbish(Exception):
    """The server's reply is no completion: worth another try."""


def read_reply(reply: Any) -> Answer:
    """An answer from the JSON of ``/chat/completions``.

    Raises
    ------
    Rubbish
        It is not of that shape.
    """
    try:
        choice = reply["choices"][0]
        text = choice["message"].get("content") or ""
        usage = reply.get("usage") or {}
        tokens = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        if not isinstance(text, str):
            raise TypeError
        listed = _first_token(choice.get("logprobs"))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise Rubbish("no chat completion") from None
    verdict = verdict_of(text)
    probs = None if listed is None else letter_probs(listed)
    if verdict or probs is not None:
        return Answer(verdict or LETTERS[_largest(probs)], probs, *tokens)
    return Answer("", None, *tokens, "no verdict: " + " ".join(text.split())[:60])


def _largest(probs: Sequence[float] | None) -> int:
    assert probs is not None
    return max(range(3), key=lambda place: probs[place])


def _first_token(logprobs: Any) -> dict[str, float] | None:
    """Tokens and log-probabilities listed at the first place of the answer; None where there are none."""
    places = (logprobs or {}).get("content") or []
    if not places:
        return None
    listed = {str(one["token"]): float(one["logprob"]) for one in places[0].get("top_logprobs") or []}
    return listed or None


def letter_probs(listed: Mapping[str, float]) -> tuple[float, float, float] | None:
    """Probabilities of A, B, C from listed tokens; None where these hold less than half of the mass.

    Spellings of one letter (``A``, `` A``) are added. A letter that is not listed is no more likely than the
    least likely token that is: that bound is taken, never 0 and never 1.
    """
    found = [0.0, 0.0, 0.0]
    for token, value in listed.items():
        letter = token.strip()
        if letter and letter in LETTERS and not math.isnan(value):
            found[LETTERS.index(letter)] += math.exp(min(value, 0.0))
    if sum(found) < _LEAST_MASS:
        return None
    bound = math.exp(min(*listed.values(), 0.0))
    held = [share if share > 0 else bound for share in found]
    total = sum(held)
    a, b, c = (share / total for share in held)
    return a, b, c


def verdict_of(text: str) -> str:
    """The letter of a verdict in a text; empty where there is none, or two that differ.

    ``[[A]]`` counts before all, the last one where there are several; then a text that is one letter, then
    words such as "answer: A".
    """
    if marked := _BRACKETS.findall(text):
        return str(marked[-1])
    if alone := _ALONE.match(text):
        return alone[1]
    named = {letter.upper() for letter in _LAST.findall(text)}
    return named.pop() if len(named) == 1 else ""


def as_battle(answer: Answer, first: str) -> Answer:
    """The same with A and B meaning the battle's own: exchanged where response b was shown first."""
    if first == "a":
        return answer
    verdict = {"A": "B", "B": "A"}.get(answer.verdict, answer.verdict)
    probs = None if answer.probs is None else (answer.probs[1], answer.probs[0], answer.probs[2])
    return Answer(verdict, probs, answer.tokens_in, answer.tokens_out, answer.why)
