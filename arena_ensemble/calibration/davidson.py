"""One convex solver for every map that is linear in (delta, tau): calibration, pools, stackers.

``delta = D theta + delta0`` and ``tau = T theta + tau0``, with the log-loss of
``softmax([delta/2, -delta/2, tau])`` and a ridge toward a centre. If the columns of D are odd under
exchange of the responses and those of T even, the fitted map is swap-equivariant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ..metrics import Labels
from ..predictions import Floats

_MAX_STEPS: Final = 100
_BLOCK: Final = 1 << 15
"""Rows per block: bounds the temporaries at 1,000,000 rows and keeps them near the cache."""


@dataclass(frozen=True)
class Problem:
    """Rows of a (delta, tau)-linear model.

    Parameters
    ----------
    odd
        (n, k): how delta depends on its coefficients.
    even
        (n, m): how tau depends on its coefficients.
    y
        (n,) outcomes in {0, 1, 2}.
    shared
        True: one coefficient vector serves both (k == m), as in a pool. False: odd then even.
    delta0, tau0
        (n,) offsets, or None for zero.
    """

    odd: Floats
    even: Floats
    y: Labels
    shared: bool = False
    delta0: Floats | None = None
    tau0: Floats | None = None

    @property
    def size(self) -> int:
        """Number of coefficients."""
        return int(self.odd.shape[1] if self.shared else self.odd.shape[1] + self.even.shape[1])

    def linear(self, theta: Floats) -> tuple[Floats, Floats]:
        """Delta and tau, each (n,), at the coefficients theta."""
        k = self.odd.shape[1]
        delta = self.odd @ theta[:k]
        tau = self.even @ (theta if self.shared else theta[k:])
        if self.delta0 is not None:
            delta = delta + self.delta0
        if self.tau0 is not None:
            tau = tau + self.tau0
        return delta, tau


def loss_parts(delta: Floats, tau: Floats, y: Labels) -> tuple[Floats, Floats, Floats, Floats]:
    """Per row: loss, p_A - p_B, p_A + p_B and p_T, each (n,)."""
    half = delta / 2
    top = np.maximum(np.abs(half), tau)
    a, b, t = np.exp(half - top), np.exp(-half - top), np.exp(tau - top)
    total = a + b + t
    picked = np.where(y == 2, tau, np.where(y == 0, half, -half))
    return np.log(total) + top - picked, (a - b) / total, (a + b) / total, t / total


def _objective(problem: Problem, theta: Floats, penalty: Floats, centre: Floats) -> float:
    delta, tau = problem.linear(theta)
    loss = loss_parts(delta, tau, problem.y)[0]
    return float(loss.mean() + 0.5 * np.sum(penalty * (theta - centre) ** 2))


def _derivatives(
    problem: Problem, theta: Floats, penalty: Floats, centre: Floats
) -> tuple[float, Floats, Floats]:
    """Objective, gradient (p,) and Hessian (p, p) at theta."""
    n, k = len(problem.y), problem.odd.shape[1]
    p = problem.size
    delta, tau = problem.linear(theta)
    gradient, hessian, total = np.zeros(p), np.zeros((p, p)), 0.0
    for start in range(0, n, _BLOCK):
        rows = slice(start, start + _BLOCK)
        y, odd, even = problem.y[rows], problem.odd[rows], problem.even[rows]
        loss, lead, decided, tie = loss_parts(delta[rows], tau[rows], y)
        total += float(loss.sum())
        slope_d = lead / 2 - np.where(y == 0, 0.5, np.where(y == 1, -0.5, 0.0))
        slope_t = tie - (y == 2)
        curve_dd, curve_tt, curve_dt = decided / 4 - lead**2 / 4, tie * (1 - tie), -tie * lead / 2
        dd = (odd * curve_dd[:, None]).T @ odd
        tt = (even * curve_tt[:, None]).T @ even
        dt = (odd * curve_dt[:, None]).T @ even
        if problem.shared:
            gradient += odd.T @ slope_d + even.T @ slope_t
            hessian += dd + tt + dt + dt.T
        else:
            gradient[:k] += odd.T @ slope_d
            gradient[k:] += even.T @ slope_t
            hessian[:k, :k] += dd
            hessian[k:, k:] += tt
            hessian[:k, k:] += dt
            hessian[k:, :k] += dt.T
    value = total / n + 0.5 * float(np.sum(penalty * (theta - centre) ** 2))
    gradient = gradient / n + penalty * (theta - centre)
    return value, gradient, hessian / n + np.diag(penalty)


def curvature(
    problem: Problem, theta: Floats, *, penalty: npt.ArrayLike, centre: npt.ArrayLike
) -> tuple[float, Floats]:
    """What `solve` minimises, and its Hessian (p, p), at the coefficients theta; arguments as there."""
    ridge, middle = (
        np.broadcast_to(np.asarray(one, dtype=np.float64), (problem.size,)) for one in (penalty, centre)
    )
    value, _, hessian = _derivatives(problem, theta, ridge, middle)
    return value, hessian


def solve(
    problem: Problem,
    *,
    penalty: npt.ArrayLike = 0.0,
    centre: npt.ArrayLike = 0.0,
    start: npt.ArrayLike | None = None,
    nonnegative: bool = False,
    tolerance: float = 1e-12,
) -> Floats:
    """Coefficients (p,) that minimise mean log-loss + ``0.5 sum penalty (theta - centre)^2``.

    Newton with a halving line search; with ``nonnegative`` the two-metric projection of Bertsekas
    (1982, SIAM J. Control Optim. 20:221-246): coefficients that are zero and pushed below it are
    held there while the free ones take a Newton step.

    Parameters
    ----------
    penalty, centre
        Scalars or (p,), on the scale of the mean loss of a row.
    start
        (p,) first guess; default: the centre.
    tolerance
        Stops when the Newton decrement (twice the expected fall of the mean loss) is below it.
    """
    p = problem.size
    ridge = np.broadcast_to(np.asarray(penalty, dtype=np.float64), (p,))
    middle = np.broadcast_to(np.asarray(centre, dtype=np.float64), (p,))
    theta = np.array(middle if start is None else start, dtype=np.float64)
    if nonnegative:
        theta = np.maximum(theta, 0.0)
    if p == 0:
        return theta
    for _ in range(_MAX_STEPS):
        value, gradient, hessian = _derivatives(problem, theta, ridge, middle)
        free = ~((theta <= 0) & (gradient > 0)) if nonnegative else np.ones(p, dtype=bool)
        step = np.zeros(p)
        if free.any():
            part = hessian[np.ix_(free, free)]
            # Duplicate members make the Hessian singular; this much damping moves no prediction by 1e-9.
            part = part + np.eye(len(part)) * (1e-10 * max(float(np.trace(part)) / len(part), 1e-12))
            step[free] = -np.linalg.solve(part, gradient[free])
        decrement = -float(gradient @ step)
        if decrement <= tolerance:
            break
        size = 1.0
        while size > 1e-10:
            trial = np.maximum(theta + size * step, 0.0) if nonnegative else theta + size * step
            slope = float(gradient @ (trial - theta))
            if slope < 0 and _objective(problem, trial, ridge, middle) <= value + 1e-4 * slope:
                break
            size /= 2
        else:
            break
        theta = trial
    return theta
