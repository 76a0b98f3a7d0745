"""When a training run writes a checkpoint and when it must stop, by what its steps and checkpoints take."""

from __future__ import annotations

import time
from typing import Final

from ...deadline import Clock, Deadline

_BYTES_PER_SECOND: Final = 100e6
"""of a slow disk: what a checkpoint is taken to need before one was written"""
_MARGIN: Final = 1.5
"""the longest step so far and a checkpoint must fit so many times into what is left"""


class Pace:
    """The clock of one run.

    Parameters
    ----------
    minutes, every
        Minutes, and optimizer steps, between checkpoints; 0 is never.
    deadline
        When to have stopped; None is never.
    checkpoint_bytes
        Size of a checkpoint.
    clock
        Seconds; None takes the deadline's, else ``time.monotonic``.
    """

    def __init__(
        self,
        *,
        minutes: float,
        every: int,
        deadline: Deadline | None = None,
        checkpoint_bytes: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self.minutes, self.every, self.deadline = minutes, every, deadline
        self.clock: Clock = clock or (deadline.clock if deadline is not None else time.monotonic)
        self._step_seconds = 0.0  # the longest so far
        self._checkpoint_seconds = checkpoint_bytes / _BYTES_PER_SECOND
        self._step_start = self._written = self.clock()

    def step_begins(self) -> None:
        """A step starts now."""
        self._step_start = self.clock()

    def step_ended(self) -> None:
        """The step that began last is over, with whatever followed it (an evaluation, a report)."""
        self._step_seconds = max(self._step_seconds, self.clock() - self._step_start)

    def checkpoint_due(self, done: int) -> bool:
        """Whether a checkpoint should be written after ``done`` steps."""
        if self.every and done % self.every == 0:
            return True
        return bool(self.minutes) and self.clock() - self._written >= 60 * self.minutes

    def checkpoint_written(self, began: float) -> None:
        """A checkpoint whose writing began at ``began`` (of ``clock``) is whole."""
        self._written = self.clock()
        self._checkpoint_seconds = max(self._checkpoint_seconds, self._written - began)

    def must_stop(self) -> bool:
        """Whether the time left is less than another step and a checkpoint may need."""
        if self.deadline is None:
            return False
        return self.deadline.remaining() <= _MARGIN * (self._step_seconds + self._checkpoint_seconds)
