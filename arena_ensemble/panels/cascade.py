"""A cascade: ask the cheap judge first, the next one only where its answer is worth its price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.isotonic import IsotonicRegression

from ..errors import InputError
from ..losses import Floats, group_codes, row_losses, standard_error
from ..metrics import checked_labels

_RATES: Final = 24


@dataclass(frozen=True)
class Step:
    """The panel of the first judges of the order: the price of the last one, what the panel then predicts."""

    judge: str
    price: float
    """of one battle, in any unit: dollars, seconds"""
    log_probs: Floats
    """(n, 3) out of fold, of this judge and all before it"""


@dataclass(frozen=True)
class CascadeRow:
    """One trade of loss and price: a further judge is asked where it gains ``rate`` nats a unit of price."""

    rate: float
    price: float
    """mean of a battle"""
    log_loss: float
    log_loss_se: float
    accuracy: float
    asked: tuple[float, ...]
    """share of the battles that each judge is asked about"""


def simulate(
    steps: Sequence[Step], y: npt.ArrayLike, folds: npt.ArrayLike, groups: npt.ArrayLike | None = None
) -> list[CascadeRow]:
    """What a cascade would cost and gain, on out-of-fold predictions; cheapest first, all judges last.

    After each judge the expected gain of the next is read off an isotonic curve of past gains in log-loss
    over the panel's present entropy, fitted on the other folds; the next judge is asked where that gain
    exceeds its price times a rate. Rates run from infinite (the first judge alone) to zero.

    Parameters
    ----------
    steps
        In the order of asking. Each step's panel is fitted out of fold, on the same folds.
    y, folds, groups
        (n,) outcomes, folds of the predictions, groups.

    Raises
    ------
    InputError
        Fewer than two steps, a price that is not positive after the first, or other numbers of rows.
    """
    labels = checked_labels(y)
    parts = group_codes(folds, len(labels))
    if len(steps) < 2:
        raise InputError("a cascade needs two judges or more; give their steps in the order of asking")
    for step in steps:
        if np.shape(step.log_probs) != (len(labels), 3):
            raise InputError(
                f"{step.judge}: predictions of {np.shape(step.log_probs)}, expected ({len(labels)}, 3)"
            )
    if steps[0].price < 0 or any(step.price <= 0 for step in steps[1:]):
        raise InputError("a price must be positive; give what one battle costs")
    losses = np.stack([row_losses(step.log_probs, labels) for step in steps])
    worth = np.stack([_worth(steps, k, losses, parts) for k in range(len(steps) - 1)])
    positive = worth[worth > 0]
    rates = np.concatenate(
        [[np.inf], np.quantile(positive, np.linspace(1, 0, _RATES)) if len(positive) else [], [-np.inf]]
    )
    rows = [_at(rate, steps, worth, losses, labels, groups) for rate in rates]
    return [row for k, row in enumerate(rows) if k == 0 or row.asked != rows[k - 1].asked]


def _worth(steps: Sequence[Step], k: int, losses: Floats, parts: npt.NDArray[np.int64]) -> Floats:
    """(n,) expected gain of asking judge k + 1, in nats a unit of price, learned on the other folds."""
    log_probs = np.asarray(steps[k].log_probs, dtype=np.float64)
    entropy = -(np.exp(log_probs) * np.where(np.isfinite(log_probs), log_probs, 0.0)).sum(axis=1)
    gain = losses[k] - losses[k + 1]
    expected = np.empty(len(gain))
    for fold in range(int(parts.max()) + 1):
        held = parts == fold
        curve = IsotonicRegression(out_of_bounds="clip").fit(entropy[~held], gain[~held])
        expected[held] = curve.predict(entropy[held])
    return expected / steps[k + 1].price


def _at(
    rate: float,
    steps: Sequence[Step],
    worth: Floats,
    losses: Floats,
    labels: npt.NDArray[np.int64],
    groups: npt.ArrayLike | None,
) -> CascadeRow:
    n = len(labels)
    reached, going = np.zeros(n, dtype=np.int64), np.ones(n, dtype=bool)
    for k in range(len(worth)):
        going &= worth[k] > rate
        reached[going] = k + 1
    loss = losses[reached, np.arange(n)]
    log_probs = np.stack([np.asarray(step.log_probs) for step in steps])[reached, np.arange(n)]
    asked = tuple(float((reached >= k).mean()) for k in range(len(steps)))
    price = sum(step.price * share for step, share in zip(steps, asked, strict=True))
    right = float((log_probs.argmax(axis=1) == labels).mean())
    return CascadeRow(float(rate), price, float(loss.mean()), standard_error(loss, groups), right, asked)
