"""Names of the best answers, where votes write them otherwise than judgements do: places, letters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ..io.best_votes import Shares
from ..judgements import AnswerScores

_WHOLE: Final = re.compile(r"-?\d+(?:\.0+)?\Z")
_LETTER: Final = re.compile(r"[\[(]*([A-Za-z])[\])]*\Z")
Reader = Callable[[str, Sequence[str]], str | None]
"""the name in a vote, and an item's answers in order → the answer that is meant"""


def named_as(shares: Shares, scores: AnswerScores) -> tuple[Shares, str | None]:
    """Votes with the answers' names as judgements have them, and a note where they were written otherwise.

    Names are taken as they stand where each is an answer of its item. Else the first of these ways is taken
    that finds an answer for every vote: the same but for case and ``2.0`` for ``2``; letters as places (A the
    first); numbers as places, from 0 or from 1, where only one of the two fits. Places are counted in the
    order of the numbers where answers are numbered, else in the order of the file. If none fits, votes stay
    as they are.
    """
    answers: dict[str, list[str]] = {}
    for item, answer in zip(scores.items.to_list(), scores.answers.to_list(), strict=True):
        answers.setdefault(str(item), []).append(str(answer))
    ordered = {item: _in_order(names) for item, names in answers.items()}
    voted = {item: votes for item, votes in shares.items() if item in ordered}
    if all(name in ordered[item] for item, votes in voted.items() for name in votes):
        return shares, None
    found: list[tuple[str, Shares]] = []
    for how, reader in _READERS.items():
        read = _read(voted, ordered, reader)
        if read is not None:
            found.append((how, read))
            if how in _CERTAIN:
                break
    if len(found) != 1:
        return shares, None
    how, read = found[0]
    item, old, new = next(
        (item, old, new)
        for item, votes in voted.items()
        for old, new in zip(votes, read[item], strict=True)
        if old != new
    )
    note = f"the best answers are read as {how}, such as {old!r} of item {item!r} as the answer {new!r}"
    return {**shares, **read}, note


def _in_order(names: list[str]) -> list[str]:
    return sorted(names, key=float) if all(_WHOLE.match(name) for name in names) else names


def _read(
    voted: Mapping[str, Mapping[str, float]], answers: Mapping[str, Sequence[str]], reader: Reader
) -> Shares | None:
    found: Shares = {}
    for item, votes in voted.items():
        own = found.setdefault(item, {})
        for name, share in votes.items():
            answer = reader(name, answers[item])
            if answer is None or answer in own:
                return None
            own[answer] = share
    return found


def _plain(name: str) -> str:
    text = name.strip().casefold()
    return text.partition(".")[0] if _WHOLE.match(text) else text


def _same(name: str, answers: Sequence[str]) -> str | None:
    fitting = [answer for answer in answers if _plain(answer) == _plain(name)]
    return fitting[0] if len(fitting) == 1 else None


def _by_letter(name: str, answers: Sequence[str]) -> str | None:
    letter = _LETTER.match(name.strip())
    return None if letter is None else _at(ord(letter[1].upper()) - ord("A"), answers)


def _counted(start: int) -> Reader:
    def read(name: str, answers: Sequence[str]) -> str | None:
        return _at(int(float(name)) - start, answers) if _WHOLE.match(name.strip()) else None

    return read


def _at(place: int, answers: Sequence[str]) -> str | None:
    return answers[place] if 0 <= place < len(answers) else None


_CERTAIN: Final = ("names in another spelling", "letters of their places")
"""ways that end the search where they fit; of the others only one may"""
_READERS: Final[dict[str, Reader]] = {
    _CERTAIN[0]: _same,
    _CERTAIN[1]: _by_letter,
    "places from 0": _counted(0),
    "places from 1": _counted(1),
}
