"""The LightGBM stacker: two small boosted models, one for ties and one for who wins.

The likelihood factors: P(outcome) = P(tie or not) * P(who | not a tie). The tie model sees only even
columns, so it is unchanged by a swap; the winner model is trained on both orders of every decided
row, and its predictions of the two orders are averaged with opposite signs. Both start from the pooled
members' logits (``init_score``), which LightGBM does not add when it predicts: it is added here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import lightgbm
import numpy as np
from pydantic import Field, NonNegativeInt

from ..metrics import Labels
from ..predictions import Floats
from .base import MANY_ROWS, FrozenState, PathIndex
from .design import Design
from .logistic import LogisticCandidate, LogisticModel, LogisticState

ROUNDS: Final = (0, 25, 50, 75, 100, 150, 200, 300)


@dataclass(frozen=True)
class BoostingParams:
    """What is passed to LightGBM; the defaults of `params_for_rows` keep the leaves few and large."""

    rounds: tuple[int, ...] = ROUNDS
    learning_rate: float = 0.05
    leaves: int = 8
    min_leaf: int = 50
    l2: float = 10.0
    columns: float = 0.5
    rows: float = 0.7
    bags: int = 1
    extra: bool = False
    bins: int = 63
    by_column: bool = False


def params_for_rows(n: int, *, features: bool) -> BoostingParams:
    """Settings by the number of training rows: fewer rows, more bags; more rows, larger leaves."""
    if features and n <= MANY_ROWS:
        # Measured on three files of votes: random thresholds and larger trees beat best thresholds.
        return BoostingParams(
            leaves=16,
            min_leaf=int(np.clip(n / 100, 10, 100)),
            columns=0.3,
            rows=1.0,
            bags=2,
            extra=True,
            by_column=True,
        )
    return BoostingParams(
        rounds=ROUNDS if n <= MANY_ROWS else ROUNDS[:-1],
        min_leaf=int(np.clip(n / 60, 10, 300)),
        columns=0.3 if features else 0.7,
        bags=1 if n > 5000 else 2,
        bins=63 if n <= MANY_ROWS else 127,
        by_column=features,
    )


class BoostingState(FrozenState):
    """A saved `BoostedTrees`, without its boosters."""

    base: LogisticState | None
    base_tie: float
    rounds: list[NonNegativeInt] = Field(min_length=1)
    bags: int = Field(ge=1)
    features: bool
    members: bool


@dataclass(frozen=True)
class BoostedTrees:
    """Fitted boosters, one of each sort a bag; the path goes over ``rounds``.

    They start from the logits of ``base``, or without members from the class frequencies: delta = 0 and
    the logit ``base_tie`` of a tie.
    """

    kind: ClassVar[str] = "trees"

    base: LogisticModel | None
    base_tie: float
    rounds: tuple[int, ...]
    tie_boosters: tuple[lightgbm.Booster, ...]
    winner_boosters: tuple[lightgbm.Booster, ...]
    features: bool
    members: bool = True

    def predict_path(self, design: Design) -> Floats:
        """(V, n, 2): delta and the logit of a tie after each number of rounds."""
        design = design if self.members else design.without_members()
        last = len(self.rounds) - 1
        winner, tie = self._winner_path(design, last), self._tie_path(design, last)
        start = np.stack(_start(self.base, self.base_tie, design), axis=1)
        return start + np.stack([winner, tie], axis=2)

    def predict_at(self, design: Design, index: PathIndex) -> Floats:
        """(n, 2): the columns of :meth:`predict_path` at an index, to the bit; later rounds are not run."""
        design = design if self.members else design.without_members()
        winner, tie = (min(place, len(self.rounds) - 1) for place in index)
        start = np.stack(_start(self.base, self.base_tie, design), axis=1)
        added = self._winner_path(design, winner)[-1], self._tie_path(design, tie)[-1]
        return np.asarray(start + np.stack(added, axis=1), dtype=np.float64)

    def _winner_path(self, design: Design, last: int) -> Floats:
        """(last + 1, n): what the boosters add to delta after each number of rounds."""
        count = 2 * len(self.winner_boosters)
        shown = other = np.empty((0, 0))
        if self.rounds[last] > 0:
            shown = winner_columns(design, features=self.features)
            other = winner_columns(design.swapped(), features=self.features)
        path, added = [], np.zeros(len(design))
        for span in _spans(self.rounds[: last + 1]):
            for booster in self.winner_boosters if span is not None else ():
                added = added + _raw(booster, shown, span) / count
                added = added - _raw(booster, other, span) / count
            path.append(added)
        return np.stack(path)

    def _tie_path(self, design: Design, last: int) -> Floats:
        """(last + 1, n): what the boosters add to the logit of a tie after each number of rounds."""
        columns = tie_columns(design, features=self.features) if self.rounds[last] > 0 else np.empty((0, 0))
        path, added = [], np.zeros(len(design))
        for span in _spans(self.rounds[: last + 1]):
            for booster in self.tie_boosters if span is not None else ():
                added = added + _raw(booster, columns, span) / len(self.tie_boosters)
            path.append(added)
        return np.stack(path)

    def state(self) -> BoostingState:
        """All but the boosters."""
        return BoostingState(
            base=None if self.base is None else self.base.state(),
            base_tie=self.base_tie,
            rounds=list(self.rounds),
            bags=len(self.tie_boosters),
            features=self.features,
            members=self.members,
        )

    def texts(self) -> tuple[str, ...]:
        """The boosters in LightGBM's format, those of ties first."""
        return tuple(booster.model_to_string() for booster in (*self.tie_boosters, *self.winner_boosters))

    @classmethod
    def from_state(cls, values: Mapping[str, Any], texts: Sequence[str]) -> BoostedTrees:
        """The model that wrote the state; the caller has checked the hashes of the texts.

        Raises
        ------
        ValueError
            The texts are not the binary models of as many bags.
        """
        state = BoostingState.model_validate(values)
        boosters = [lightgbm.Booster(model_str=text) for text in texts]
        if len(boosters) not in (state.bags, 2 * state.bags) or any(
            booster.num_model_per_iteration() != 1 for booster in boosters
        ):
            raise ValueError("the LightGBM texts are not the binary models that it wrote")
        return cls(
            None if state.base is None else LogisticModel.of(state.base),
            state.base_tie,
            tuple(state.rounds),
            tuple(boosters[: state.bags]),
            tuple(boosters[state.bags :]),
            state.features,
            state.members,
        )


