"""Cells that should hold verdicts and do not: their commonest texts, and numbers that are a scale."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..errors import InputError
from .cells import is_missing
from .verdict_words import LOST, NUMBERED, marked, number_of, verdict_of

Unread = tuple[tuple[str, int], ...]
"""Texts that are no verdict, with their counts, the commonest first."""
_NUMBER: Final = re.compile(r"[+-]?\d+(?:\.\d*)?\Z")
_SCALE: Final = 0.05
"""share of numbers beyond 0, 1 and 2 from which a column is a scale and no verdicts"""
_FEWEST: Final = 3
"""such numbers that make a scale, or half of the cells: one alone in a small file is a slip"""
_LONGEST: Final = 60
_MOST_TEXTS: Final = 10_000
_SHOWN: Final = 3
_JUDGES: Final = 3


def unread_texts(cells: Sequence[Any]) -> Unread:
    """The texts of filled cells that are no verdict, each cut to 60 characters and on one line."""
    lost = Counter(str(cell) for cell in cells if not is_missing(cell))
    found: Counter[str] = Counter()
    for text, count in lost.items():
        if verdict_of(text, numbers=NUMBERED) == LOST:
            found[_short(text)] += count
    return tuple(found.most_common())


def joined_texts(one: Unread, two: Unread) -> Unread:
    """The counts of both, the commonest first; of ten thousand different texts on the rarest are left out."""
    found = Counter(dict(one))
    for text, count in two:
        found[text] += count
    return tuple(found.most_common(_MOST_TEXTS))


def unread_lines(unread: Mapping[str, Unread]) -> list[str]:
    """A sentence for each of the judges with most unread texts: the commonest of them, escaped."""
    totals = {name: sum(count for _, count in texts) for name, texts in unread.items() if texts}
    worst = sorted(totals, key=lambda name: -totals[name])[:_JUDGES]
    lines = [f"{name}: {totals[name]} answers are no verdict: {shown(unread[name])}" for name in worst]
    if more := len(totals) - len(worst):
        lines.append(f"{more} more judges gave answers that are no verdict")
    return lines


def shown(texts: Unread, most: int = _SHOWN) -> str:
    """``'cannot decide' 12, 'both' 3 and 2 others``."""
    others = len(texts) - most
    more = f" and {others} other text{'s' if others > 1 else ''}" if others > 0 else ""
    return ", ".join(f"{text!r} {count}" for text, count in texts[:most]) + more


def beyond_verdicts(cells: Sequence[Any]) -> dict[str, int]:
    """Numbers that are none of 0, 1, 2, and -1, which marks a failure, and how often each is there.

    In a longer text the number is what stands in double brackets, as in ``Rating: [[7]]``.
    """
    filled = Counter(str(cell).strip() for cell in cells if not is_missing(cell))
    found: Counter[str] = Counter()
    for text, count in filled.items():
        alone = {one.strip() for one in marked(text)}
        number = alone.pop() if len(alone) == 1 else text
        if _beyond(number):
            found[number] += count
    return dict(found)


def refuse_scale(name: str, cells: Sequence[Any], *, file: str, remedy: str) -> None:
    """Refuse a column of verdicts or votes that holds a scale, of which 1 and 2 would be taken for A and B.

    Raises
    ------
    InputError
        A twentieth or more of the filled cells are numbers other than 0, 1, 2, and -1, which marks a failure,
        and three or more, or half of the cells.
    """
    filled = sum(not is_missing(cell) for cell in cells)
    refuse_beyond(name, beyond_verdicts(cells), filled, file=file, remedy=remedy)


def refuse_beyond(
    name: str, beyond: Mapping[str, int], filled: int, *, file: str, remedy: str, known: bool = False
) -> None:
    """As :func:`refuse_scale`, of what `beyond_verdicts` counted among so many filled cells.

    Of a judge that is ``known`` to give verdicts one or two such numbers are missing, however few its cells.
    """
    total = sum(beyond.values())
    if not beyond or total < _SCALE * filled or (total < _FEWEST and (known or 2 * total < filled)):
        return
    examples = sorted(beyond, key=lambda text: -beyond[text])[:_SHOWN]
    raise InputError(
        f"{file}: {name!r} holds numbers beyond 0, 1 and 2 ({', '.join(one[:12] for one in examples)}): a "
        f"score or a scale, which says nothing of who wins; {remedy}"
    )


def _beyond(text: str) -> bool:
    return bool(_NUMBER.match(text)) and number_of(text) is None and float(text) != -1


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
