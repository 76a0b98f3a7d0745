"""Until when there is time: one frozen noun that the pipeline hands down to a fold's training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

Clock = Callable[[], float]
"""seconds of a clock that never goes back"""


@dataclass(frozen=True)
class Deadline:
    """A moment of a clock. It may be handed to other processes of the machine, whose monotonic clock is one.

    Parameters
    ----------
    at
        Seconds of ``clock``.
    clock
        As ``time.monotonic``; a test gives its own.
    """

    at: float
    clock: Clock = field(default=time.monotonic, compare=False)

    @classmethod
    def after(cls, hours: float, clock: Clock = time.monotonic) -> Self:
        """The moment ``hours`` from now; infinity is never.

        Raises
        ------
        ValueError
            ``hours`` is NaN or negative.
        """
        if math.isnan(hours) or hours < 0:
            raise ValueError(f"hours = {hours}: expected a number from 0 on")
        return cls(clock() + 3600 * hours, clock)

    def remaining(self) -> float:
        """Seconds left; negative when it is over."""
        return self.at - self.clock()

    def over(self) -> bool:
        """Whether no time is left."""
        return self.remaining() <= 0
