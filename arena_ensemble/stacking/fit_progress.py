"""How far the fits of candidates are, counted as they end by the thread that collects them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from .base import Candidate
from .boosting import BoostingCandidate
from .logistic import LogisticCandidate

OnFit = Callable[[float, float, str], None]
"""``(done, total, text)``: planned work in fits of a pool, and which candidate is fitted now."""

_COSTS: Final[tuple[tuple[type, float], ...]] = ((BoostingCandidate, 20.0), (LogisticCandidate, 4.0))
"""One fit beside a pool's, about: for the time left alone."""
_CHOOSING: Final = 0.04
"""of the fits' work: resampling the groups, and the last fits on all rows"""


class FitProgress:
    """Counts fits and their planned work.

    Parameters
    ----------
    on_fit
        Called before the first fit and after each one; None where nobody wants to know.
    """

    def __init__(self, on_fit: OnFit | None = None) -> None:
        self._on_fit = on_fit
        self._done, self._total = 0.0, 0.0
        self._fits, self._expected = 0, 0

    def expect(self, candidates: Sequence[Candidate], times: int) -> None:
        """Each candidate will be fitted so many times more."""
        self._total += times * sum(map(_cost, candidates))
        self._expected += times * len(candidates)

    def begun(self, candidate: Candidate) -> None:
        """The next fit to end is of this candidate."""
        self._report(f"{candidate.name}, fit {self._fits + 1} of {max(self._expected, self._fits + 1)}")

    def ended(self, candidate: Candidate) -> None:
        """A fit of this candidate has ended."""
        self._done += _cost(candidate)
        self._fits += 1

    def choosing(self) -> None:
        """All fits out of fold are done: the choice is made and fitted on all rows."""
        self._done = self._total
        self._report("the choice, fitted on all rows")

    def _report(self, text: str) -> None:
        if self._on_fit is not None:
            self._on_fit(self._done, max(self._total, self._done) * (1 + _CHOOSING), text)


def _cost(candidate: Candidate) -> float:
    return next((cost for kind, cost in _COSTS if isinstance(candidate, kind)), 1.0)
