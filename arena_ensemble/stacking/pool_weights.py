"""Pools of members: linear and geometric with exact convex weights, and greedy selection.

All three treat the outcomes alike, so a pool of swap-equivariant members is swap-equivariant.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ..calibration.davidson import Problem, solve
from ..losses import LOG_FLOOR
from ..metrics import Labels
from ..predictions import Floats

_MAX_STEPS: Final = 200
_WARM_STEPS: Final = 20
_TIE: Final = 1e-12
_LAYERS: Final = 16


def true_class_probs(log_probs: Floats, y: Labels) -> Floats:
    """What each member gave to what happened: (n, M) probabilities from log_probs (M, n, 3).

    For log-loss, linear pooling and greedy selection need nothing else.
    """
    picked = log_probs[:, np.arange(len(y)), y]
    return np.exp(np.maximum(picked, LOG_FLOOR)).T


def linear_weights(true_probs: Floats) -> Floats:
    """Weights (M,) on the simplex of the linear pool with least log-loss.

    Expectation-maximisation to come near, then Newton on ``-mean log(P w) + sum w`` over w >= 0,
    whose minimum lies on the simplex by itself; the result meets the optimality conditions to 1e-9.

    Parameters
    ----------
    true_probs
        (n, M), see `true_class_probs`.
    """
    n, members = true_probs.shape
    weights = np.full(members, 1.0 / members)
    for _ in range(_WARM_STEPS):
        weights = weights * (true_probs / (true_probs @ weights)[:, None]).mean(axis=0)

    def objective(w: Floats) -> float:
        mixed = true_probs @ w
        return float(w.sum() - np.log(mixed).mean()) if mixed.min() > 0 else np.inf

    for _ in range(_MAX_STEPS):
        ratio = true_probs / (true_probs @ weights)[:, None]
        gradient = 1.0 - ratio.mean(axis=0)
        near = weights <= min(1e-6, float(np.abs(gradient).max()))
        free = ~(near & (gradient > 0))
        if np.abs(gradient[free]).max(initial=0.0) < 1e-10 and not weights[~free].any():
            break
        part = ratio[:, free].T @ ratio[:, free] / n
        # Identical members make this singular; the damping splits the weight between them.
        part += np.eye(len(part)) * 1e-9 * float(np.trace(part)) / len(part)
        step = np.zeros(members)
        step[free] = -np.linalg.solve(part, gradient[free])
        step[~free] = -weights[~free]
        size, before = 1.0, objective(weights)
        while size > 1e-12:
            trial = np.maximum(weights + size * step, 0.0)
            if objective(trial) <= before + 1e-4 * float(gradient @ (trial - weights)):
                break
            size /= 2
        else:
            break
        weights = trial
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def linear_pool(log_probs: Floats, weights: Floats) -> Floats:
    """Log of the weighted mean of probabilities: (n, 3) from log_probs (M, n, 3) and weights (M,)."""
    mixed = np.tensordot(weights, np.exp(np.maximum(log_probs, LOG_FLOOR)), axes=1)
    return np.asarray(np.log(mixed / mixed.sum(axis=1, keepdims=True)), dtype=np.float64)


def geometric_weights(
    delta: Floats, tau: Floats, y: Labels, *, penalty: float = 0.0, centre: float | None = None
) -> Floats:
    """Non-negative weights (M,) of the geometric pool with least log-loss; their sum is its sharpness.

    Parameters
    ----------
    delta, tau
        (n, M) each, one column a member.
    penalty
        Ridge toward equal weights, on the scale of the mean loss of a row.
    centre
        The equal weight that the ridge pulls to; default 1/M.
    """
    middle = 1.0 / delta.shape[1] if centre is None else centre
    problem = Problem(delta, tau, y, shared=True)
    return solve(problem, penalty=penalty, centre=middle, nonnegative=True)


def greedy_path(true_probs: Floats, rounds: int = 25) -> list[int]:
    """Members in the order greedy selection with replacement adds them (Caruana et al. 2004, ICML).

    Each round adds the member whose addition to the running mean lowers the log-loss most; of equals,
    one that is already in, then the first. Reads only the true-class columns (n, M), never the other two.
    """
    n, members = true_probs.shape
    # Rows are folded into 16 layers, padded with ones that add nothing to a sum of logarithms of
    # ratios; the product of a layer stack (at least 1e-15 each) stays far above the smallest float.
    width = -(-n // _LAYERS)
    columns = np.ones((members, width * _LAYERS))
    columns[:, :n] = true_probs.T
    columns = columns.reshape(members, _LAYERS, width)
    total, mixed = np.zeros((_LAYERS, width)), np.empty((_LAYERS, width))
    spare = width * _LAYERS - n
    path: list[int] = []
    for count in range(1, rounds + 1):
        losses = np.empty(members)
        for m in range(members):
            np.add(total, columns[m], out=mixed)
            summed = float(np.log(np.multiply.reduce(mixed, axis=0)).sum())
            losses[m] = np.log(count) - (summed - spare * np.log(count)) / n
        equal = np.flatnonzero(losses <= losses.min() + _TIE)
        used = [int(m) for m in equal if m in path]
        path.append(used[0] if used else int(equal[0]))
        total += columns[path[-1]]
    return path


def greedy_weights(true_probs: Floats, rounds: int = 25) -> Floats:
    """Weights (M,) of the best prefix of the greedy path; they sum to 1."""
    members = true_probs.shape[1]
    path = greedy_path(true_probs, rounds)
    running = np.cumsum(true_probs[:, path], axis=1) / np.arange(1, len(path) + 1)
    losses = -np.log(running).mean(axis=0)
    length = int(np.flatnonzero(losses <= losses.min() + _TIE)[0]) + 1
    return np.bincount(path[:length], minlength=members) / length
