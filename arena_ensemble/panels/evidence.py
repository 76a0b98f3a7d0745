"""What a panel was fitted on, what each judge is worth alone, and the card that keeps it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ..artifacts.cards import EnsembleCard
from ..diagnostics.contribution import member_contributions
from ..diagnostics.reliability import reliability
from ..judgements import First, JudgeColumn, Judgements
from ..metrics import Labels, ScoreRow, log_loss, row_losses, standard_error
from ..predictions import Floats, Predictions
from ..stacking import Stacker
from ..stacking.score_table import ENSEMBLE_ROW

_DRAWN: Final = 8
"""judges whose calibration is drawn, the best ones"""


@dataclass(frozen=True)
class JudgeFacts:
    """One judge alone, on the pairs that have votes; losses in nats.

    ``log_loss``, ``se`` and ``accuracy`` are those of its encoder, out of fold; ``agreement`` is the share of
    its usable verdicts that are the vote (where no vote is a tie, a tie counts half), None where it gave
    none. ``flip_rate`` is the share of the ``both_orders`` pairs on which its verdicts of the two orders
    differ, None where there is no such pair.
    """

    name: str
    kind: str
    log_loss: float
    se: float
    accuracy: float
    agreement: float | None
    missing: float
    flip_rate: float | None
    both_orders: int
    cost: float | None = None


@dataclass(frozen=True, eq=False)
class Evidence:
    """The votes that a panel was fitted on, one a row; several rows where a pair has several annotators.

    Parameters
    ----------
    ids
        (n,) the pairs.
    rows
        (m,) the pair of each vote, ascending; every pair has at least one.
    votes, groups, folds
        (m,) outcome, group and fold of each vote.
    judges
        Judge → (m, 3) log-probabilities of its encoder, out of fold.
    """

    ids: pl.Series
    rows: npt.NDArray[np.int64]
    votes: Labels
    groups: npt.NDArray[np.int64]
    folds: npt.NDArray[np.int64]
    judges: Mapping[str, Floats]

    def facts(self, judgements: Judgements) -> list[JudgeFacts]:
        """What each judge is worth alone, the best first."""
        found = [
            self._one(name, judgements.columns[name], judgements.costs.get(name)) for name in self.judges
        ]
        return sorted(found, key=lambda one: one.log_loss)

    def _one(self, name: str, column: JudgeColumn, cost: float | None) -> JudgeFacts:
        losses = row_losses(self.judges[name], self.votes)
        verdicts = column.verdicts[self.rows]
        given = verdicts >= 0
        slots = column.slot_verdicts
        both = (slots[:, First.A] >= 0) & (slots[:, First.B] >= 0)
        right = np.where(verdicts == self.votes, 1.0, 0.0)
        if not (self.votes == 2).any():
            right = np.where(verdicts == 2, 0.5, right)
        flips = slots[both, First.A] != slots[both, First.B]
        return JudgeFacts(
            name=name,
            kind=column.kind,
            log_loss=float(losses.mean()),
            se=standard_error(losses, self.groups),
            accuracy=float((self.judges[name].argmax(axis=1) == self.votes).mean()),
            agreement=float(right[given].mean()) if given.any() else None,
            missing=float(column.missing.mean()),
            flip_rate=float(flips.mean()) if both.any() else None,
            both_orders=int(both.sum()),
            cost=cost,
        )

    def predictions(self, log_probs: Floats) -> Predictions:
        """Out-of-fold log-probabilities (n, 3) of the pairs, with their folds."""
        first = np.unique(self.rows, return_index=True)[1]
        return Predictions(self.ids, log_probs, self.folds[first])

    def card(
        self,
        stacker: Stacker,
        honest: Floats,
        table: list[ScoreRow],
        facts: list[JudgeFacts],
        *,
        ties: bool,
    ) -> EnsembleCard:
        """The panel's card, which a report of ensembles reads too; ``honest`` is (n, 3)."""
        own = honest[self.rows]
        drawn = {ENSEMBLE_ROW: own, **{one.name: self.judges[one.name] for one in facts[:_DRAWN]}}
        return EnsembleCard(
            key=None,
            members=list(self.judges),
            folds_verified=True,
            rows=len(self.ids),
            n_classes=3 if ties else 2,
            seed=int(stacker.random_state),
            choice=stacker.choice_,
            selection_frequency=stacker.selection_frequency_,
            temperature=float(stacker.temperature_),
            log_loss=log_loss(own, self.votes),
            seconds=0.0,
            contributions=member_contributions(
                {name: np.exp(one) for name, one in self.judges.items()}, self.votes, self.groups, self.folds
            ).as_dict(),
            suspicions=[],
            reliability={name: _bins(one, self.votes, self.groups) for name, one in drawn.items()},
            judges=[dataclasses.asdict(one) for one in facts],
        )


def _bins(log_probs: Floats, votes: Labels, groups: npt.NDArray[np.int64]) -> list[list[dict[str, Any]]]:
    return [[dataclasses.asdict(one) for one in bins] for bins in reliability(log_probs, votes, groups)]
