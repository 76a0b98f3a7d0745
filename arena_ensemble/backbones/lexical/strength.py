"""How far the lexical member's coefficients are held back: chosen by grouped folds of the training rows."""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold

from ...battles import Battles
from ...folds import group_keys
from ...metrics import standard_error
from ...predictions import Floats
from ...recipes import Recipe
from .equivariant_linear import Coefficients, FeatureBlocks
from .equivariant_linear import fit as fit_coefficients

STRENGTHS: Final = (0.25, 1.0, 4.0)
"""Multiples of the recipe's ``C`` (a variance) that inner folds choose from."""
INNER_ROWS: Final = 4000
"""Rows that the choice of strength reads at most: more change it little and take minutes."""


def choose_strength(
    train: Battles,
    design: FeatureBlocks,
    target: Floats,
    outcomes: npt.NDArray[np.int64],
    weights: Floats | None,
    recipe: Recipe,
) -> tuple[float, dict[str, float]]:
    """The recipe's ``C``, or a multiple that beats it over grouped inner folds; and every loss.

    Another strength must win by more than one paired standard error: the folds of a thousand rows
    are noisy, and on real votes the plain minimum was worse than no choice at all.
    """
    settings = recipe.lexical
    groups = group_keys(train, near_duplicates=None)
    rows = _some_rows(groups, recipe.seed)
    folds = min(settings.inner_folds, len(np.unique(groups[rows])))
    if folds < 2 or len(rows) < 10 * folds:
        return settings.C, {}
    design, target, outcomes = design.take(rows), target[rows], outcomes[rows]
    weights = np.ones(len(rows)) if weights is None else weights[rows]
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=recipe.seed)
    losses = np.empty((len(rows), len(STRENGTHS)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # a rare outcome is no error here
        parts = list(splitter.split(np.zeros(len(rows)), outcomes, groups[rows]))
    for inner, outer in parts:
        seen, held = design.take(inner), design.take(outer)
        start: Coefficients | None = None
        for place, factor in enumerate(STRENGTHS):  # from the stiffest on: each starts from the one before
            scale = float(np.sqrt(factor * settings.C))
            start = fit_coefficients(
                seen.scaled(scale),
                target[inner],
                weights=weights[inner],
                start=None if start is None else start.times(1 / scale),
                tolerance=1e-5,
            ).times(scale)
            losses[outer, place] = -np.sum(target[outer] * start.log_probs(held), axis=1)
    losses *= (weights / weights.mean())[:, None]
    mean = losses.mean(axis=0)
    best, usual = int(np.argmin(mean)), STRENGTHS.index(1.0)
    doubt = standard_error(losses[:, best] - losses[:, usual], groups[rows]) if best != usual else 0.0
    chosen = best if mean[usual] - mean[best] > doubt else usual
    losses_by_c = {f"{f * settings.C:g}": round(float(m), 6) for f, m in zip(STRENGTHS, mean, strict=True)}
    return STRENGTHS[chosen] * settings.C, losses_by_c


def _some_rows(groups: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """At most ``INNER_ROWS`` rows (and one group more), whole groups in random order."""
    if len(groups) <= INNER_ROWS:
        return np.arange(len(groups))
    order = np.random.default_rng(seed).permutation(int(groups.max()) + 1)
    sizes = np.bincount(groups)[order]
    taken = order[: int(np.searchsorted(np.cumsum(sizes), INNER_ROWS)) + 1]
    return np.flatnonzero(np.isin(groups, taken))
