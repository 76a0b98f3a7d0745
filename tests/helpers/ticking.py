"""A clock for deadlines that no machine's pace moves."""

from __future__ import annotations


class Ticking:
    """A clock of which every look costs a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now
