"""Scores and label probabilities → (delta, tau): a few odd and even terms of the margin, by their loss.

The margin between the scores has its own scale and saturates; a judge that saw one order has a lean of its
own, shrunk to zero. Penalised maximum likelihood (`calibration.davidson`), so that few rows move little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from pydantic import Field, PositiveFloat

from ..calibration.davidson import Problem, solve
from ..judgements import JudgeColumn, LogProbs, Scores
from ..metrics import Labels
from ..predictions import Floats
from ..stacking.base import FrozenState

_RIDGE: Final = 2.0
_LEAN_RIDGE: Final = 20.0
_MISSING_KAPPA: Final = 16.0
_LARGEST: Final = 20.0


class MarginState(FrozenState):
    """A saved `MarginModel`."""

    scale: PositiveFloat
    level: float
    level_scale: PositiveFloat
    theta: list[float] = Field(min_length=2)
    missing_tau: float


@dataclass(frozen=True)
class MarginModel:
    """Fitted terms of a column of scores or of label probabilities."""

    scale: float
    level: float
    level_scale: float
    theta: Floats
    missing_tau: float

    kind: ClassVar[str]

    def terms(self, column: Any) -> tuple[Floats, Floats]:
        """Odd (n, k) and even (n, m) terms; rows without a usable answer hold zeros."""
        raise NotImplementedError

    def encode(self, column: Any) -> tuple[Floats, Floats]:
        """Delta and tau, each (n,); a row without an answer has delta 0 and the tau of such rows."""
        odd, even = self.terms(column)
        k = odd.shape[1]
        known = ~column.missing
        delta, tau = odd @ self.theta[:k], even @ self.theta[k:]
        return np.where(known, delta, 0.0), np.where(known, tau, self.missing_tau)

    def state(self) -> MarginState:
        """All of it."""
        return MarginState(
            scale=self.scale,
            level=self.level,
            level_scale=self.level_scale,
            theta=self.theta.tolist(),
            missing_tau=self.missing_tau,
        )

    @classmethod
    def from_state(cls, values: Mapping[str, Any]) -> MarginModel:
        """The model that wrote the values."""
        one = MarginState.model_validate(values)
        return cls(one.scale, one.level, one.level_scale, np.array(one.theta), one.missing_tau)


class ScoreModel(MarginModel):
    """Terms of scores: the margin saturating at its scale and beyond it, its size, spread and level."""

    kind: ClassVar[str] = "scores"

    def terms(self, column: Scores) -> tuple[Floats, Floats]:
        """Odd and even terms, see the class."""
        margin, lean = mean_margin(column), sides(column)
        spread, level = (
            _over_slots(column, column.spread.mean(axis=2)),
            _over_slots(column, column.mean.mean(axis=2)),
        )
        soft = np.tanh(margin / self.scale)
        odd = [
            soft,
            np.clip(margin / (3 * self.scale), -3, 3),
            np.tanh(margin / (self.scale + spread)),
            lean,
        ]
        high = np.clip((level - self.level) / self.level_scale, -3, 3)
        even = [
            np.abs(soft),
            (margin == 0).astype(np.float64),
            high,
            np.minimum(spread / self.scale, 3),
            lean * soft,
            np.ones(len(margin)),
        ]
        return np.stack(odd, axis=1), np.stack(even, axis=1)


class ProbabilityModel(MarginModel):
    """Terms of label probabilities: a temperature for delta and tau, a shift of tau, a saturation."""

    kind: ClassVar[str] = "log_probs"

    def terms(self, column: LogProbs) -> tuple[Floats, Floats]:
        """Odd and even terms, see the class."""
        delta, lean = np.clip(mean_margin(column), -_LARGEST, _LARGEST), sides(column)
        floored = np.maximum(np.nan_to_num(column.log_probs), np.log(1e-9))
        ties = np.isfinite(column.log_probs[..., 2])
        slots = np.where(ties, floored[..., 2] - floored[..., :2].mean(axis=2), 0.0)
        tau = np.clip(_over_slots(column, slots), -_LARGEST, _LARGEST)
        soft = np.tanh(delta / 2)
        size = np.log(np.cosh(delta / 2))
        odd = [delta, soft, lean]
        even = [tau, size, lean * soft, np.ones(len(delta))]
        return np.stack(odd, axis=1), np.stack(even, axis=1)


def fit_margin(column: JudgeColumn, y: Labels, prior: Floats) -> MarginModel:
    """Fit the terms of scores or probabilities on labelled rows; ``prior`` as in `fit_verdicts`."""
    known = ~column.missing
    margin = np.abs(mean_margin(column)[known])
    moved = margin[margin > 0]
    scale = float(np.median(moved)) if len(moved) else 1.0
    kind: type[MarginModel] = ProbabilityModel
    level, level_scale = 0.0, 1.0
    if isinstance(column, Scores):
        kind = ScoreModel
        levels = _over_slots(column, column.mean.mean(axis=2))[known]
        if len(levels):
            level, level_scale = float(levels.mean()), float(levels.std()) or 1.0
    lost = y[~known]
    ties = float((lost == 2).sum()) + _MISSING_KAPPA * prior[2]
    decided = float((lost != 2).sum()) + _MISSING_KAPPA * (1 - prior[2])
    missing_tau = float(np.log(ties / (decided / 2)))
    start = np.log(prior[2] / prior[0])
    empty = kind(scale, level, level_scale, np.zeros(0), missing_tau)
    odd, even = empty.terms(column)
    k = odd.shape[1]
    centre = np.zeros(k + even.shape[1])
    penalty = np.full(len(centre), _RIDGE)
    centre[-1], penalty[-1] = start, 0.05
    penalty[k - 1] = penalty[-2] = _LEAN_RIDGE
    if kind is ProbabilityModel:
        centre[0] = 1.0
    theta = centre
    if known.any():
        theta = solve(
            Problem(odd[known], even[known], y[known]),
            penalty=penalty / int(known.sum()),
            centre=centre,
            tolerance=1e-8,
        )
    return kind(scale, level, level_scale, theta, missing_tau)


def mean_margin(column: JudgeColumn) -> Floats:
    """(n,) margin of A over B, the mean of the slots that are there; 0 where there is none."""
    return _over_slots(column, column.margins)


def sides(column: JudgeColumn) -> Floats:
    """(n,) 1 where only answer A was seen first, -1 where only B was, 0 elsewhere."""
    a, b, _ = column.present.T.astype(np.float64)
    return np.asarray(a - b, dtype=np.float64)


def _over_slots(column: JudgeColumn, values: Floats) -> Floats:
    present = column.present
    total = np.where(present, values, 0.0).sum(axis=1)
    return np.asarray(total / np.maximum(present.sum(axis=1), 1), dtype=np.float64)
