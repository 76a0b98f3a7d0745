"""Conditional logit over the answers of each item: features, weights, RewardBench 2's score of its ties."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupKFold

from ..judgements import AnswerScores
from ..losses import Floats

Codes = npt.NDArray[np.int64]
Rows = npt.NDArray[np.bool_]

RIDGES: Final = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""penalties that inner folds choose among, in items"""
INNER: Final = 4
_POOL_RIDGE: Final = 0.3
"""of the pool of all judges alike, to which the others are shrunk"""
_TIED: Final = 1e-12
_STEPS, _LEAST_STEP, _TOLERANCE = 50, 1e-6, 1e-13


def item_codes(items: Sequence[Any]) -> Codes:
    """(n,) a number for each item, by its name, so that no order of the rows matters."""
    return np.asarray(
        np.unique(np.array([str(one) for one in items]), return_inverse=True)[1], dtype=np.int64
    )


def scales(scores: AnswerScores, codes: Codes) -> Floats:
    """(J,) spread of each judge's scores around the mean of their item; 1 where it has none."""
    around = np.where(np.isnan(scores.mean), np.nan, centred(scores.mean, codes))
    counts = np.maximum((~np.isnan(around)).sum(axis=0), 1)
    found = np.sqrt(np.nansum(around**2, axis=0) / counts)
    return np.where(found > 0, found, 1.0)


def centred(values: Floats, codes: Codes) -> Floats:
    """(n, J) scores less the mean of their item's known ones; 0 where a score is missing."""
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    shape = (int(codes.max(initial=-1)) + 1, values.shape[1])
    counts, sums = np.zeros(shape), np.zeros(shape)
    np.add.at(counts, codes, known)
    np.add.at(sums, codes, filled)
    means = sums / np.maximum(counts, 1)
    return np.where(known, values - means[codes], 0.0)


