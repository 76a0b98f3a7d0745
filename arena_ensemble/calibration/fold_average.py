"""Fold-averaged test predictions are flatter than the out-of-fold ones that beta was fitted on.

An out-of-fold row is predicted by one fold's model; a test row by the mean of K of them, and a mean of
disagreeing logits has less variance than one of them. The cure needs no labels: multiply by

    gamma = mean_k tr Var(Z_k) / tr Var(mean_k Z_k),

Z_k the row-centred log-probabilities that fold k's model gives rows which no fold trained on. When
all folds agree gamma is 1; it is never below 1 (variance is convex).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from ..errors import InputError
from ..losses import LOG_FLOOR
from ..predictions import Floats

FEWEST_ROWS: Final = 20
"""Below this many rows the ratio of two variances is mostly luck, and nothing is corrected."""


def fold_average_gamma(fold_log_probs: Sequence[Floats]) -> float:
    """Sharpness lost by averaging the folds' predictions of the same rows.

    Parameters
    ----------
    fold_log_probs
        One (n, 3) matrix of natural-log probabilities per fold, the same unlabelled rows in each.

    Returns
    -------
    float
        1 <= gamma <= the number of folds (what folds that share nothing give); 1 for a single fold, for
        agreeing folds, for constant predictions, and for fewer than 20 rows.

    Raises
    ------
    InputError
        No fold, or matrices of different shapes.
    """
    if not fold_log_probs:
        raise InputError("the fold-average correction needs at least one fold's predictions")
    if len({np.shape(part) for part in fold_log_probs}) != 1:
        raise InputError("the folds' predictions have different shapes; they must hold the same rows")
    centred = []
    for part in fold_log_probs:
        floored = np.maximum(np.asarray(part, dtype=np.float64), LOG_FLOOR)
        centred.append(floored - floored.mean(axis=1, keepdims=True))
    single = float(np.mean([z.var(axis=0).sum() for z in centred]))
    averaged = float(np.mean(centred, axis=0).var(axis=0).sum())
    if len(centred[0]) < FEWEST_ROWS or averaged <= 1e-12 or single <= averaged:
        return 1.0
    return min(single / averaged, float(len(centred)))


def ensemble_gamma(single: Sequence[Floats], sharpened: Sequence[Floats], averaged: Floats) -> float:
    """Sharpness that an ensemble of fold-averaged, corrected members still lacks or has too much.

    Members' own gammas take each member's averaging for independent of the others'. A stacker that is
    calibrated on single-fold predictions has ``Cov(outcome, E) = Var(E)``; averaging leaves the members'
    covariance with the outcome as it is, so that the best multiplier of ``E(gamma Z̄)`` is

        mean_k tr Cov(E(gamma Z_k), E(Z_k)) / tr Var(E(gamma Z̄)),

    with E the stacker. Without members' corrections, and for a linear E, it is `fold_average_gamma` of the
    ensemble.

    Parameters
    ----------
    single
        Per fold, the ensemble's log-probabilities (n, 3) when every member predicts with that fold's model.
    sharpened
        The same after each member's correction.
    averaged
        (n, 3): the ensemble's, of members that are averaged over folds and corrected.

    Returns
    -------
    float
        The multiplier, between 1/K and K for K folds; 1 for a single fold, for agreeing folds, for
        constant predictions, and for fewer than 20 rows.
    """
    if len(single) != len(sharpened) or {np.shape(one) for one in [*single, *sharpened]} != {
        np.shape(averaged)
    }:
        raise InputError("the ensemble's predictions have different shapes; they must hold the same rows")
    plain, after = [_centred(one) for one in single], [_centred(one) for one in sharpened]
    shared = float(np.mean([np.mean(a * b, axis=0).sum() for a, b in zip(after, plain, strict=True)]))
    total = float((_centred(averaged) ** 2).mean(axis=0).sum())
    if len(averaged) < FEWEST_ROWS or total <= 1e-12 or shared <= 0:
        return 1.0
    return min(max(shared / total, 1 / len(single)), float(len(single)))


def _centred(log_probs: Floats) -> Floats:
    """Row-centred log-probabilities, each column less its mean, (n, 3)."""
    floored = np.maximum(np.asarray(log_probs, dtype=np.float64), LOG_FLOOR)
    rows = floored - floored.mean(axis=1, keepdims=True)
    return np.asarray(rows - rows.mean(axis=0), dtype=np.float64)
