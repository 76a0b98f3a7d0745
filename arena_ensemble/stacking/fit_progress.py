"""How far the fits of candidates are, counted as they end by the thread that collects them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from .base import Candidate
from .boosting import BoostingCandidate
from .evidence_logistic import EvidenceLogistic
from .logistic import LogisticCandidate

OnFit = Callable[[float, float, str], None]
"""``(done, total, text)``: planned work, and which candidate is fitted now."""

_FEW: Final = 1_200
_MANY: Final = 12_000
_SECONDS: Final[Mapping[str, tuple[float, float]]] = {
    "pool": (0.002, 0.012),
    "logistic, plain": (0.0036, 0.015),
    "logistic, length": (0.0026, 0.015),
    "logistic, rich": (0.015, 0.13),
    "logistic by evidence": (0.015, 0.13),
    "logistic, features": (0.076, 0.77),
    "logistic, all": (0.17, 1.4),
    "trees": (0.27, 0.64),
    "trees with features": (0.89, 4.4),
}
"""Kind of candidate → seconds of a fit with its prediction, on `_FEW` and on `_MANY` rows: processor time of
one core for four members and all features, measured 2026-11-26. Only their ratios matter."""
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
        self._costs: dict[str, float] = {}

    def expect(self, candidates: Sequence[Candidate], times: int, rows: int) -> None:
        """Each candidate will be fitted so many times more, on a part of so many rows."""
        self._costs = {one.name: cost(one, rows) for one in candidates}
        self._total += times * sum(self._costs.values())
        self._expected += times * len(candidates)

    def begun(self, candidate: Candidate) -> None:
        """The next fit to end is of this candidate."""
        self._report(f"{candidate.name}, fit {self._fits + 1} of {max(self._expected, self._fits + 1)}")

    def ended(self, candidate: Candidate) -> None:
        """A fit of this candidate has ended."""
        self._done += self._costs.get(candidate.name, 0.0)
        self._fits += 1

    def choosing(self) -> None:
        """All fits out of fold are done: the choice is made and fitted on all rows."""
        self._done = self._total
        self._report("the choice, fitted on all rows")

    def _report(self, text: str) -> None:
        if self._on_fit is not None:
            self._on_fit(self._done, max(self._total, self._done) * (1 + _CHOOSING), text)


def cost(candidate: Candidate, rows: int) -> float:
    """About how many seconds a fit takes beside others, on one core like the one that was measured."""
    few, many = _SECONDS[_kind(candidate)]
    power = np.log(many / few) / np.log(_MANY / _FEW)
    return float(few * (max(rows, 1) / _FEW) ** power)


def _kind(candidate: Candidate) -> str:
    """The measured kind that a candidate is like; one of your own counts as a pool."""
    if isinstance(candidate, BoostingCandidate):
        return "trees with features" if candidate.features else "trees"
    if isinstance(candidate, LogisticCandidate):
        return f"logistic, {candidate.terms}"
    return "logistic by evidence" if isinstance(candidate, EvidenceLogistic) else "pool"
