"""The swap-equivariant logistic stackers: delta linear in odd terms, tau linear in even terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from ..calibration.davidson import Problem, solve
from ..metrics import Labels
from ..predictions import Floats
from .base import FrozenState
from .design import Design
from .pool_weights import geometric_weights

Terms = Literal["plain", "rich", "features", "all", "length"]

RIDGES: Final = (1e4, 1e3, 1e2, 1e1)
"""Strengths of the ridge, as a number of rows; from the strongest, each fit starts from the last."""
FEATURE_RIDGES: Final = (1e3, 3e2, 1e2, 3e1)
BASE_RIDGE: Final = 10.0
LEAN_RIDGE: Final = 10.0
"""Holds the lean of members of one order to zero: a spread of .3 logits is expected before seeing data."""
_CLIP: Final = 8.0
"""Products and squares see delta and tau within ±8: a hard zero counts as a firm opinion, not as 34."""
_MAX_PAIRED_MEMBERS: Final = 4
_MAX_RICH_MEMBERS: Final = 10
_FEATURE_CLIP: Final = 5.0


def member_terms(design: Design) -> tuple[Floats, Floats]:
    """Rich terms of the members, odd (n, k) and even (n, m), beyond delta and tau themselves."""
    delta, tau = np.clip(design.delta, -_CLIP, _CLIP), np.clip(design.tau, -_CLIP, _CLIP)
    members = delta.shape[1]
    if members > _MAX_RICH_MEMBERS:
        # Fifty members would mean a thousand terms: the shape of their mean and their spread will do.
        centre, tie = delta.mean(axis=1, keepdims=True), tau.mean(axis=1, keepdims=True)
        spread = delta.std(axis=1, keepdims=True), tau.std(axis=1, keepdims=True)
        size = np.abs(centre)
        odd = [np.tanh(centre), np.tanh(3 * centre), centre * size / 4, centre * tie, centre * spread[0]]
        even = [size, centre**2 / 4, np.tanh(3 * tie), tie**2, size * tie, *spread]
        return np.hstack(odd), np.hstack(even)
    size = np.abs(delta)
    odd = [np.tanh(delta), np.tanh(3 * delta), delta * size / 4]
    probs = np.exp(design.log_probs)
    entropy = -(probs * np.log(np.maximum(probs, 1e-15))).sum(axis=2).T
    even = [size, delta**2 / 4, np.tanh(3 * tau), tau**2, size * tau, entropy]
    if members <= _MAX_PAIRED_MEMBERS:
        for i in range(members):
            odd.append(delta[:, [i]] * tau)
            odd += [delta[:, [i]] * size[:, [j]] for j in range(members) if j != i]
            even += [np.abs(delta[:, [i]] - delta[:, [j]]) for j in range(i)]
            even += [delta[:, [i]] * delta[:, [j]] for j in range(i)]
    else:
        centre, tie = delta.mean(axis=1, keepdims=True), tau.mean(axis=1, keepdims=True)
        odd += [delta * tau, delta * tie, delta * np.abs(centre), np.tanh(centre)]
        even += [np.abs(delta - centre).mean(axis=1, keepdims=True), np.abs(centre), delta * centre]
        even += [tau.std(axis=1, keepdims=True), delta.std(axis=1, keepdims=True)]
    return np.hstack(odd), np.hstack(even)


def length_columns(names: tuple[str, ...]) -> list[int]:
    """Which features speak of length alone: their names begin with chars, characters or words."""
    return [i for i, name in enumerate(names) if name.split(".")[0] in ("chars", "characters", "words")]


def terms_of(design: Design, terms: Terms, *, lean: bool) -> tuple[Floats, Floats, int]:
    """Odd and even terms, and how many leading columns of each are the members' own delta and tau.

    With ``lean`` the columns of `Design.lean_terms` are the last.
    """
    odd, even = [design.delta], [design.tau]
    base = design.delta.shape[1]
    if terms in ("features", "length"):
        odd, even, base = [], [], 0
    if terms == "rich" and design.members:
        rich = member_terms(design)
        odd.append(rich[0])
        even.append(rich[1])
    if terms in ("features", "all"):
        odd.append(design.odd)
        even.append(design.even)
    if terms == "length":
        odd.append(design.odd[:, length_columns(design.odd_names)])
        even.append(design.even[:, length_columns(design.even_names)])
    if lean:
        odd.append(design.lean_terms[0])
        even.append(design.lean_terms[1])
    empty = np.empty((len(design), 0))
    return np.hstack([empty, *odd]), np.hstack([empty, *even]), base


def member_owners(count: int) -> tuple[Floats, Floats]:
    """Which members each of `member_terms` is due to: (k, M) and (m, M), rows that sum to one."""
    one, everyone = np.eye(count), np.full((1, count), 1.0 / count)
    half = (one + everyone) / 2  # a product of one member's and the mean's
    if count > _MAX_RICH_MEMBERS:
        return np.repeat(everyone, 5, axis=0), np.repeat(everyone, 7, axis=0)
    odd, even = [one] * 3, [one] * 6
    if count <= _MAX_PAIRED_MEMBERS:
        for i in range(count):
            odd.append((one[i] + one) / 2)
            odd += [(one[[i]] + one[[j]]) / 2 for j in range(count) if j != i]
            even += [(one[[i]] + one[[j]]) / 2 for j in range(i)] * 2
    else:
        odd += [one, half, half, everyone]
        even += [everyone, everyone, half, everyone, everyone]
    return np.vstack(odd), np.vstack(even)


def term_owners(design: Design, terms: Terms, *, lean: bool) -> tuple[Floats, Floats]:
    """Whose each of `terms_of` is, (k, S) and (m, S): `parts.Parts` names the S columns. Rows sum to 1."""
    count, size = len(design.members), len(design.members) + design.n_features + 3
    k = design.odd.shape[1]
    own = np.eye(size)
    odd, even = [own[:count]], [own[:count]]
    if terms in ("features", "length"):
        odd, even = [], []
    if terms == "rich" and count:
        for found, owners in zip((odd, even), member_owners(count), strict=True):
            found.append(np.hstack([owners, np.zeros((len(owners), size - count))]))
    if terms in ("features", "all"):
        odd.append(own[count : count + k])
        even.append(own[count + k : -3])
    if terms == "length":
        odd.append(own[[count + place for place in length_columns(design.odd_names)]])
        even.append(own[[count + k + place for place in length_columns(design.even_names)]])
    if lean:
        for found, columns in zip((odd, even), design.lean_terms, strict=True):
            found.append(np.repeat(own[[-3]], columns.shape[1], axis=0))
    empty = np.empty((0, size))
    return np.vstack([empty, *odd]), np.vstack([empty, *even])


class LogisticState(FrozenState):
    """A saved `LogisticModel`."""

    terms: Terms
    lean: bool
    odd_scale: list[float]
    even_mean: list[float]
    even_scale: list[float]
    theta: list[list[float]] = Field(min_length=1)


@dataclass(frozen=True)
class LogisticModel:
    """A fitted stacker: V coefficient vectors, one a ridge, on scaled terms."""

    kind: ClassVar[str] = "logistic"

    terms: Terms
    lean: bool
    odd_scale: Floats
    even_mean: Floats
    even_scale: Floats
    theta: Floats
    """(V, k + m + 1): odd coefficients, even ones, and the intercept of tau."""

    def predict_path(self, design: Design) -> Floats:
        """(V, n, 2): delta and tau at each ridge."""
        odd, even, base = terms_of(design, self.terms, lean=self.lean)
        odd, even = scaled(odd, even, base, self.odd_scale, self.even_mean, self.even_scale)
        k = odd.shape[1]
        delta = odd @ self.theta[:, :k].T
        tau = even @ self.theta[:, k:-1].T + self.theta[:, -1]
        return np.stack([delta.T, tau.T], axis=2)

    def state(self) -> LogisticState:
        """All of it."""
        return LogisticState(
            terms=self.terms,
            lean=self.lean,
            odd_scale=self.odd_scale.tolist(),
            even_mean=self.even_mean.tolist(),
            even_scale=self.even_scale.tolist(),
            theta=self.theta.tolist(),
        )

    def texts(self) -> tuple[str, ...]:
        """None."""
        return ()

    @classmethod
    def of(cls, state: LogisticState) -> LogisticModel:
        """The stacker that wrote the state."""
        return cls(
            state.terms,
            state.lean,
            np.array(state.odd_scale, dtype=np.float64),
            np.array(state.even_mean, dtype=np.float64),
            np.array(state.even_scale, dtype=np.float64),
            np.array(state.theta, dtype=np.float64),
        )

    @classmethod
    def from_state(cls, values: Mapping[str, Any], texts: Sequence[str]) -> LogisticModel:
        """The stacker that wrote the values; it has no texts."""
        return cls.of(LogisticState.model_validate(values))


def scaled(
    odd: Floats, even: Floats, base: int, odd_scale: Floats, even_mean: Floats, even_scale: Floats
) -> tuple[Floats, Floats]:
    """Terms on a common scale. Odd ones are never centred: that would break the symmetry.

    Past the members' own, terms are clipped at ±5 standard deviations, so that one huge table in one
    test answer cannot carry the prediction away.
    """
    odd = odd / odd_scale
    even = (even - even_mean) / even_scale
    np.clip(odd[:, base:], -_FEATURE_CLIP, _FEATURE_CLIP, out=odd[:, base:])
    np.clip(even[:, base:], -_FEATURE_CLIP, _FEATURE_CLIP, out=even[:, base:])
    return odd, even


@dataclass(frozen=True)
class LogisticCandidate:
    """Unfitted stacker.

    Parameters
    ----------
    terms
        ``"plain"``: delta and tau of each member, shrunk toward the geometric pool; ``"rich"``: with
        products, saturations and disagreement; ``"features"``: features alone; ``"length"``: those of
        length alone; ``"all"``: members and features, at each ridge both with the members and without.
    ridges
        The path: strengths of the ridge, in rows, strongest first.
    lean
        With the terms of `Design.lean_terms`: what a member of one order adds to the response it saw first.
        Swapping the responses and who saw which of them first swaps the prediction.
    """

    name: str
    terms: Terms
    ridges: tuple[float, ...] = RIDGES
    predicts_tie_logit: bool = False
    tempered: bool = True
    lean: bool = False

    def fit(self, design: Design, y: Labels, seed: int) -> LogisticModel:
        """One Newton path over the ridges."""
        odd, even, base = terms_of(design, self.terms, lean=self.lean)
        odd_scale = np.sqrt((odd**2).mean(axis=0))
        even_mean, even_scale = even.mean(axis=0), even.std(axis=0)
        odd_scale[odd_scale < 1e-9] = 1.0
        even_scale[even_scale < 1e-9] = 1.0
        # Members keep their own scale and zero, so that the geometric pool is a point of this space.
        odd_scale[:base], even_scale[:base], even_mean[:base] = 1.0, 1.0, 0.0
        odd, even = scaled(odd, even, base, odd_scale, even_mean, even_scale)
        k, m = odd.shape[1], even.shape[1]
        centre = np.zeros(k + m + 1)
        if base:
            weights = geometric_weights(design.delta, design.tau, y, penalty=1e-6 / len(y))
            centre[:base], centre[k : k + base] = weights, weights
        problem = Problem(odd, np.hstack([even, np.ones((len(even), 1))]), y)
        # With weak members beside many features the members are better left out than let in.
        without = base > 0 and self.terms == "all"
        path = []
        for start, held in ((centre, False), (np.zeros(k + m + 1), True))[: 1 + without]:
            ridges = [self._penalty(ridge, base, k, m, design, held=held) for ridge in self.ridges]
            path += _path(problem, ridges, start)
        return LogisticModel(self.terms, self.lean, odd_scale, even_mean, even_scale, np.stack(path))

    def _penalty(self, ridge: float, base: int, k: int, m: int, design: Design, *, held: bool) -> Floats:
        """(k + m + 1,) strengths in rows; ``held`` fixes the members' own terms."""
        penalty = np.full(k + m + 1, ridge)
        if self.terms != "plain":
            # The members' own terms are held to the pool by far less than the extra terms to zero.
            penalty[:base] = penalty[k : k + base] = 1e9 if held else min(ridge, BASE_RIDGE)
        if self.lean:
            odd, even = (part.shape[1] for part in design.lean_terms)
            penalty[k - odd : k] = penalty[k + m - even : k + m] = LEAN_RIDGE
        penalty[-1] = 1e-3
        return penalty


def _path(problem: Problem, penalties: Sequence[Floats], centre: Floats) -> list[Floats]:
    """Coefficients at each ridge, in rows, each fit started from the last."""
    n, theta, path = len(problem.y), centre, []
    for penalty in penalties:
        theta = solve(problem, penalty=penalty / n, centre=centre, start=theta, tolerance=1e-8)
        path.append(theta)
    return path
