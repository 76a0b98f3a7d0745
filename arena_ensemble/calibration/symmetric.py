"""Symmetric calibration: (delta, tau) → (a delta, c tau + g) keeps the exchange symmetry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..metrics import Labels
from ..predictions import Floats, delta_tau, from_delta_tau
from .davidson import Problem, solve


@dataclass(frozen=True)
class Symmetric:
    """``delta → a delta``, ``tau → c tau + g``: sharpness of who wins, of ties, and how common ties are."""

    a: float
    c: float
    g: float

    def apply(self, log_probs: Floats) -> Floats:
        """Calibrated log-probabilities (n, 3); swap-equivariant."""
        delta, tau = delta_tau(log_probs)
        return from_delta_tau(self.a * delta, self.c * tau + self.g)


def fit_symmetric(log_probs: Floats, y: Labels, *, prior_rows: float = 1.0) -> Symmetric:
    """The symmetric calibration of least log-loss.

    Parameters
    ----------
    log_probs
        (n, 3) natural-log probabilities; -inf is taken as probability 1e-15.
    y
        (n,) outcomes in {0, 1, 2}.
    prior_rows
        Ridge toward (1, 1, 0), ``prior_rows/n * squared distance / 2`` added to the mean loss: it
        decides nothing on many rows and keeps separable or one-class data finite.
    """
    delta, tau = delta_tau(log_probs)
    problem = Problem(delta[:, None], np.stack([tau, np.ones_like(tau)], axis=1), y)
    a, c, g = solve(problem, penalty=prior_rows / len(y), centre=np.array([1.0, 1.0, 0.0]))
    return Symmetric(float(a), float(c), float(g))
