"""The table of counts: for every combination of answers of the judges, how often each outcome followed.

A few hard verdicts have few combinations, and interactions that no linear model holds. Each cell's counts are
smoothed toward what a logistic model says of the row (a Dirichlet prior of kappa rows), so that a cell that
was never seen falls back on it. Every row counts in its own cell and, exchanged, in the exchanged cell: the
table is swap-equivariant in the answers together with the order in which the judges saw them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveFloat
from scipy.special import gammaln

from ..metrics import Labels
from ..predictions import Floats, delta_tau, from_delta_tau
from .base import FrozenState
from .design import Cells, Design
from .logistic import LogisticCandidate, LogisticModel, LogisticState

KAPPAS: Final = (1e5, 3000.0, 1000.0, 500.0, 250.0, 120.0, 60.0, 30.0, 15.0)
"""Rows of the prior that are tried, strongest first."""


class CountTableState(FrozenState):
    """A saved `CountTable`."""

    base: LogisticState
    cells: list[list[int]]
    counts: list[Annotated[list[float], Field(min_length=3, max_length=3)]]
    kappa: PositiveFloat


@dataclass(frozen=True)
class CountTable:
    """Fitted counts; a path of one point."""

    kind: ClassVar[str] = "counts"

    base: LogisticModel
    cells: Cells
    """(m, J) the combinations that were seen"""
    counts: Floats
    """(m, 3)"""
    kappa: float

    def predict_path(self, design: Design) -> Floats:
        """(1, n, 2): delta and tau."""
        if design.cells is None:
            raise ValueError("a table of counts needs the judges' answers as categories")
        index = {tuple(cell): row for row, cell in enumerate(self.cells.tolist())}
        rows = np.array([index.get(tuple(cell), -1) for cell in design.cells.tolist()], dtype=np.int64)
        found = np.where(rows[:, None] >= 0, np.append(self.counts, np.zeros((1, 3)), axis=0)[rows], 0.0)
        delta, tau = self.base.predict_path(design)[-1].T
        prior = np.exp(from_delta_tau(delta, tau))
        smoothed = np.log(np.maximum(found + self.kappa * prior, 1e-15))
        return np.stack(delta_tau(smoothed), axis=1)[None]

    def state(self) -> CountTableState:
        """All of it."""
        return CountTableState(
            base=self.base.state(),
            cells=self.cells.tolist(),
            counts=self.counts.tolist(),
            kappa=self.kappa,
        )

    def texts(self) -> tuple[str, ...]:
        """None."""
        return ()

    @classmethod
    def from_state(cls, values: Mapping[str, Any], texts: Sequence[str]) -> CountTable:
        """The table that wrote the values; it has no texts."""
        state = CountTableState.model_validate(values)
        return cls(
            LogisticModel.of(state.base),
            np.array(state.cells, dtype=np.int64),
            np.array(state.counts, dtype=np.float64).reshape(-1, 3),
            state.kappa,
        )


@dataclass(frozen=True)
class CountTableCandidate:
    """Unfitted table of counts over `Design.cells`."""

    name: str = "table of counts"
    predicts_tie_logit: bool = False
    tempered: bool = False
    """counts are as sharp as the data; kappa is chosen by them"""

    def fit(self, design: Design, y: Labels, seed: int) -> CountTable:
        """Count, beside a logistic model to fall back on."""
        if design.cells is None or design.swapped_cells is None:
            raise ValueError("a table of counts needs the judges' answers as categories")
        base = LogisticCandidate("start", "plain", ridges=(10.0,)).fit(design, y, seed)
        shown = np.eye(3)[y]
        # A row that is its own exchange would otherwise count twice.
        own = (design.cells == design.swapped_cells).all(axis=1)
        weight = np.where(own, 0.5, 1.0)[:, None]
        both = np.vstack([design.cells, design.swapped_cells])
        cells, place = np.unique(both, axis=0, return_inverse=True)
        counts = np.zeros((len(cells), 3))
        np.add.at(counts, place.ravel(), np.vstack([shown * weight, shown[:, [1, 0, 2]] * weight]))
        delta, tau = base.predict_path(design)[-1].T
        prior = np.exp(from_delta_tau(delta, tau))
        means = np.zeros((len(cells), 3))
        np.add.at(means, place.ravel(), np.vstack([prior * weight, prior[:, [1, 0, 2]] * weight]))
        return CountTable(base, cells, counts, likeliest_kappa(counts, means))


def likeliest_kappa(counts: Floats, means: Floats) -> float:
    """The kappa of `KAPPAS` under which counts (m, 3) are likeliest; ``means`` are the base's.

    The likelihood of counts whose probabilities have a Dirichlet prior (Dirichlet-multinomial).
    """
    alpha = np.array(KAPPAS)[:, None, None] * np.maximum(means / means.sum(axis=1, keepdims=True), 1e-12)
    total, rows = alpha.sum(axis=2), counts.sum(axis=1)
    likelihood = (
        gammaln(total) - gammaln(total + rows) + (gammaln(alpha + counts) - gammaln(alpha)).sum(axis=2)
    )
    return float(KAPPAS[int(likelihood.sum(axis=1).argmax())])


def worth_a_table(cells: npt.NDArray[np.int64]) -> bool:
    """Whether combinations (n, J) repeat often enough to be counted: ten rows a cell on average."""
    return len(np.unique(cells, axis=0)) * 10 <= len(cells)
