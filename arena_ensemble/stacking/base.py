"""The contract of a candidate: a family fits once and reads rows at several settings.

A setting is a strength of ridge or a number of boosting rounds. All settings of a family come from
one fit, so that choosing between them costs no further training; which one is used is decided on
rows that the fit did not see.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..metrics import Labels, log_loss
from ..predictions import Floats, from_delta_tau
from .design import Design

Setting = tuple[int, int]
"""Which reading gives who wins, and which gives ties; families that fit both at once use equal ones."""


@dataclass
class State:
    """What a fitted model remembers: plain JSON values and LightGBM texts, nothing that can run."""

    kind: str
    values: dict[str, Any]
    texts: list[str] = field(default_factory=list)


class Model(Protocol):
    """A fitted family."""

    def readings(self, design: Design) -> Floats:
        """(V, n, 2): at each of V settings, the pair of numbers that ``log_probs`` understands."""
        ...

    def state(self) -> State:
        """What `restore` needs to make the same model again."""
        ...


class Family(Protocol):
    """A kind of candidate, unfitted."""

    @property
    def name(self) -> str:
        """Name in the score table."""
        ...

    @property
    def factored(self) -> bool:
        """False: readings are (delta, tau). True: (delta, logit of a tie), tuned one by one."""
        ...

    def fit(self, design: Design, y: Labels, seed: int) -> Model:
        """Fit on labelled rows."""
        ...


def to_log_probs(reading: Floats, *, factored: bool) -> Floats:
    """Log-probabilities (n, 3) of a reading (n, 2)."""
    delta, second = reading[:, 0], reading[:, 1]
    if not factored:
        return from_delta_tau(delta, second)
    # logit p_T = tau - log(2 cosh(delta / 2))
    return from_delta_tau(delta, second + np.logaddexp(delta / 2, -delta / 2))


def picked(readings: Floats, setting: Setting) -> Floats:
    """The reading (n, 2) at a setting."""
    return np.stack([readings[setting[0], :, 0], readings[setting[1], :, 1]], axis=1)


def tuned(readings: Floats, y: Labels, *, factored: bool) -> Setting:
    """The setting of least log-loss on rows that the fit did not see.

    The likelihood of a factored family is a product, tie or not times who won, so that the two
    halves are tuned apart.
    """
    count = len(readings)
    if count == 1:
        return (0, 0)
    if not factored:
        losses = [log_loss(from_delta_tau(r[:, 0], r[:, 1]), y) for r in readings]
        best = int(np.argmin(losses))
        return (best, best)
    decided = y != 2
    sign = np.where(y == 0, 1.0, -1.0)[decided]
    lead = [float(np.logaddexp(0, -sign * r[decided, 0]).sum()) for r in readings]
    tie_sign = np.where(y == 2, 1.0, -1.0)
    tie = [float(np.logaddexp(0, -tie_sign * r[:, 1]).sum()) for r in readings]
    return (int(np.argmin(lead)), int(np.argmin(tie)))
