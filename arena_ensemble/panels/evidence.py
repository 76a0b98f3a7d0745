"""What a panel was fitted on, what each judge is worth alone, and the card that keeps it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ..artifacts.cards import EnsembleCard
from ..diagnostics.contribution import member_contributions
from ..diagnostics.reliability import reliability
from ..features import Features
from ..judgements import Judgements
from ..metrics import Labels, ScoreRow, log_loss
from ..predictions import Floats, Predictions
from ..stacking import Stacker
from ..stacking.score_table import ENSEMBLE_ROW
from .annotators import LEAST_ANNOTATORS
from .judge_facts import LEVEL, JudgeFacts, facts_of, replacement_of
from .judge_statistics import agreement
from .refits import Refits

_DRAWN: Final = 8
"""judges whose calibration is drawn, the best ones"""


@dataclass(frozen=True, eq=False)
class Evidence:
    """The votes that a panel was fitted on, one a row; several rows where a pair has several annotators.

    Parameters
    ----------
    judgements
        n pairs.
    ids
        (k,) those with a vote.
    rows
        (m,) the pair of each vote, ascending.
    votes, groups, folds
        (m,) outcome, group and fold of each vote.
    judges
        Judge → (m, 3) log-probabilities of its encoder, out of fold.
    features
        Of the n pairs, where the panel has them.
    refits
        What the panel is fitted again from, to tell what each judge adds; None where its score is not honest.
    annotations, annotators
        (n, K) codes of K people, -1 where one did not vote, and their names; None where they are not known.
    """

    judgements: Judgements
    ids: pl.Series
    rows: npt.NDArray[np.int64]
    votes: Labels
    groups: npt.NDArray[np.int64]
    folds: npt.NDArray[np.int64]
    judges: Mapping[str, Floats]
    features: Features | None = None
    refits: Refits | None = None
    annotations: npt.NDArray[Any] | None = None
    annotators: tuple[str, ...] = ()

    def with_annotations(self, annotations: npt.NDArray[Any], annotators: tuple[str, ...]) -> Evidence:
        """The same with the votes (n, K) of K named people, where there are enough for a test of them."""
        if len(annotators) < LEAST_ANNOTATORS:
            return self
        return dataclasses.replace(self, annotations=annotations, annotators=annotators)

    @cached_property
    def contributions(self) -> dict[str, Any]:
        """What each encoded judge adds to a pool, and what they have in common, as the card keeps it."""
        return member_contributions(
            {name: np.exp(one) for name, one in self.judges.items()}, self.votes, self.groups, self.folds
        ).as_dict()

    @cached_property
    def adds(self) -> tuple[str | None, dict[str, tuple[float, float]] | None]:
        """To what each judge adds, ``panel`` or ``pool``; and judge → how much, and its standard error."""
        if len(self.judges) < 2:
            return None, None
        if self.refits is not None and self.refits.cheap:
            return "panel", self.refits.adds()
        return "pool", {
            one["name"]: (one["leave_one_out_gain"], one["leave_one_out_gain_se"])
            for one in self.contributions["members"]
        }

    def facts(self) -> list[JudgeFacts]:
        """What is known of each judge, the best first."""
        by, adds = self.adds
        found = facts_of(
            self.judgements,
            self.judges,
            self.rows,
            self.votes,
            self.groups,
            features=self.features,
            adds=adds,
            adds_to=by,
        )
        if self.annotations is None:
            return found
        tests = replacement_of(self.judgements, self.annotations, self.annotators)
        return [dataclasses.replace(one, replacement=tests[one.name]) for one in found]

    @property
    def as_json(self) -> dict[str, Any]:
        """What ``judges.json`` holds, beside the facts of each judge."""
        kept = np.unique(self.rows)
        shares = agreement(self.judgements.take(kept))
        return {
            "format": 1,
            "pairs": len(kept),
            "level": LEVEL,
            "annotators": list(self.annotators),
            "agreement": {
                "judges": list(self.judgements.judges),
                "same_verdict": [[None if np.isnan(x) else float(x) for x in row] for row in shares],
            },
        }

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
        own = honest[np.unique(self.rows, return_inverse=True)[1]]
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
            contributions=self.contributions,
            suspicions=[],
            reliability={name: _bins(one, self.votes, self.groups) for name, one in drawn.items()},
            judges=[dataclasses.asdict(one) for one in facts],
        )


def _bins(log_probs: Floats, votes: Labels, groups: npt.NDArray[np.int64]) -> list[list[dict[str, Any]]]:
    return [[dataclasses.asdict(one) for one in bins] for bins in reliability(log_probs, votes, groups)]
