"""Judgements as members: each judge's encoder is fitted without the rows that it encodes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np

from ..features import Features
from ..judgements import JudgeColumn, Verdicts
from ..metrics import Labels
from ..predictions import Floats
from ..stacking.base import FrozenState
from ..stacking.count_table import worth_a_table
from ..stacking.design import Cells, Design
from .margins import ProbabilityModel, ScoreModel, fit_margin
from .verdict_table import VerdictTable, fit_verdicts

NO_TIES: Final = 1e-9
"""P(tie) of the prior where no vote is a tie"""


class Encoder(Protocol):
    """A judge's column → delta and tau."""

    @property
    def kind(self) -> str:
        """The kind of column that it encodes."""
        ...

    def encode(self, column: Any) -> tuple[Floats, Floats]:
        """Delta and tau, each (n,)."""
        ...

    def state(self) -> FrozenState:
        """The numbers that make the same encoder again."""
        ...


RESTORE: Final[Mapping[str, Callable[[Mapping[str, Any]], Encoder]]] = {
    VerdictTable.kind: VerdictTable.from_state,
    ScoreModel.kind: ScoreModel.from_state,
    ProbabilityModel.kind: ProbabilityModel.from_state,
}
"""Kind of column → what makes its encoder from a saved state."""

Encoders = dict[str, Encoder]
Columns = Mapping[str, JudgeColumn]


def fit_encoder(column: JudgeColumn, y: Labels) -> Encoder:
    """The encoder of one judge, from labelled rows."""
    tie = (float((y == 2).sum()) + 1.0) / (len(y) + 3.0) if (y == 2).any() else NO_TIES
    prior = np.array([(1 - tie) / 2, (1 - tie) / 2, tie])
    if isinstance(column, Verdicts):
        return fit_verdicts(column, y, prior)
    return fit_margin(column, y, prior)


def cells_of(columns: Columns) -> Cells:
    """(n, J) what each judge answered as one number, judges in order of name: its verdict in each slot."""
    codes = [
        (columns[name].slot_verdicts.astype(np.int64) + 1) @ np.array([1, 4, 16]) for name in sorted(columns)
    ]
    return np.stack(codes, axis=1)


def taken(columns: Columns, rows: Cells) -> dict[str, JudgeColumn]:
    """The given rows of every column; a row may be taken more than once."""
    return {name: column.take(rows) for name, column in columns.items()}


@dataclass(frozen=True, eq=False)
class EncodedPanel:
    """Labelled judgements as a `stacking.design.DesignSource`.

    Rows to fit on are encoded fold by fold, each by encoders that saw neither that fold nor those left out:
    a stacker that learned from encodings of the encoders' own rows would trust them too much. Rows to predict
    are encoded by what all rows to fit on teach.
    """

    columns: Columns
    y: Labels
    features: Features | None = None
    _fitted: dict[Any, Encoders] = field(default_factory=dict, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def encoders(self, folds: Cells, out: frozenset[int]) -> Encoders:
        """Judge → its encoder, fitted without the folds ``out``; each set is fitted once."""
        key = (folds.tobytes(), out)
        with self._lock:
            if key not in self._fitted:
                rows = np.flatnonzero(~np.isin(folds, list(out)))
                self._fitted[key] = {
                    name: fit_encoder(column.take(rows), self.y[rows])
                    for name, column in self.columns.items()
                }
            return self._fitted[key]

    def design(self, encoders: Encoders, rows: Cells) -> Design:
        """The given rows by the given encoders."""
        features = None if self.features is None else self.features.take(rows)
        return encoded_design(taken(self.columns, rows), encoders, features, cells=self.table)

    @property
    def table(self) -> bool:
        """Whether combinations of verdicts repeat often enough for a table of counts."""
        return worth_a_table(cells_of(self.columns))

    @property
    def hard(self) -> bool:
        """Whether verdicts without samples are all there is: the cells of a table then say everything."""
        return all(
            isinstance(column, Verdicts) and column.counts.sum(axis=2).max(initial=0) <= 1
            for column in self.columns.values()
        )

    def without(self, judge: str) -> EncodedPanel:
        """The same votes without a judge; encoders that were fitted already are kept."""
        with self._lock:
            fitted = {
                key: {name: one for name, one in encoders.items() if name != judge}
                for key, encoders in self._fitted.items()
            }
        columns = {name: column for name, column in self.columns.items() if name != judge}
        return EncodedPanel(columns, self.y, self.features, fitted)

    def _joined(self, folds: Cells, by: Mapping[int, Encoders]) -> Design:
        """Each fold's rows by its own encoders, in row order."""
        kept = np.flatnonzero(np.isin(folds, list(by)))
        parts = {fold: np.flatnonzero(folds == fold) for fold in by}
        order = np.argsort(np.concatenate([parts[fold] for fold in by]), kind="stable")
        designs = [self.design(encoders, parts[fold]) for fold, encoders in by.items()]
        delta, tau = (
            np.concatenate([getattr(one, name) for one in designs])[order] for name in ("delta", "tau")
        )
        whole = self.design(next(iter(by.values())), kept)
        return Design(
            delta,
            tau,
            whole.odd,
            whole.even,
            whole.members,
            whole.odd_names,
            whole.even_names,
            whole.cells,
            whole.swapped_cells,
        )

    def leaving_out(self, folds: Cells, out: tuple[int, ...]) -> Design:
        """The rows of the other folds, each encoded without its own fold."""
        kept = [int(fold) for fold in np.unique(folds) if fold not in out]
        return self._joined(folds, {fold: self.encoders(folds, frozenset({*out, fold})) for fold in kept})

    def held_out(self, folds: Cells, out: tuple[int, ...], fold: int) -> Design:
        """The rows of a fold that was left out."""
        return self.design(self.encoders(folds, frozenset(out)), np.flatnonzero(folds == fold))

    def out_of_fold(self, folds: Cells) -> Design:
        """All rows, each encoded without its own fold."""
        return self.leaving_out(folds, ())


def encoded_design(columns: Columns, encoders: Encoders, features: Features | None, *, cells: bool) -> Design:
    """Judges' columns and features as a `Design`, judges in order of name."""
    names = tuple(sorted(encoders))
    pairs = [encoders[name].encode(columns[name]) for name in names]
    empty = np.empty((len(pairs[0][0]), 0))
    return Design(
        np.stack([delta for delta, _ in pairs], axis=1),
        np.stack([tau for _, tau in pairs], axis=1),
        empty if features is None else features.odd,
        empty if features is None else features.even,
        names,
        () if features is None else tuple(features.odd_names),
        () if features is None else tuple(features.even_names),
        cells_of(columns) if cells else None,
        cells_of({name: column.swapped() for name, column in columns.items()}) if cells else None,
    )
