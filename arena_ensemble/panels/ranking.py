"""Rank systems by votes where there are votes and by a calibrated panel elsewhere, with honest intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit
from scipy.stats import norm

from ..errors import InputError
from ..losses import Floats, group_codes

_STEPS: Final = 100
_RIDGE: Final = 1e-9
"""of the mean rating, which the data leave open"""
_TUNINGS: Final = np.linspace(0, 1, 21)


@dataclass(frozen=True)
class Rating:
    """A system's strength: log-odds against the average system, and how often it wins against one."""

    system: str
    rating: float
    low: float
    high: float
    win_rate: float
    """against a system of average strength, a tie counting half: expit of the rating"""
    win_rate_low: float
    win_rate_high: float
    best_rank: int
    worst_rank: int
    """ranks that pairwise intervals leave open: 1 + systems that are surely better, n - surely worse"""


@dataclass(frozen=True)
class Ranking:
    """Ratings, the best first."""

    ratings: tuple[Rating, ...]
    tuning: float
    """weight of the panel's part in [0, 1]: 0 uses votes alone"""
    votes: int
    predicted: int


def rank(
    system_a: Sequence[str],
    system_b: Sequence[str],
    y: npt.ArrayLike,
    log_probs: Floats | None = None,
    *,
    groups: npt.ArrayLike | None = None,
    level: float = 0.95,
    tuning: float | None = None,
    style: Floats | None = None,
) -> Ranking:
    """Bradley-Terry ratings with ties counted half, from votes and predictions.

    The score equations of the votes are joined with those of the panel on all rows, less those of the panel
    on the voted rows: what the panel gets wrong on average falls out, so the ratings are right however good
    it is, and the intervals are shorter the better it is (prediction-powered inference, Angelopoulos et al.
    2023, arXiv 2301.09633; the weight ``tuning`` that minimises the variance: PPI++, arXiv 2311.01453). The
    predictions must be out of fold on the voted rows, which are a random part of all.

    Where some systems win or lose all their votes against the rest, the votes alone have no finite ratings
    (Ford 1957), and no spread of which an interval could be made. Such systems are given half a win and half
    a loss against the average of the others, which for two systems is the penalty of Firth (1993); the halves
    count in the variance like votes. The interval of two systems' 20 wins of 20 is then about Wilson's.

    Parameters
    ----------
    system_a, system_b
        (n,) names of the systems whose answers are compared.
    y
        (n,) 0 A wins, 1 B wins, 2 tie, -1 where nobody voted.
    log_probs
        (n, 3) the panel's predictions of every row; None uses votes alone.
    groups
        (n,) rows that err together, such as those of one prompt.
    tuning
        The weight, if it is not to be chosen.
    style
        (n, s) odd measures of the two answers, such as the log of the ratio of their lengths: ratings are
        then those at equal style (covariates of the same model, as LMArena's style control has them).

    Raises
    ------
    InputError
        Systems that no chain of votes connects, a battle of a system with itself, or fewer than two votes.
    """
    votes = np.asarray(y, dtype=np.int64)
    names = sorted({*system_a, *system_b})
    place = {name: k for k, name in enumerate(names)}
    a = np.array([place[name] for name in system_a])
    b = np.array([place[name] for name in system_b])
    voted = votes >= 0
    _check(a, b, votes, voted, names)
    x = np.zeros((len(a), len(names)))
    x[np.arange(len(a)), a] = 1.0
    x[np.arange(len(a)), b] = -1.0
    if style is not None:
        measures = np.asarray(style, dtype=np.float64)
        spread = measures.std(axis=0)
        x = np.concatenate([x, measures[:, spread > 0] / spread[spread > 0]], axis=1)
    outcome = np.where(votes == 0, 1.0, np.where(votes == 2, 0.5, 0.0))
    codes = group_codes(groups, len(a))
    if log_probs is None:
        predicted, tunings = np.zeros(len(a)), np.zeros(1)
    else:
        probs = np.exp(np.asarray(log_probs, dtype=np.float64))
        predicted = probs[:, 0] + 0.5 * probs[:, 2]
        tunings = _TUNINGS if tuning is None else np.array([tuning])
    halves = _halves(a[voted], b[voted], votes[voted], len(names), x.shape[1])
    fits = [_fit(x, len(names), outcome, predicted, voted, codes, weight, halves) for weight in tunings]
    best = min(range(len(fits)), key=lambda k: float(np.trace(fits[k][1])))
    theta, covariance = fits[best]
    z = float(norm.ppf(0.5 + level / 2))
    ratings = _ratings(names, theta, covariance, z)
    return Ranking(ratings, float(tunings[best]), int(voted.sum()), 0 if log_probs is None else len(a))


