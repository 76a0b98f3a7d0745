"""The collapse alarm: signs that a member has learned nothing, named with likely causes.

Random heads after a reload, a verdict read from the wrong token, one class for every row: each of
these still prints a loss and writes a valid file, and each cost someone days. So every member is
held against the class prior.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .. import metrics
from ..calibration import fit_temperature
from ..predictions import Floats

ENOUGH_ROWS: Final = 500
"""Below this many battles a small member may be no better than the prior for want of rows: no alarm."""
_ONE_CLASS: Final = 0.95


def facts(log_probs: Floats, y: npt.NDArray[np.int64], prior: Floats) -> dict[str, Any]:
    """Predicted-class shares, mean entropy (nats), accuracy, log-loss and the prior's, for cards."""
    shares = np.bincount(log_probs.argmax(axis=1), minlength=3) / len(y)
    entropy = -(np.exp(log_probs) * np.maximum(log_probs, -50.0)).sum(axis=1).mean()
    return {
        "predicted_shares": dict(zip(("A", "B", "tie"), shares.round(4).tolist(), strict=True)),
        "mean_entropy": float(entropy),
        "accuracy": metrics.accuracy(log_probs, y),
        "log_loss": metrics.log_loss(log_probs, y),
        "prior_log_loss": metrics.log_loss(prior, y),
    }


def find(
    log_probs: Floats, y: npt.NDArray[np.int64], prior: Floats, groups: npt.NDArray[np.int64]
) -> list[str]:
    """What is wrong with these out-of-fold predictions, in words; empty when nothing is.

    Parameters
    ----------
    log_probs, prior
        (n, 3) natural-log probabilities of the member and of the class prior of the other folds.
    y, groups
        (n,) outcomes in {0, 1, 2}, and the groups that standard errors are clustered by.

    Notes
    -----
    A member is named when it gives one class to more than 95 % of the rows, or when its log-loss lies
    above the prior's by more than two clustered standard errors of the paired difference *and* a
    temperature does not mend that: at its own best one it is still not below the prior by more than
    two. An over-confident member with a signal is mended by the river's temperature, not an alarm.
    """
    found = []
    shares = np.bincount(log_probs.argmax(axis=1), minlength=3) / len(y)
    if shares.max() > _ONE_CLASS:
        name = ("A", "B", "tie")[int(shares.argmax())]
        found.append(
            f"gives the class {name} to {shares.max():.1%} of the rows; likely causes: too few steps, a "
            "learning rate too low or too high, a head that was not trained, a verdict cue cut off"
        )
    baseline = metrics.row_losses(prior, y)
    raw = metrics.row_losses(log_probs, y) - baseline
    if raw.mean() > 2 * metrics.standard_error(raw, groups):
        refined = metrics.row_losses(fit_temperature(log_probs, y).apply(log_probs), y) - baseline
        if refined.mean() > -2 * metrics.standard_error(refined, groups):
            found.append(
                f"its log-loss is {raw.mean():.4f} above the class prior's, and {-refined.mean():.4f} below "
                "it at its best temperature; likely causes: over-fitting (fewer epochs, a smaller learning "
                "rate), another template at prediction than in training, a head that was not loaded"
            )
    return found
