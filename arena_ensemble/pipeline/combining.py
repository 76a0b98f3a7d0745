"""Members' predictions by fold → one prediction: folds averaged, sharpened by gamma, combined."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from ..artifacts.workspace import ENSEMBLE
from ..calibration import Temperature, ensemble_gamma, fold_average_gamma
from ..predictions import Floats, Predictions, average_folds, without_ties

ByFold = Mapping[str, Sequence[Predictions]]
"""Member → the predictions of the same rows by each of its fold models."""
Combine = Callable[[Mapping[str, Predictions]], Floats]


@dataclass(frozen=True)
class EnsemblePrediction:
    """The ensemble's natural-log probabilities (n, 3) of some battles, and how much was sharpened."""

    ids: pl.Series
    log_probs: Floats
    gammas: dict[str, float]
    """Each member's gamma, and under ``"ensemble"`` the ensemble's own, on top of them."""
    n_classes: int = 3
    left_out: dict[str, str] = field(default_factory=dict)
    """member → why it has no part in this prediction; a pool of the others took the stacker's place"""
    fewer_folds: dict[str, str] = field(default_factory=dict)
    """member → how many of its fold models predicted, where not all did"""
    partly: dict[str, str] = field(default_factory=dict)
    """member → which of its fold models failed and why; the others predicted"""
    late: dict[str, str] = field(default_factory=dict)
    """member → what of it the time was not enough for"""
    second_order: dict[str, float] = field(default_factory=dict)
    """member → the share of rows that it predicted in the second order, where the time cut it"""
    test: str = ""
    """digest of the battles, where they were predicted into a workspace"""


def combine_folds(
    by_fold: ByFold,
    combine: Combine,
    *,
    n_classes: int,
    gammas: Mapping[str, float] | None = None,
) -> EnsemblePrediction:
    """The prediction of any function ``combine`` from members to log-probabilities (n, 3).

    Each member's folds are averaged in (delta, tau) and sharpened by its gamma, since an average of folds is
    less sharp than the single-fold predictions that ``combine`` was fitted on; what that leaves is the last
    gamma. Without ``gammas`` they are estimated from these rows, so that a row depends a little on its
    companions; with them (a name that is missing counts as 1) every row stands for itself.
    """
    used = member_gammas(by_fold) if gammas is None else {name: gammas.get(name, 1.0) for name in by_fold}
    averages = averaged(by_fold, used)
    log_probs = combine(averages)
    count = max(len(parts) for parts in by_fold.values())
    if count > 1:
        last = gammas.get(ENSEMBLE, 1.0) if gammas is not None else None
        if last is None:
            combined = {name: [one.combined() for one in parts] for name, parts in by_fold.items()}
            sharp = {name: _sharpened(parts, used[name]) for name, parts in by_fold.items()}
            plain, sharpened = (
                [
                    combine({name: parts[k % len(parts)] for name, parts in given.items()})
                    for k in range(count)
                ]
                for given in (combined, sharp)
            )
            last = ensemble_gamma(plain, sharpened, log_probs)
        used[ENSEMBLE] = last
        log_probs = Temperature(last).apply(log_probs)
    if n_classes == 2:
        log_probs = without_ties(log_probs)
    ids = next(iter(averages.values())).ids
    return EnsemblePrediction(ids, log_probs, used, n_classes)


def member_gammas(by_fold: ByFold) -> dict[str, float]:
    """Each member's gamma, estimated from these rows."""
    return {
        name: fold_average_gamma([one.combined().log_probs for one in parts])
        for name, parts in by_fold.items()
    }


def averaged(by_fold: ByFold, gammas: Mapping[str, float]) -> dict[str, Predictions]:
    """Each member's prediction: both orders combined, sharpened by its gamma, folds averaged."""
    return {name: average_folds(_sharpened(parts, gammas[name])) for name, parts in by_fold.items()}


def _sharpened(parts: Sequence[Predictions], gamma: float) -> list[Predictions]:
    combined = [one.combined() for one in parts]
    return [replace(one, log_probs=Temperature(gamma).apply(one.log_probs)) for one in combined]
