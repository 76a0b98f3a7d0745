"""How judges spell a verdict: words, letters in brackets, comparisons, grades, numbers."""

from __future__ import annotations

import re
from typing import Any, Final

from .cells import is_missing

A, B, TIE, LOST = 0, 1, 2, -1
_SIDED: Final = ("model", "response", "answer", "assistant", "output", "completion", "option")
_SPELLED: Final[dict[str, int]] = {
    **dict.fromkeys(
        ("a", *(f"{name}_{side}" for name in _SIDED for side in "a1"), "win"), A
    ),
    **dict.fromkeys(
        ("b", *(f"{name}_{side}" for name in _SIDED for side in "b2"), "lose", "loss"),
        B,
    ),
    **dict.fromkeys(
        (
            "c", "tie", "draw", "tied", "equal", "same", "both", "neither", "both_bad", "bothbad",
            "both_good", "bothgood", "tie_bothbad", "tie_both_bad", "tie_bothgood", "tie_both_good",
        ),
        TIE,
    ),
}  # fmt: skip
_BETWEEN: Final = re.compile(r"[ \-_().]+")
_COMPARED: Final = re.compile(r"(?:model_|response_|answer_|assistant_)?([ab])\s*(>{1,2}|<{1,2}|=|==|~)\s*"
                              r"(?:model_|response_|answer_|assistant_)?([ab])\Z")  # fmt: skip
_SENTENCE: Final = re.compile(
    r"(?:the )?(?:(?:model|response|answer|assistant|output|completion|option) ?)?\(?([ab12])\)? "
    r"(?:is (?:slightly |much |significantly |clearly |far |somewhat )?better|better|wins|won|"
    r"is preferred|preferred)\Z"
)
"""``Assistant A is better``"""
_STATED: Final = re.compile(
    r"(?:(?:my |the )?(?:final )?(?:verdict|winner|choice|preference|decision|judgment)(?: is)?\s*[:=]"
    r"|it'?s an?|it is an?)\s+(.{1,24})\Z"
)
"""``Final verdict: tie``"""
_MARKED: Final = re.compile(r"\[\[([^\[\]]{1,20})\]\]")
"""a verdict as judges' prompts ask for it, within a whole answer"""
_NUMBER: Final = re.compile(r"[012](?:\.0+)?\Z")
NUMBERED: Final = {"1": A, "2": B, "0": TIE}
"""Numbers count from 1, as judges' prompts number the answers: 1 is A, 2 is B, 0 is a tie."""
NUMBERED_FROM_ZERO: Final = {"0": A, "1": B, "2": TIE}
"""Kaggle's label, where it is asked for."""


def number_of(cell: Any) -> str | None:
    """``0``, ``1`` or ``2`` where a cell is that number; None for anything else."""
    text = str(cell).strip()
    if isinstance(cell, bool) or is_missing(cell) or not _NUMBER.match(text):
        return None
    return text[0]


def marked(text: str) -> list[str]:
    """What stands in double brackets."""
    return _MARKED.findall(text) if "[[" in text else []


def verdict_of(cell: Any, *, numbers: dict[str, int]) -> int:
    """0 (A), 1 (B), 2 (tie), or -1 where a cell is empty, a refusal or no verdict.

    In a longer text the verdict is what stands in double brackets, if it stands there alone or repeated.

    Parameters
    ----------
    numbers
        What the numbers mean, `NUMBERED` or `NUMBERED_FROM_ZERO`.
    """
    if is_missing(cell) or isinstance(cell, bool):
        return LOST
    digit = number_of(cell)
    if digit is not None:
        return numbers[digit]
    text = str(cell).strip().lower().strip("[]\"'`*. ")
    found = _SPELLED.get(_BETWEEN.sub("_", text).strip("_"))
    if found is not None:
        return found
    compared = _COMPARED.match(text)
    sentence = _SENTENCE.match(text)
    if sentence is not None:
        return A if sentence[1] in "a1" else B
    stated = _STATED.match(text)
    if stated is not None and "[[" not in text:
        return verdict_of(stated[1], numbers=numbers)
    if compared is None:
        found_there = {verdict_of(one, numbers=numbers) for one in marked(str(cell))}
        return found_there.pop() if len(found_there) == 1 else LOST
    if compared[1] == compared[3]:
        return LOST
    left, sign = (A if compared[1] == "a" else B), compared[2]
    if sign[0] not in "<>":
        return TIE
    return left if sign[0] == ">" else 1 - left