def _spans(rounds: Sequence[int]) -> Iterator[dict[str, Any] | None]:
    """For each number of rounds, which iterations come after the one before; None for none."""
    previous = 0
    for stop in rounds:
        new = stop - previous
        yield {"raw_score": True, "start_iteration": previous, "num_iteration": new} if new > 0 else None
        previous = max(previous, stop)


def _raw(booster: lightgbm.Booster, columns: Floats, span: dict[str, Any] | None) -> Floats:
    # LightGBM keeps its number of threads in one global. A predict() without num_threads resets it under
    # a fit that runs on another Python thread with buffers for one: the process dies (SIGSEGV, seen).
    return np.asarray(booster.predict(columns, num_threads=1, **(span or {})), dtype=np.float64)


def tie_columns(design: Design, *, features: bool) -> Floats:
    """What the tie model sees: unchanged by a swap, to the last bit."""
    columns = [np.abs(design.delta), design.tau]
    if design.delta.shape[1] > 1:
        centre = design.delta.mean(axis=1, keepdims=True)
        columns += [np.abs(centre), np.abs(design.delta - centre).mean(axis=1, keepdims=True)]
        columns.append(design.tau.mean(axis=1, keepdims=True))
    if features:
        columns += [np.abs(design.odd), design.even]
    return np.hstack(columns)


