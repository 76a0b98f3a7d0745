"""Losses of log-probabilities, how sure one may be of their mean, and the temperature of least loss.

NumPy alone, so that the training loop can use them without the rest of the package. Standard errors treat
the rows of one group as one observation.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .errors import InputError

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer[Any]]

LOG_FLOOR: Final = float(np.log(1e-15))
"""Smallest log-probability used in losses, delta and tau: a member's hard zero stays finite."""
NO_TIE: Final = -1e6
"""Log-probability of a tie in a task of two outcomes: nothing at any sharpness, which 1e-15 to the power of a
small beta is not."""
BETA_MIN: Final = 1e-3
BETA_MAX: Final = 1e3
"""Beta stays within these: separable data would send it to infinity, reversed data to zero."""
_BLOCK: Final = 1 << 14
_SAFE_EXPONENT: Final = 600.0
_PREVIEW_ROWS: Final = 4096


def row_losses(log_probs: Floats, y: Labels) -> Floats:
    """Minus log-probability of what happened, (n,), in nats; floored at probability 1e-15.

    Parameters
    ----------
    log_probs
        (n, 3) natural-log probabilities, columns A, B, TIE.
    y
        (n,) outcomes in {0, 1, 2}.
    """
    picked = np.asarray(log_probs, dtype=np.float64)[np.arange(len(y)), y]
    return np.asarray(-np.maximum(picked, LOG_FLOOR), dtype=np.float64)


def log_loss(log_probs: Floats, y: Labels) -> float:
    """Mean of `row_losses`, in nats. The prior's is 1.0986 when the outcomes are equally common."""
    return float(row_losses(log_probs, y).mean())


def accuracy(log_probs: Floats, y: Labels) -> float:
    """Share of rows whose likeliest outcome is what happened."""
    return float((np.argmax(log_probs, axis=1) == y).mean())


def group_codes(groups: npt.ArrayLike | None, n: int) -> npt.NDArray[np.int64]:
    """Groups of any hashable kind as integers 0 … G-1, (n,); None means every row is its own."""
    if groups is None:
        return np.arange(n, dtype=np.int64)
    array = np.asarray(groups)
    if array.shape != (n,):
        raise InputError(f"groups have shape {array.shape}, expected ({n},)")
    return np.asarray(np.unique(array, return_inverse=True)[1], dtype=np.int64)


def standard_error(losses: Floats, groups: npt.ArrayLike | None = None) -> float:
    """Standard error of the mean loss, clustered by group (the linearised ratio estimator).

    ``sqrt(G/(G-1) * sum_g (sum_{i in g} (l_i - mean))^2) / n``; NaN with fewer than two groups.
    """
    n = len(losses)
    centred = np.asarray(losses, dtype=np.float64) - np.mean(losses)
    totals = centred if groups is None else np.bincount(group_codes(groups, n), weights=centred)
    count = len(totals)
    if count < 2:
        return float("nan")
    return float(np.sqrt(count / (count - 1) * np.sum(totals**2)) / n)


def finite(log_probs: Floats) -> Floats:
    """Log-probabilities (n, 3) with -inf read as probability 1e-15, or as the row's least if that is less.

    Finite values stay: a sharp member's -200 says something that 1e-15 would not.
    """
    array = np.asarray(log_probs, dtype=np.float64)
    hard = np.isneginf(array)
    if not hard.any():
        return array
    least = np.min(np.where(hard, LOG_FLOOR, array), axis=1, keepdims=True)
    return np.where(hard, np.minimum(least, LOG_FLOOR), array)


def gives_ties(log_probs: Floats) -> bool:
    """Whether any row of (n, 3) log-probabilities gives a tie more than 1e-15."""
    return bool((np.asarray(log_probs)[:, 2] > LOG_FLOOR + 1e-6).any())


def tie_aside(log_probs: Floats, y: Labels) -> Floats:
    """Log-probabilities (n, 3), those of a tie at `NO_TIE` where none was voted and none ever predicted."""
    array = np.asarray(log_probs, dtype=np.float64)
    if (y == 2).any() or gives_ties(array):
        return array
    return np.column_stack([array[:, :2], np.full(len(array), NO_TIE)])