def _check(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64], votes: npt.NDArray[np.int64],
           voted: npt.NDArray[np.bool_], names: Sequence[str]) -> None:  # fmt: skip
    if not np.isin(votes, (-1, 0, 1, 2)).all():
        raise InputError("votes must be 0 (A), 1 (B), 2 (tie) or -1 (none); recode the others")
    if (same := np.flatnonzero(a == b)).size:
        raise InputError(f"row {same[0] + 1}: {names[a[same[0]]]} meets itself; leave such battles out")
    if voted.sum() < 2:
        raise InputError(f"{voted.sum()} votes: a ranking needs votes, give at least two")
    reach = np.arange(len(names))
    for left, right in zip(a[voted], b[voted], strict=True):
        if reach[left] != reach[right]:
            reach[reach == reach[right]] = reach[left]
    if len(apart := np.unique(reach)) > 1:
        first, second = (names[int(np.flatnonzero(reach == part)[0])] for part in apart[:2])
        raise InputError(
            f"no chain of votes connects {first} and {second}; give votes between them, or rank them apart"
        )


def _halves(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64], votes: npt.NDArray[np.int64],
            systems: int, width: int) -> Floats:  # fmt: skip
    """(m, width) comparisons with the average of the others, half won and half lost; none where all is well.

    One for each system outside the largest set of which every member has, through others, both won and lost
    against every other; where no set is the largest, one for each system.
    """
    won, lost = np.where(votes == 1, b, a), np.where(votes == 1, a, b)
    tied = votes == 2
    edges = np.r_[won, lost[tied]], np.r_[lost, won[tied]]
    graph = coo_array((np.ones(len(edges[0])), edges), shape=(systems, systems))
    count, parts = connected_components(graph, connection="strong")
    sizes = np.bincount(parts)
    largest = np.flatnonzero(sizes == sizes.max())
    apart = np.arange(systems) if len(largest) > 1 else np.flatnonzero(parts != largest[0])
    if count == 1:
        return np.zeros((0, width))
    found = np.zeros((len(apart), width))
    found[:, :systems] = -1.0 / (systems - 1)
    found[np.arange(len(apart)), apart] = 1.0
    return found


def _fit(x: Floats, systems: int, outcome: Floats, predicted: Floats, voted: npt.NDArray[np.bool_],
         codes: npt.NDArray[np.int64], weight: float, halves: Floats) -> tuple[Floats, Floats]:  # fmt: skip
    """Ratings (systems,) that sum to zero and their covariance, of the first columns of ``x``."""
    n, k, votes = len(x), x.shape[1], int(voted.sum())
    flat = np.zeros((k, k))
    flat[:systems, :systems] = 1.0 / systems
    share = voted / votes  # of a row in the mean over votes
    half = (1 - 1 / systems) / votes  # of n such comparisons, n - 1 are independent
    mixed = weight / n + (1 - weight) * share
    target = weight * predicted / n + share * (outcome - weight * predicted)
    theta = np.zeros(k)
    for _ in range(_STEPS):
        p, q = expit(x @ theta), expit(halves @ theta)
        gradient = x.T @ (mixed * p - target) + half * halves.T @ (q - 0.5) + _RIDGE * theta
        hessian = _information(x, mixed * p * (1 - p)) + _information(halves, half * q * (1 - q))
        hessian += flat + _RIDGE * np.eye(k)
        step = np.linalg.solve(hessian, gradient)
        largest = float(np.abs(step).max())
        theta = theta - step * min(1.0, 2.0 / max(largest, 1e-12))
        if largest < 1e-10:
            break
    theta[:systems] -= theta[:systems].mean()
    p, q = expit(x @ theta), expit(halves @ theta)
    hessian = _information(x, mixed * p * (1 - p)) + _information(halves, half * q * (1 - q)) + flat
    scores = x * (mixed * p - target)[:, None]  # (n, k): rows of the gradient
    for part in (voted, ~voted):  # which rows were voted on is given: only the spread inside a part counts
        scores[part] -= scores[part].mean(axis=0) if part.any() else 0.0
    groups = int(codes.max()) + 1
    summed = np.zeros((groups, k))
    np.add.at(summed, codes, scores)
    middle = summed.T @ summed * (groups / max(groups - 1, 1))
    middle += _information(halves, half / votes * (q**2 + (1 - q) ** 2) / 4)
    inverse = np.linalg.inv(hessian)
    centre = np.eye(k) - flat
    covariance = centre @ inverse @ middle @ inverse @ centre
    return theta[:systems], covariance[:systems, :systems]


def _information(x: Floats, weights: Floats) -> Floats:
    return np.asarray((x * weights[:, None]).T @ x, dtype=np.float64)


def _ratings(names: Sequence[str], theta: Floats, covariance: Floats, z: float) -> tuple[Rating, ...]:
    spread = np.sqrt(np.maximum(np.diag(covariance), 0))
    between = np.sqrt(np.maximum(np.diag(covariance)[:, None] + np.diag(covariance) - 2 * covariance, 0))
    sure = theta[:, None] - theta - z * between > 0  # (k, k): the row's system is surely the better one
    found = []
    for k in np.argsort(-theta, kind="stable"):
        low, high = theta[k] - z * spread[k], theta[k] + z * spread[k]
        win, win_low, win_high = (float(expit(value)) for value in (theta[k], low, high))
        best, worst = 1 + int(sure[:, k].sum()), len(names) - int(sure[k].sum())
        rating = float(theta[k]), float(low), float(high)
        found.append(Rating(names[k], *rating, win, win_low, win_high, best, worst))
    return tuple(found)
