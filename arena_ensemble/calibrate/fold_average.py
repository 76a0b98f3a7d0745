"""Fold-averaged test predictions are flatter than the out-of-fold ones that beta was fitted on.

An out-of-fold row was read by one fold's model; a test row by the mean of K of them, and a mean of
disagreeing logits has less variance than one of them. The cure needs no labels: multiply by

    gamma = mean_k tr Var(Z_k) / tr Var(mean_k Z_k),

Z_k the row-centred log-probabilities that fold k's model gives rows which no fold trained on. When
all folds agree gamma is 1; it is never below 1 (variance is convex).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from ..predictions import LOG_FLOOR, Floats


def fold_average_gamma(fold_log_probs: Sequence[Floats]) -> float:
    """Sharpness lost by averaging the folds' readings of the same rows.

    Parameters
    ----------
    fold_log_probs
        One (n, 3) matrix of natural-log probabilities per fold, the same unlabelled rows in each.

    Returns
    -------
    float
        gamma >= 1; 1 for a single fold, for agreeing folds, and for constant predictions.

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
    if averaged <= 1e-12 or single <= averaged:
        return 1.0
    return single / averaged