def winner_columns(design: Design, *, features: bool) -> Floats:
    """What the winner model sees of one order."""
    columns = [design.delta, design.tau]
    if design.delta.shape[1] > 1:
        columns.append(design.delta.mean(axis=1, keepdims=True))
    if features:
        columns += [design.odd, design.even]
    return np.hstack(columns)


def _start(base: LogisticModel | None, base_tie: float, design: Design) -> tuple[Floats, Floats]:
    if base is None:
        return np.zeros(len(design)), np.full(len(design), base_tie)
    delta, tau = base.predict_path(design)[-1].T
    return delta, tau - np.logaddexp(delta / 2, -delta / 2)


@dataclass(frozen=True)
class BoostingCandidate:
    """Unfitted boosters on the members, with or without features.

    Parameters
    ----------
    features
        Whether the features are seen.
    members
        Whether the members are seen; without them the boosters start from the class frequencies.
    params
        None: `params_for_rows` of the training rows.
    lean
        Start from the logits of the logistic form with a lean, see `LogisticCandidate`; the boosters
        themselves stay equivariant.
    """

    name: str
    features: bool
    params: BoostingParams | None = None
    predicts_tie_logit: bool = True
    tempered: bool = True
    members: bool = True
    lean: bool = False

    def fit(self, design: Design, y: Labels, seed: int) -> BoostedTrees:
        """Two boosted models a bag."""
        design = design if self.members else design.without_members()
        used = self.params or params_for_rows(len(y), features=self.features)
        base = None
        if design.members:
            start = LogisticCandidate("start", "plain", ridges=(10.0,), lean=self.lean)
            base = start.fit(design, y, seed)
        base_tie = float(np.log(((y == 2).sum() + 1.0) / ((y != 2).sum() + 2.0)))
        delta, tie = _start(base, base_tie, design)
        decided = np.flatnonzero(y != 2)
        kept = design.take(decided)
        both = np.vstack(
            [
                winner_columns(kept, features=self.features),
                winner_columns(kept.swapped(), features=self.features),
            ]
        )
        won = np.concatenate([y[decided] == 0, y[decided] == 1]).astype(np.float64)
        winner_start = np.concatenate([delta[decided], -delta[decided]])
        for_ties = tie_columns(design, features=self.features)
        tied = (y == 2).astype(np.float64)
        seeds = [(seed * 1000 + bag) % (2**31 - 1) for bag in range(used.bags)]
        return BoostedTrees(
            base,
            base_tie,
            used.rounds,
            _boost(for_ties, tied, tie, used, seeds, used.min_leaf),
            # Where every vote is a tie there is no winner to learn.
            _boost(both, won, winner_start, used, seeds, 2 * used.min_leaf) if decided.any() else (),
            self.features,
            self.members,
        )


def _boost(
    columns: Floats, label: Floats, start: Floats, used: BoostingParams, seeds: list[int], min_leaf: int
) -> tuple[lightgbm.Booster, ...]:
    """One booster a seed, all on the same binned columns."""
    shared: dict[str, Any] = {
        "objective": "binary",
        "boost_from_average": False,
        "learning_rate": used.learning_rate,
        "num_leaves": used.leaves,
        "min_data_in_leaf": min_leaf,
        "lambda_l2": used.l2,
        "feature_fraction": used.columns,
        "bagging_fraction": used.rows,
        "bagging_freq": 1 if used.rows < 1 else 0,
        "extra_trees": used.extra,
        "max_bin": used.bins,
        "deterministic": True,
        # Either way is repeatable; by columns is twice as fast where only some columns are drawn.
        "force_col_wise" if used.by_column else "force_row_wise": True,
        "feature_pre_filter": False,
        # One thread a fit, so that results do not depend on how many run side by side.
        "num_threads": 1,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(columns, label=label, init_score=start, free_raw_data=True, params=shared)
    return tuple(
        lightgbm.train({**shared, "seed": seed}, data, num_boost_round=max(used.rounds)) for seed in seeds
    )
