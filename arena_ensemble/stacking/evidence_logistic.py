"""A logistic stacker whose shrinkage is chosen by the evidence, for few rows and many members.

Each member's weight is a common one plus a deviation of its own, normal with a spread that all share: at
spread zero this is the equal-weight pool, at a large one free logistic regression. The spread is that of
most evidence (MacKay 1992, Neural Computation 4:415-447; Laplace's approximation), so that no rows are held
out for it. Predictions are moderated by how unsure the weights are (MacKay 1992, Neural Computation
4:720-736): a pair that the rows fitted on say little about is predicted nearer to even.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from ..calibration.davidson import Problem, curvature, solve
from ..metrics import Labels
from ..predictions import Floats
from .base import FrozenState
from .design import Design

SPREADS: Final = (1e-3, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Standard deviations of the members' own weights that are tried, of delta and of tau."""
_FIRST_TIE_SPREAD: Final = 0.1
_TIE_SPREAD: Final = 2.0
"""of what is common to all members in tau"""
_INTERCEPT_SPREAD: Final = 30.0
_NO_TIE: Final = -30.0
_CLIP: Final = 8.0


class EvidenceState(FrozenState):
    """A saved `EvidenceModel`."""

    weights: list[float]
    covariance: list[list[float]]
    tie_weights: list[float]
    size: float
    square: float
    offset: float


@dataclass(frozen=True)
class EvidenceModel:
    """Fitted weights; a path of one point."""

    kind: ClassVar[str] = "evidence"

    weights: Floats
    """(M,) of the members' delta"""
    covariance: Floats
    """(M, M) how unsure they are"""
    tie_weights: Floats
    """(M,) of the members' tau"""
    size: float
    square: float
    offset: float
    """of |mean delta|, its square / 4, and 1 in tau"""

    def winner_parts(self, design: Design, *, moderated: bool = True) -> Floats:
        """(n, M) what each member adds to the delta that is predicted, or to what it is before moderation."""
        delta = _clipped(design.delta)
        factor = self.factor(delta)[:, None] if moderated else 1.0
        return np.asarray(delta * self.weights * factor, dtype=np.float64)

    def tie_parts(self, design: Design) -> Floats:
        """(n, M) what each member adds to the tie; the size of the mean delta is divided as that is."""
        delta, tau = _clipped(design.delta), _clipped(design.tau)
        centre = delta.mean(axis=1, keepdims=True)
        slope = self.size * np.sign(centre) + self.square * centre / 4
        return np.asarray(tau * self.tie_weights + slope * delta / delta.shape[1], dtype=np.float64)

    def factor(self, delta: Floats) -> Floats:
        """(n,) in (0, 1]: what moderates delta, ``1 / sqrt(1 + pi v / 8)``, v being its variance."""
        variance = np.einsum("ij,jk,ik->i", delta, self.covariance, delta)
        return np.asarray(1 / np.sqrt(1 + np.pi * np.maximum(variance, 0) / 8), dtype=np.float64)

    def predict_path(self, design: Design) -> Floats:
        """(1, n, 2): delta, and the logit of a tie, which is not moderated."""
        delta, tau = _clipped(design.delta), _clipped(design.tau)
        centre = delta.mean(axis=1)
        winner = delta @ self.weights
        tie = tau @ self.tie_weights + self.size * np.abs(centre) + self.square * centre**2 / 4 + self.offset
        logit = tie - np.logaddexp(winner / 2, -winner / 2)
        return np.stack([winner * self.factor(delta), logit], axis=1)[None]

    def state(self) -> EvidenceState:
        """All of it."""
        return EvidenceState(
            weights=self.weights.tolist(),
            covariance=self.covariance.tolist(),
            tie_weights=self.tie_weights.tolist(),
            size=self.size,
            square=self.square,
            offset=self.offset,
        )

    def texts(self) -> tuple[str, ...]:
        """None."""
        return ()

    @classmethod
    def from_state(cls, values: Mapping[str, Any], texts: Sequence[str]) -> EvidenceModel:
        """The model that wrote the values; it has no texts."""
        state = EvidenceState.model_validate(values)
        return cls(
            np.array(state.weights, dtype=np.float64),
            np.array(state.covariance, dtype=np.float64),
            np.array(state.tie_weights, dtype=np.float64),
            state.size,
            state.square,
            state.offset,
        )


