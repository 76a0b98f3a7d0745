"""What each judge adds to the panel: its honest loss when it is fitted again without that judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from ..losses import row_losses, standard_error
from ..predictions import Floats
from ..stacking.candidates import candidates_for, for_judges
from ..stacking.nested_cv import cross_fit_paths, select_nested
from .encoding import EncodedPanel

Codes = npt.NDArray[np.int64]

CHEAP: Final = 2_000
"""votes x judges up to which the panel is fitted again without each judge; beyond it a pool has to tell"""


@dataclass(frozen=True, eq=False)
class Refits:
    """What a panel was fitted from, and how: enough to fit it again with fewer judges.

    Parameters
    ----------
    source
        The judges' columns and the m votes.
    whole
        (m, 3) honest out-of-fold log-probabilities of the panel of all judges.
    groups, folds
        (m,) of each vote.
    trees
        Whether boosted trees may be among the candidates.
    random_state, tolerance, threads
        As for `Stacker`.
    """

    source: EncodedPanel
    whole: Floats
    groups: Codes
    folds: Codes
    trees: bool
    random_state: int
    tolerance: float
    threads: int

    @property
    def cheap(self) -> bool:
        """Whether fitting it again without each judge is little work; one judge has no panel without it."""
        return len(self.source.columns) > 1 and len(self.source.y) * len(self.source.columns) <= CHEAP

    def without(self, judge: str) -> Floats:
        """(m, 3) honest out-of-fold log-probabilities of the panel without a judge."""
        source, y = self.source.without(judge), self.source.y
        candidates = for_judges(candidates_for(source.out_of_fold(self.folds), trees=self.trees))
        with threadpool_limits(limits=1, user_api="blas"):
            paths = cross_fit_paths(
                candidates.candidates,
                source,
                y,
                self.folds,
                seed=self.random_state,
                pairs=True,
                threads=self.threads,
            )
        found = select_nested(candidates, paths, y, self.groups, self.folds, tolerance=self.tolerance)
        return found.log_probs

    def adds(self) -> dict[str, tuple[float, float]]:
        """Judge → what the panel's loss rises by without it, and the standard error of that."""
        y, own = self.source.y, row_losses(self.whole, self.source.y)
        found = {}
        for judge in sorted(self.source.columns):
            rise = row_losses(self.without(judge), y) - own
            found[judge] = (float(rise.mean()), standard_error(rise, self.groups))
        return found
