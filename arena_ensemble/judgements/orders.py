"""Whether a judge of both orders names the answers, or the places where they were shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from ..errors import InputError
from .columns import First, JudgeColumn

_LEAST_Z: Final = 4.0
"""standard errors of the log odds ratio by which the two orders contradict each other"""


@dataclass(frozen=True)
class PlaceWords:
    """Decided pairs of a judge that saw both orders, by its verdict with A first and with B first."""

    judge: str
    same: tuple[int, int] = (0, 0)
    """A both times, B both times"""
    turned: tuple[int, int] = (0, 0)
    """A and then B, B and then A"""

    def __add__(self, other: PlaceWords) -> PlaceWords:
        """Of both."""
        same, turned = (
            (mine[0] + theirs[0], mine[1] + theirs[1])
            for mine, theirs in ((self.same, other.same), (self.turned, other.turned))
        )
        return PlaceWords(self.judge, same, turned)

    def check(self, file: str) -> None:
        """Refuse verdicts that name the first or the second answer shown, where they are read as A and B.

        A judge that always prefers the first place says A and then B; one that reads the answers says the
        same twice, whatever its bias: by chance alone, the odds ratio of the two orders is 1 for any bias.
        Where it lies far below 1, better answers are called A with A first and B with B first.

        Raises
        ------
        InputError
            The log odds ratio lies more than four standard errors below 0.
        """
        cells = [count + 0.5 for count in (*self.same, *self.turned)]
        log_odds = math.log(cells[0] * cells[1] / (cells[2] * cells[3]))
        if log_odds > -_LEAST_Z * math.sqrt(sum(1 / cell for cell in cells)):
            return
        against, decided = sum(self.turned), sum(self.same) + sum(self.turned)
        raise InputError(
            f"{file}: {self.judge!r} contradicts itself in {against} of {decided} pairs that it decided in "
            "both orders, and would agree if its verdicts named places: A the answer shown first; exchange A "
            "and B in the verdicts of calls that saw B first; if they do name the answers, write the two "
            "orders as two judges"
        )


def place_words(name: str, column: JudgeColumn) -> PlaceWords:
    """The counts of one judge."""
    verdicts = column.slot_verdicts
    a, b = verdicts[:, First.A], verdicts[:, First.B]

    def count(with_a_first: int, with_b_first: int) -> int:
        return int(((a == with_a_first) & (b == with_b_first)).sum())

    return PlaceWords(name, (count(0, 0), count(1, 1)), (count(0, 1), count(1, 0)))