@dataclass(frozen=True)
class EvidenceLogistic:
    """Unfitted logistic stacker with shrinkage by evidence, of members alone."""

    name: str = "logistic by evidence"
    predicts_tie_logit: bool = True
    tempered: bool = False
    """its sharpness is fitted, and moderated"""

    def fit(self, design: Design, y: Labels, seed: int) -> EvidenceModel:
        """The spread of delta's weights first, then that of tau's, each the one of most evidence."""
        terms = Terms.of(design, y)
        fits = [terms.fit(spread, _FIRST_TIE_SPREAD) for spread in SPREADS]
        best = max(fits, key=lambda one: one.log_evidence)
        if terms.ties:
            fits = [terms.fit(best.spread, spread) for spread in SPREADS]
            best = max(fits, key=lambda one: one.log_evidence)
        return terms.model(best)


@dataclass(frozen=True)
class SpreadFit:
    """The fit at one spread of delta's weights and one of tau's."""

    spread: float
    tie_spread: float
    log_evidence: float
    """up to a constant, by Laplace's approximation"""
    theta: Floats
    hessian: Floats
    """(p, p) of the negative log posterior"""


@dataclass(frozen=True)
class Terms:
    """Rows as odd terms (mean delta, then every delta) and even ones (mean tau, sizes, every tau, 1)."""

    problem: Problem
    members: int
    ties: bool
    """without a vote for a tie, tau is a constant far below"""

    @classmethod
    def of(cls, design: Design, y: Labels) -> Terms:
        """Of labelled rows."""
        delta, tau = _clipped(design.delta), _clipped(design.tau)
        centre, one = delta.mean(axis=1, keepdims=True), np.ones((len(y), 1))
        even = [tau.mean(axis=1, keepdims=True), np.abs(centre), centre**2 / 4, tau, one]
        ties = bool((y == 2).any())
        problem = Problem(np.hstack([centre, delta]), np.hstack(even if ties else [one]), y)
        return cls(problem, delta.shape[1], ties)

    def fit(self, spread: float, tie_spread: float) -> SpreadFit:
        """Penalised maximum likelihood, and the evidence: how likely the outcomes are under the prior."""
        n, members = len(self.problem.y), self.members
        # Members that err apart add up: their common weight is then near their number.
        sizes = [float(members), *[spread] * members]
        sizes += [*[_TIE_SPREAD] * 3, *[tie_spread] * members, _INTERCEPT_SPREAD] if self.ties else [1e-3]
        precision = 1 / np.array(sizes) ** 2
        centre = np.zeros(len(precision))
        centre[0], centre[-1] = 1.0, 0.0 if self.ties else _NO_TIE
        theta = solve(self.problem, penalty=precision / n, centre=centre, tolerance=1e-9)
        loss, hessian = curvature(self.problem, theta, penalty=precision / n, centre=centre)
        volume = (np.log(precision).sum() - np.linalg.slogdet(n * hessian)[1]) / 2
        return SpreadFit(spread, tie_spread, float(volume - n * loss), theta, n * hessian)

    def model(self, fit: SpreadFit) -> EvidenceModel:
        """Common and own weights as one weight a member."""
        members, k = self.members, self.members + 1
        spreading = np.hstack([np.full((members, 1), 1 / members), np.eye(members)])
        covariance = np.linalg.inv(fit.hessian)[:k, :k]
        theta, offset = fit.theta, float(fit.theta[-1])
        weights, known = spreading @ theta[:k], spreading @ covariance @ spreading.T
        if not self.ties:
            return EvidenceModel(weights, known, np.zeros(members), 0.0, 0.0, offset)
        tie_weights = spreading @ np.append(theta[k], theta[k + 3 : -1])
        return EvidenceModel(weights, known, tie_weights, float(theta[k + 1]), float(theta[k + 2]), offset)


def _clipped(values: Floats) -> Floats:
    return np.clip(values, -_CLIP, _CLIP)
