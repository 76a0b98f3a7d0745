"""Temperature: one sharpness for a whole matrix of log-probabilities, found exactly and fast.

With margins ``m_k = z_k - z_y`` of the two outcomes that did not happen, the loss of a row is
``log(1 + sum_k exp(beta m_k))``: convex in beta = 1/T, two exponentials per row. Guo et al. (2017,
ICML, arXiv:1706.04599) name the method; searching in beta makes it convex.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ..metrics import Labels
from ..predictions import LOG_FLOOR, Floats, normalised

BETA_MIN: Final = 1e-3
BETA_MAX: Final = 1e3
"""Beta stays within these: separable data would send it to infinity, reversed data to zero."""
_BLOCK: Final = 1 << 14
_SAFE_EXPONENT: Final = 600.0
_PREVIEW_ROWS: Final = 4096


@dataclass(frozen=True)
class Temperature:
    """Sharpness ``beta``: log-probabilities are multiplied by it and normalised again."""

    beta: float

    @property
    def temperature(self) -> float:
        """``1 / beta``; above 1 the member was too sure of itself."""
        return 1.0 / self.beta

    def apply(self, log_probs: Floats) -> Floats:
        """Log-probabilities (n, 3) at this temperature; the order within a row is kept."""
        return normalised(self.beta * finite(log_probs))


def finite(log_probs: Floats) -> Floats:
    """Log-probabilities (n, 3) with -inf taken as probability 1e-15, or as the row's least if that is less.

    Finite values stay: a sharp member's -200 says something that 1e-15 would not.
    """
    array = np.asarray(log_probs, dtype=np.float64)
    hard = np.isneginf(array)
    if not hard.any():
        return array
    least = np.min(np.where(hard, LOG_FLOOR, array), axis=1, keepdims=True)
    return np.where(hard, np.minimum(least, LOG_FLOOR), array)


def _margins(log_probs: Floats, y: Labels) -> Floats:
    """(2, n): how far each of the other two outcomes lies above the true one."""
    columns = finite(log_probs).T
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


def fit_temperature(
    log_probs: Floats, y: Labels, *, prior_rows: float = 0.0, start: float | None = None
) -> Temperature:
    """The temperature of least log-loss.

    Parameters
    ----------
    log_probs
        (n, 3) natural-log probabilities or logits; -inf is taken as probability 1e-15.
    y
        (n,) outcomes in {0, 1, 2}.
    prior_rows
        Strength of a pull toward beta = 1: the objective gains ``prior_rows/n * (log beta)^2 / 2``.
        0, the default, is the exact minimum.
    start
        First guess of beta.

    Returns
    -------
    Temperature
        Its beta lies in [1e-3, 1e3]; the ends are reached by reversed and by separable data. A
        constant member (no margins at all) gets 1.
    """
    margins = _margins(log_probs, y)
    n = margins.shape[1]
    if not margins.any():
        return Temperature(1.0)
    guess = 1.0 if start is None else start
    if n > 4 * _PREVIEW_ROWS and start is None:
        preview = np.ascontiguousarray(margins[:, :: n // _PREVIEW_ROWS])
        guess = _search(preview, 1.0, prior_rows / n, 1e-3)
    return Temperature(_search(margins, guess, prior_rows / n, 1e-7))
