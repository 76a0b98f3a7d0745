"""Temperature: one sharpness for a whole matrix of log-probabilities, found exactly and fast.

Guo et al. (2017, ICML, arXiv:1706.04599) name the method; the search is in :mod:`arena_ensemble.losses`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..losses import BETA_MAX, BETA_MIN, Labels, best_beta, finite
from ..predictions import Floats, normalised

__all__ = ["BETA_MAX", "BETA_MIN", "Temperature", "finite", "fit_temperature"]


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
    return Temperature(best_beta(log_probs, y, prior_rows=prior_rows, start=start))