def _margins(log_probs: Floats, y: Labels) -> Floats:
    """(2, n): how far each of the other two outcomes lies above the true one."""
    columns = finite(tie_aside(log_probs, y)).T
    truth = np.where(y == 0, columns[0], np.where(y == 1, columns[1], columns[2]))
    margins = np.empty((2, len(y)))
    np.subtract(np.where(y == 0, columns[1], columns[0]), truth, out=margins[0])
    np.subtract(np.where(y == 2, columns[1], columns[2]), truth, out=margins[1])
    return margins


def _slope(margins: Floats, beta: float, shifted: bool) -> tuple[float, float]:
    """First and second derivative in beta of the mean loss; ``shifted`` where exp could overflow."""
    n = margins.shape[1]
    first = second = 0.0
    weights, scaled = np.empty((2, min(n, _BLOCK))), np.empty((2, min(n, _BLOCK)))
    for start in range(0, n, _BLOCK):
        block = margins[:, start : start + _BLOCK]
        width = block.shape[1]
        w, s = weights[:, :width], scaled[:, :width]
        np.multiply(block, beta, out=w)
        base: Floats | float = 1.0
        if shifted:
            top = np.maximum(w.max(axis=0), 0.0)
            w -= top
            base = np.exp(-top)
        np.exp(w, out=w)
        total = w[0] + w[1]
        total += base
        w /= total
        np.multiply(w, block, out=s)
        mean = s[0] + s[1]
        first += float(mean.sum())
        # einsum rather than BLAS, whose threads wait for each other on a busy machine.
        second += float(np.einsum("ij,ij->", s, block) - np.einsum("i,i->", mean, mean))
    return first / n, second / n


def _search(margins: Floats, start: float, prior: float, tolerance: float) -> float:
    """Root of the slope within the bounds: Newton in log beta, kept inside a shrinking bracket.

    A Newton step of size ``tolerance`` leaves an error of its square.
    """

    def derivatives(beta: float) -> tuple[float, float]:
        first, second = _slope(margins, beta, beta * widest > _SAFE_EXPONENT)
        # In u = log beta the loss has slope beta f' and the prior pulls u to 0.
        return beta * first + prior * float(np.log(beta)), beta**2 * second + beta * first + prior

    widest = float(margins.max())
    low, high = float(np.log(BETA_MIN)), float(np.log(BETA_MAX))
    point = min(max(float(np.log(start)), low), high)
    for _ in range(100):
        gradient, curvature = derivatives(float(np.exp(point)))
        if gradient == 0.0:
            break
        if gradient > 0:
            high = point
        else:
            low = point
        step = -gradient / curvature if curvature > 0 else np.inf * -np.sign(gradient)
        following = point + step
        if not low < following < high:
            following = (low + high) / 2
        done = abs(following - point) <= tolerance
        point = following
        if done:
            break
    return float(np.exp(point))


def best_beta(log_probs: Floats, y: Labels, *, prior_rows: float = 0.0, start: float | None = None) -> float:
    """The inverse temperature of least log-loss; 1 for a constant member.

    With margins ``m_k = z_k - z_y`` of the two outcomes that did not happen, the loss of a row is
    ``log(1 + sum_k exp(beta m_k))``: convex in beta = 1/T, two exponentials per row.

    Parameters
    ----------
    log_probs, y, prior_rows, start
        As :func:`arena_ensemble.calibration.fit_temperature`.
    """
    margins = _margins(log_probs, y)
    n = margins.shape[1]
    if not margins.any():
        return 1.0
    guess = 1.0 if start is None else start
    if n > 4 * _PREVIEW_ROWS and start is None:
        preview = np.ascontiguousarray(margins[:, :: n // _PREVIEW_ROWS])
        guess = _search(preview, 1.0, prior_rows / n, 1e-3)
    return _search(margins, guess, prior_rows / n, 1e-7)