def tied_top(values: Floats, codes: Codes) -> Floats:
    """(n,) 1 / k for the k values that are the highest of their item, 0 for the others."""
    top = np.full(int(codes.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(top, codes, values)
    tied = np.isclose(values, top[codes], rtol=0, atol=_TIED) & np.isfinite(values)
    count = np.bincount(codes, weights=tied, minlength=len(top))
    return np.where(tied, 1 / np.maximum(count[codes], 1), 0.0)


def features(scores: AnswerScores, scale: Floats, codes: Codes) -> Floats:
    """(n, 2 J + 1): each judge's standardised score around its item's mean, then the same saturated, then the
    mean of the standardised scores.

    Samples of one answer that differ say less: the saturated form divides by their spread too.
    """
    z = centred(scores.mean, codes) / scale
    spread = np.nan_to_num(scores.spread) / scale
    return np.concatenate([z, np.tanh(z / (1 + spread)), z.mean(axis=1, keepdims=True)], axis=1)


def columns_of(judges: Sequence[int], count: int) -> list[int]:
    """The columns of `features` that belong to some of ``count`` judges."""
    return [*judges, *(count + k for k in judges)]


def penalties(width: int, ridge: float, *, pool: bool = True) -> Floats:
    """(width,) the ridge of each weight; the last, of the pool, is light."""
    found = np.full(width, ridge)
    if pool and width:
        found[-1] = min(ridge, _POOL_RIDGE)
    return found


def choice_log_probs(utility: Floats, codes: Codes) -> Floats:
    """(n,) utilities less the log-sum-exp of their item."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(codes[order]) != 0])
    return _less_total(utility, order, starts)


def _less_total(utility: Floats, order: Codes, starts: Codes) -> Floats:
    """The same for rows whose items stand together in ``order``, from ``starts`` on."""
    if not len(order):
        return np.zeros(0)
    totals = np.logaddexp.reduceat(utility[order], starts)
    out = np.empty(len(utility))
    out[order] = utility[order] - np.repeat(totals, np.diff(np.r_[starts, len(order)]))
    return out


def solve_choice(x: Floats, codes: Codes, share: Floats, ridge: float | Floats) -> Floats:
    """Weights of least cross-entropy with the shares of the vote, plus half the ridge times their squares.

    Parameters
    ----------
    share
        (n,) shares that sum to 1 in each item.
    ridge
        One penalty, or one of each column.
    """
    if not x.shape[1]:
        return np.zeros(0)
    penalty = np.broadcast_to(np.asarray(ridge, dtype=np.float64), (x.shape[1],))
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(codes[order]) != 0])
    wanted = share @ x
    items = np.empty(len(x), dtype=np.int64)
    items[order] = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(order)]))

    def loss(weights: Floats) -> tuple[float, Floats]:
        log_probs = _less_total(x @ weights, order, starts)
        return float(-share @ log_probs + (penalty * weights) @ weights / 2), np.exp(log_probs)

    # The loss is convex: Newton's steps, halved where one is too long.
    weights = np.zeros(x.shape[1])
    value, p = loss(weights)
    for _ in range(_STEPS):
        gradient = x.T @ p - wanted + penalty * weights
        weighted = x * p[:, None]
        means = np.zeros((len(starts), x.shape[1]))
        np.add.at(means, items, weighted)
        hessian = x.T @ weighted - means.T @ means + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while (found := loss(weights - size * step))[0] > value and size > _LEAST_STEP:
            size /= 2
        if found[0] > value:
            break
        weights, fallen = weights - size * step, value - found[0]
        value, p = found
        if fallen <= _TOLERANCE * max(1.0, abs(value)):
            break
    return weights


def chosen_ridge(x: Floats, codes: Codes, share: Floats, keys: Codes, seed: int) -> float:
    """The ridge of least loss over inner folds of items; ``keys`` is the group of each item that is there."""
    items = np.unique(codes)
    losses = np.zeros(len(RIDGES))
    folds = GroupKFold(min(INNER, len(np.unique(keys))), shuffle=True, random_state=seed)
    for train, held in folds.split(items, groups=keys):
        learned, wanted = np.isin(codes, items[train]), np.isin(codes, items[held])
        for k, ridge in enumerate(RIDGES):
            penalty = penalties(x.shape[1], ridge)
            weights = solve_choice(x[learned], codes[learned], share[learned], penalty)
            losses[k] -= share[wanted] @ choice_log_probs(x[wanted] @ weights, codes[wanted])
    return RIDGES[int(losses.argmin())]


def ties_score(items: Sequence[Any], scores: Floats, correct: Rows) -> float | None:
    """RewardBench 2's score of its subset Ties, of items ``ref:K`` (one correct answer) and ``tied:K``.

    .3 each for the shares of ``ref`` and of ``tied`` items whose every correct answer outscores every wrong
    one, .2 for the share of pairs in which the correct answers of ``tied`` lie closer together than the worst
    of them from the best wrong one, .2 for the same held against ``ref`` too, and .01 of the mean of
    tanh(margin / spread - 1). (Malik et al. 2025, RewardBench 2, arXiv 2506.01937; its code's
    `process_single_model`.)

    Parameters
    ----------
    scores
        (n,) of each answer, finite.
    correct
        (n,) whether it is a correct one.

    Returns
    -------
    float | None
        None where no number has both items, each with correct and wrong answers.
    """
    names = np.array([str(one) for one in items])
    stats: dict[str, dict[str, tuple[float, float]]] = {"ref": {}, "tied": {}}
    for name in np.unique(names):
        kind, colon, number = str(name).partition(":")
        mine = names == name
        good, bad = scores[mine & correct], scores[mine & ~correct]
        if colon and kind in stats and len(good) and len(bad):
            stats[kind][number] = float(good.min() - bad.max()), float(np.ptp(good))
    both = sorted(set(stats["ref"]) & set(stats["tied"]))
    if not both:
        return None
    accurate = [float(np.mean([margin > 0 for margin, _ in one.values()])) for one in stats.values()]
    margin, spread = np.array([stats["tied"][number] for number in both]).T
    least = np.minimum(margin, [stats["ref"][number][0] for number in both])
    with np.errstate(divide="ignore", invalid="ignore"):
        soft = np.nan_to_num(np.tanh(least / spread - 1), nan=0.0)
    closer = float((margin > spread).mean()), float((least > spread).mean())
    return 0.3 * sum(accurate) + 0.2 * sum(closer) + 0.01 * float(soft.mean())
