"""Hard verdicts → (delta, tau): a smoothed confusion table, one for what is known of the order.

Three tables lean on each other, each smoothed toward the one before by a number of rows (Dirichlet) that the
data choose by their marginal likelihood: (1) verdicts as such, where exchanging the answers exchanges the
outcome; (2) verdicts *relative to what was seen first*, for judges that lean to a side; (3) pairs of verdicts
of both orders, exact under exchange again. Nothing is assumed of a verdict's direction: a judge that is wrong
more often than right is read the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from pydantic import Field
from scipy.special import gammaln

from ..calibration.davidson import Problem, solve
from ..judgements import Verdicts
from ..metrics import Labels
from ..predictions import Floats, delta_tau
from ..stacking.base import FrozenState

SWAP: Final = [1, 0, 2]
_KAPPAS: Final = np.array([4.0, 16.0, 64.0, 256.0, 4096.0])
_FIRST_KAPPA: Final = 4.0
_MISSING_KAPPA: Final = 16.0
_RIDGE: Final = 5.0


class VerdictState(FrozenState):
    """A saved `VerdictTable`."""

    alone: list[list[float]] = Field(min_length=3, max_length=3)
    ordered: list[list[float]] = Field(min_length=3, max_length=3)
    both: list[list[float]] = Field(min_length=9, max_length=9)
    missing_tau: float
    refined: list[float] | None


@dataclass(frozen=True)
class VerdictTable:
    """Fitted tables; rows are verdicts (A, B, tie), columns delta and tau."""

    kind: ClassVar[str] = "verdicts"

    alone: Floats
    """(3, 2) where the order is unknown"""
    ordered: Floats
    """(3, 2) as if answer A was seen first"""
    both: Floats
    """(9, 2) verdict with A first * 3 + verdict with B first"""
    missing_tau: float
    refined: Floats | None = None
    """(5,) with samples: delta, delta x agreement; tau, spread, 1"""

    def encode(self, column: Verdicts) -> tuple[Floats, Floats]:
        """Delta and tau, each (n,); a row without verdict has delta 0 and the tau of such rows."""
        delta, tau, spread, known = self._plain(column)
        if self.refined is not None:
            odd, even = _refinement(delta, tau, spread)
            delta, tau = odd @ self.refined[:2], even @ self.refined[2:]
        return np.where(known, delta, 0.0), np.where(known, tau, self.missing_tau)

    def _plain(self, column: Verdicts) -> tuple[Floats, Floats, Floats, Any]:
        shares, present = np.nan_to_num(column.shares), column.present
        a, b, other = present.T.astype(np.float64)
        first, second, alone = shares[:, 0], shares[:, 1], shares[:, 2]
        pair = (first[:, :, None] * second[:, None, :]).reshape(-1, 9) @ self.both
        # A judge that saw B first sees the exchanged battle: exchange, read the table, exchange back.
        back = second[:, SWAP] @ self.ordered * np.array([-1.0, 1.0])
        single = first @ self.ordered * (1 - b)[:, None] + back * (1 - a)[:, None]
        known = np.maximum(np.maximum(a, b), other)
        weight = np.maximum(a, b) + other
        total = pair + single + alone @ self.alone
        values = total / np.maximum(weight, 1.0)[:, None]
        sizes = present.sum(axis=1)
        purity = (shares**2).sum(axis=(1, 2)) / np.maximum(sizes, 1)
        return values[:, 0], values[:, 1], np.where(sizes > 0, 1 - purity, 0.0), known > 0

    def state(self) -> VerdictState:
        """All of it."""
        return VerdictState(
            alone=self.alone.tolist(),
            ordered=self.ordered.tolist(),
            both=self.both.tolist(),
            missing_tau=self.missing_tau,
            refined=None if self.refined is None else self.refined.tolist(),
        )

    @classmethod
    def from_state(cls, values: Mapping[str, Any]) -> VerdictTable:
        """The tables that wrote the values."""
        state = VerdictState.model_validate(values)
        return cls(
            np.array(state.alone).reshape(3, 2),
            np.array(state.ordered).reshape(3, 2),
            np.array(state.both).reshape(9, 2),
            state.missing_tau,
            None if state.refined is None else np.array(state.refined),
        )


def fit_verdicts(column: Verdicts, y: Labels, prior: Floats) -> VerdictTable:
    """Fit on labelled rows.

    Parameters
    ----------
    y
        (n,) outcomes in {0, 1, 2}.
    prior
        (3,) how common the outcomes are, A and B alike.
    """
    shares, shown = np.nan_to_num(column.shares), np.eye(3)[y]
    # (3, 3) verdict by outcome, as if A was seen first
    relative = shares[:, 0].T @ shown + (shares[:, 1].T @ shown)[SWAP][:, SWAP]
    unknown = shares[:, 2].T @ shown
    pooled = relative + unknown
    pooled = pooled + pooled[SWAP][:, SWAP]
    # The row of ties counted twice: it is its own exchange.
    pooled[2] /= 2
    alone = _smoothed(pooled, np.tile(prior, (3, 1)), _FIRST_KAPPA)
    ordered = _learned(relative, alone)
    two = np.einsum("nu,nv,ny->uvy", shares[:, 0], shares[:, 1], shown).reshape(9, 3)
    exchanged = [3 * SWAP[v] + SWAP[u] for u in range(3) for v in range(3)]
    two = two + two[exchanged][:, SWAP]
    own = [place for place in range(9) if exchanged[place] == place]
    two[own] /= 2
    log_ordered = np.log(ordered)
    mean = (log_ordered[:, None] + log_ordered[SWAP][:, SWAP][None]) / 2
    mean = np.exp(mean).reshape(9, 3)
    both = _learned(two, mean / mean.sum(axis=1, keepdims=True))
    lost = column.missing
    ties = float((y[lost] == 2).sum()) + _MISSING_KAPPA * prior[2]
    decided = float((y[lost] != 2).sum()) + _MISSING_KAPPA * (1 - prior[2])
    plain = VerdictTable(
        _columns(alone), _columns(ordered), _columns(both), float(np.log(ties / (decided / 2)))
    )
    if column.counts.sum(axis=2).max(initial=0) <= 1:
        return plain
    delta, tau, spread, known = plain._plain(column)
    odd, even = _refinement(delta[known], tau[known], spread[known])
    refined = solve(
        Problem(odd, even, y[known]),
        penalty=_RIDGE / max(len(y), 1),
        centre=np.array([1.0, 0.0, 1.0, 0.0, 0.0]),
        tolerance=1e-8,
    )
    return VerdictTable(plain.alone, plain.ordered, plain.both, plain.missing_tau, refined)


def _refinement(delta: Floats, tau: Floats, spread: Floats) -> tuple[Floats, Floats]:
    odd = np.stack([delta, delta * (1 - spread)], axis=1)
    return odd, np.stack([tau, spread, np.ones(len(tau))], axis=1)


def _smoothed(counts: Floats, base: Floats, kappa: float) -> Floats:
    """(m, 3) distributions: counts with ``kappa`` rows of the base."""
    total = counts + kappa * base
    return np.asarray(total / total.sum(axis=1, keepdims=True), dtype=np.float64)


def _learned(counts: Floats, base: Floats) -> Floats:
    """Counts smoothed toward a base by the kappa under which they are likeliest (Dirichlet-multinomial)."""
    alpha = _KAPPAS[:, None, None] * base
    total, rows = alpha.sum(axis=2), counts.sum(axis=1)
    likelihood = (
        gammaln(total) - gammaln(total + rows) + (gammaln(alpha + counts) - gammaln(alpha)).sum(axis=2)
    )
    return _smoothed(counts, base, float(_KAPPAS[int(likelihood.sum(axis=1).argmax())]))


def _columns(table: Floats) -> Floats:
    """(m, 2) delta and tau of distributions (m, 3)."""
    return np.stack(delta_tau(np.log(table)), axis=1)
