"""Log-loss and how sure one may be of it: clustered errors, paired bootstrap, baselines.

Every standard error here treats the rows of one group (one first prompt turn) as one observation,
because votes on the same prompt err together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from .errors import InputError
from .losses import LOG_FLOOR, Floats, Labels, accuracy, group_codes, log_loss, row_losses, standard_error

__all__ = [
    "LOG_FLOOR",
    "Labels",
    "Paired",
    "ScoreRow",
    "accuracy",
    "bayes_log_loss",
    "bootstrap_means",
    "checked_labels",
    "gap_closed",
    "group_codes",
    "log_loss",
    "paired_difference",
    "prior_log_probs",
    "row_losses",
    "score_rows",
    "standard_error",
]

_MAX_CLUSTERS: Final = 1 << 16
"""Past this many groups the bootstrap resamples random bundles of groups: same variance, less time."""


@dataclass(frozen=True)
class Paired:
    """A paired difference of mean losses, ``first - second``; negative means the first is better.

    ``se`` is the bootstrap standard error, ``low`` and ``high`` the 2.5 % and 97.5 % percentiles.
    """

    mean: float
    se: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class ScoreEntry:
    """What a line of the score table is computed from; the fields are those of `ScoreRow`."""

    name: str
    kind: str
    log_probs: Floats
    """(n, 3) natural-log probabilities, columns A, B, TIE."""
    rank: int | None = None
    honest: bool = True
    note: str = ""


@dataclass(frozen=True)
class ScoreRow:
    """One line of the score table.

    ``difference`` and ``difference_se`` are paired, against the table's reference row (the choice);
    ``rank`` is the order of simplicity (0 = simplest), None for rows that are never chosen;
    ``honest`` says whether everything that the row learned was learned on other folds;
    ``gap_closed`` is the share of prior-to-Bayes closed, where the Bayes probabilities are known.
    """

    name: str
    kind: str
    log_loss: float
    se: float
    accuracy: float
    difference: float
    difference_se: float
    rank: int | None = None
    honest: bool = True
    chosen: bool = False
    gap_closed: float | None = None
    note: str = ""


def checked_labels(y: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Labels as (n,) int64 in {0, 1, 2} = A, B, TIE.

    Raises
    ------
    InputError
        Not one-dimensional, empty, not whole numbers, or outside {0, 1, 2}.
    """
    array = np.asarray(y)
    if array.ndim != 1 or len(array) == 0:
        raise InputError(f"outcomes have shape {array.shape}, expected (n,) with n > 0")
    if array.dtype.kind not in "iuf" or not np.isin(array, (0, 1, 2)).all():
        raise InputError("outcomes must be 0 (A), 1 (B) or 2 (tie)")
    return array.astype(np.int64)


def bootstrap_means(
    losses: Floats, groups: npt.ArrayLike | None = None, *, n_resamples: int = 1000, seed: int = 0
) -> Floats:
    """Means of each column of ``losses`` (n, c) over resampled groups, (n_resamples, c).

    Groups are drawn with replacement; all columns share the draws, so that differences of columns
    are paired. Past 65,536 groups, random bundles of groups are drawn instead.
    """
    values = np.asarray(losses, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    rng = np.random.default_rng(seed)
    codes, count = _bundles(groups, len(values), rng)
    sums = [np.bincount(codes, weights=column, minlength=count) for column in values.T]
    return _resampled(
        np.asarray(sums, dtype=np.float64), np.bincount(codes, minlength=count), n_resamples, rng
    )


def _bundles(
    groups: npt.ArrayLike | None, n: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], int]:
    """Which of so many groups, or bundles of them, each row is in."""
    codes = group_codes(groups, n)
    count = int(codes.max()) + 1
    if count <= _MAX_CLUSTERS:
        return codes, count
    return (rng.permutation(count) % _MAX_CLUSTERS)[codes], _MAX_CLUSTERS


def _resampled(
    sums: Floats, sizes: npt.NDArray[np.int64], n_resamples: int, rng: np.random.Generator
) -> Floats:
    """Means (n_resamples, c) of resampled groups, from each group's sums (c, G) and rows (G,)."""
    count = len(sizes)
    sums = np.concatenate([sums, sizes[None].astype(np.float64)])
    means = np.empty((n_resamples, len(sums) - 1))
    for r in range(n_resamples):
        drawn = np.bincount(rng.integers(0, count, size=count, dtype=np.int32), minlength=count)
        totals = sums @ drawn
        means[r] = totals[:-1] / totals[-1]
    return means


