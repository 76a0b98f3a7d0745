"""The safe candidates: the prior, one member, means and pools. Few parameters, nothing to tune."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ..calibration import fit_temperature
from ..metrics import Labels, log_loss
from ..predictions import Floats, delta_tau, from_delta_tau
from .base import FrozenState
from .design import Design
from .pool_weights import geometric_weights, greedy_weights, linear_pool, linear_weights, true_class_probs

Pool = Literal["linear", "geometric"]

TEMPERATURE_ROWS = 4.0
"""Pull of every fitted temperature toward 1: a spread of about e^0.5 is expected before seeing data."""


class PooledState(FrozenState):
    """A saved `PooledModel`."""

    pool: Pool
    betas: list[float]
    weights: list[float]
    offset: float


@dataclass(frozen=True)
class PooledModel:
    """A fitted pool of probabilities or of their logs: beta = 1/temperature and a weight per member."""

    kind: ClassVar[str] = "pooled"

    pool: Pool
    betas: Floats
    weights: Floats
    offset: float = 0.0
    """Added to tau: all there is of the prior, zero elsewhere."""

    def predict_path(self, design: Design) -> Floats:
        """(1, n, 2): delta and tau, a path of one point."""
        if self.pool == "geometric":
            strength = self.betas * self.weights
            delta, tau = design.delta @ strength, design.tau @ strength + self.offset
        else:
            tempered = np.stack(
                [
                    from_delta_tau(beta * d, beta * t)
                    for beta, d, t in zip(self.betas, design.delta.T, design.tau.T, strict=True)
                ]
            )
            delta, tau = delta_tau(linear_pool(tempered, self.weights))
        return np.stack([delta, tau], axis=1)[None]

    def state(self) -> PooledState:
        """All of it."""
        return PooledState(
            pool=self.pool,
            betas=self.betas.tolist(),
            weights=self.weights.tolist(),
            offset=self.offset,
        )

    def texts(self) -> tuple[str, ...]:
        """None."""
        return ()

    @classmethod
    def from_state(cls, values: Mapping[str, Any], texts: Sequence[str]) -> PooledModel:
        """The pool that wrote the values; it has no texts."""
        state = PooledState.model_validate(values)
        return cls(
            state.pool,
            np.array(state.betas, dtype=np.float64),
            np.array(state.weights, dtype=np.float64),
            state.offset,
        )


def member_betas(design: Design, y: Labels) -> Floats:
    """(M,) beta = 1/temperature of each member, pulled a little toward 1."""
    fitted = [fit_temperature(lp, y, prior_rows=TEMPERATURE_ROWS) for lp in design.log_probs]
    return np.array([one.beta for one in fitted])


@dataclass(frozen=True)
class Prior:
    """How common ties are, and nothing else: what is left when no member knows anything."""

    name: str = "prior"
    predicts_tie_logit: bool = False
    tempered: bool = False

    def fit(self, design: Design, y: Labels, seed: int) -> PooledModel:
        """Ties counted, one row added to each outcome; A and B alike, as the symmetry demands."""
        members = len(design.members)
        ties, decided = float((y == 2).sum()) + 1.0, float((y != 2).sum()) + 2.0
        offset = float(np.log(ties / (decided / 2)))
        return PooledModel("geometric", np.ones(members), np.zeros(members), offset)


@dataclass(frozen=True)
class BestMember:
    """The member of least log-loss, as it is or after its temperature."""

    name: str
    tempered: bool
    predicts_tie_logit: bool = False

    def fit(self, design: Design, y: Labels, seed: int) -> PooledModel:
        """Pick the member on these rows."""
        members = len(design.members)
        betas = member_betas(design, y) if self.tempered else np.ones(members)
        losses = [
            log_loss(from_delta_tau(b * d, b * t), y)
            for b, d, t in zip(betas, design.delta.T, design.tau.T, strict=True)
        ]
        weights = np.zeros(members)
        weights[int(np.argmin(losses))] = 1.0
        return PooledModel("geometric", betas, weights)


@dataclass(frozen=True)
class GeometricMean:
    """Geometric mean of all members, each after its temperature."""

    name: str = "geometric mean"
    predicts_tie_logit: bool = False
    tempered: bool = True

    def fit(self, design: Design, y: Labels, seed: int) -> PooledModel:
        """Only the temperatures are learned."""
        members = len(design.members)
        return PooledModel("geometric", member_betas(design, y), np.full(members, 1.0 / members))


@dataclass(frozen=True)
class GeometricPool:
    """Geometric pool: non-negative weights of least log-loss, pulled slightly toward equal ones."""

    name: str = "geometric pool"
    predicts_tie_logit: bool = False
    tempered: bool = True
    pull_rows: float = 1e-6

    def fit(self, design: Design, y: Labels, seed: int) -> PooledModel:
        """Convex; the weights' sum is the pool's own sharpness."""
        weights = geometric_weights(design.delta, design.tau, y, penalty=self.pull_rows / len(y))
        return PooledModel("geometric", np.ones(len(weights)), weights)


@dataclass(frozen=True)
class ShrunkPool:
    """Geometric pool of tempered members, shrunk by ``rows`` rows toward their equal-weight calibrated pool.

    The ridge has the strength of that many rows, so that with few labels the weights stay near equal ones.
    Strengths are candidates of their own: choosing one of them on few rows would cost what it gains.
    """

    rows: float
    predicts_tie_logit: bool = False
    tempered: bool = True

    @property
    def name(self) -> str:
        """Name in the score table."""
        return f"shrunk pool, {self.rows:g} rows"

    def fit(self, design: Design, y: Labels, seed: int) -> PooledModel:
        """Temperatures, the sharpness of the equal pool, then non-negative weights around it."""
        betas = member_betas(design, y)
        delta, tau = design.delta * betas, design.tau * betas
        equal = from_delta_tau(delta.mean(axis=1), tau.mean(axis=1))
        sharpness = fit_temperature(equal, y, prior_rows=TEMPERATURE_ROWS).beta
        centre = sharpness / len(betas)
        weights = geometric_weights(delta, tau, y, penalty=self.rows / len(y), centre=centre)
        return PooledModel("geometric", betas, weights)


@dataclass(frozen=True)
class LinearPool:
    """Weighted mean of probabilities, weights of least log-loss, members after their temperatures."""

    name: str = "linear pool"
    predicts_tie_logit: bool = False
    tempered: bool = True

    def fit(self, design: Design, y: Labels, seed: int) -> PooledModel:
        """Convex."""
        betas = member_betas(design, y)
        return PooledModel("linear", betas, linear_weights(_tempered_true(design, y, betas)))


@dataclass(frozen=True)
class GreedySelection:
    """Greedy selection with replacement on the members' true-class columns, as they are."""

    name: str = "greedy selection"
    predicts_tie_logit: bool = False
    tempered: bool = False
    rounds: int = 50

    def fit(self, design: Design, y: Labels, seed: int) -> PooledModel:
        """The best prefix of the path."""
        betas = np.ones(len(design.members))
        return PooledModel(
            "linear", betas, greedy_weights(true_class_probs(design.log_probs, y), self.rounds)
        )


def _tempered_true(design: Design, y: Labels, betas: Floats) -> Floats:
    tempered = np.stack(
        [
            from_delta_tau(beta * d, beta * t)
            for beta, d, t in zip(betas, design.delta.T, design.tau.T, strict=True)
        ]
    )
    return true_class_probs(tempered, y)