def paired_difference(
    first: Floats,
    second: Floats,
    groups: npt.ArrayLike | None = None,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Paired:
    """Mean of ``first - second`` (each (n,) losses of the same rows) with a clustered bootstrap."""
    if np.shape(first) != np.shape(second):
        raise InputError(f"losses of {np.shape(first)} and {np.shape(second)} rows cannot be paired")
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    draws = bootstrap_means(difference, groups, n_resamples=n_resamples, seed=seed)[:, 0]
    low, high = np.quantile(draws, (0.025, 0.975))
    return Paired(float(difference.mean()), float(draws.std(ddof=1)), float(low), float(high))


def prior_log_probs(y: Labels, folds: npt.ArrayLike | None = None) -> Floats:
    """Log class frequencies (n, 3), one added to each count; of the other folds when folds are given."""
    codes = np.zeros(len(y), dtype=np.int64) if folds is None else group_codes(folds, len(y))
    counts = np.zeros((int(codes.max()) + 1, 3))
    np.add.at(counts, (codes, y), 1.0)
    if len(counts) > 1:
        counts = counts.sum(axis=0) - counts
    counts = counts + 1.0
    return np.asarray(np.log(counts / counts.sum(axis=1, keepdims=True))[codes], dtype=np.float64)


def gap_closed(loss: float, prior_loss: float, bayes_loss: float) -> float:
    """Share of the learnable gap closed: 0 at the prior's loss, 1 at the Bayes loss."""
    gap = prior_loss - bayes_loss
    return (prior_loss - loss) / gap if gap > 0 else float("nan")


def bayes_log_loss(bayes_log_probs: Floats) -> float:
    """Expected log-loss of the true probabilities (n, 3): their mean entropy, in nats."""
    probs = np.exp(bayes_log_probs)
    return float(-(probs * np.maximum(bayes_log_probs, LOG_FLOOR)).sum(axis=1).mean())


def score_rows(
    entries: Iterable[ScoreEntry],
    y: Labels,
    *,
    reference: str,
    groups: npt.ArrayLike | None = None,
    chosen: str | None = None,
    bayes_log_probs: Floats | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> list[ScoreRow]:
    """Score table of the entries, in their order, with paired differences to the entry named ``reference``.

    One set of bootstrap draws serves every row of the table. Entries are looked at one by one: those of a
    generator need not be in memory together.
    """
    rng = np.random.default_rng(seed)
    codes, count = _bundles(groups, len(y), rng)
    sums, means, right, rows = [], [], [], []
    for entry in entries:
        losses = row_losses(entry.log_probs, y)
        sums.append(np.bincount(codes, weights=losses, minlength=count))
        means.append(float(np.cumsum(losses)[-1] / len(y)))  # row by row, as a mean over a table's rows runs
        right.append(accuracy(entry.log_probs, y))
        rows.append(replace(entry, log_probs=np.empty((0, 3))))
    place = [entry.name for entry in rows].index(reference)
    draws = _resampled(
        np.asarray(sums, dtype=np.float64), np.bincount(codes, minlength=count), n_resamples, rng
    )
    spread = (draws - draws[:, [place]]).std(axis=0, ddof=1)
    closed: list[float | None] = [None] * len(rows)
    if bayes_log_probs is not None:
        bayes = float(row_losses(bayes_log_probs, y).mean())
        prior = log_loss(prior_log_probs(y), y)
        closed = [gap_closed(mean, prior, bayes) for mean in means]
    return [
        ScoreRow(
            name=entry.name,
            kind=entry.kind,
            log_loss=means[i],
            se=float(draws[:, i].std(ddof=1)),
            accuracy=right[i],
            difference=means[i] - means[place],
            difference_se=float(spread[i]),
            rank=entry.rank,
            honest=entry.honest,
            chosen=entry.name == chosen,
            gap_closed=closed[i],
            note=entry.note,
        )
        for i, entry in enumerate(rows)
    ]
