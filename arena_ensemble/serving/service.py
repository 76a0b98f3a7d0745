"""The ensemble behind the server: requests as values in, probabilities and explanations out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..battles import Battles
from ..pipeline.ensemble import Ensemble
from ..pipeline.neighbours import TrainingPrompts
from .schema import BattleIn, MemberOut, Preference

MOST_EXPLAINED: Final = 8
"""Battles of one request that may be explained: one takes as long as several predictions."""


@dataclass(frozen=True)
class Service:
    """An ensemble with its fold models in memory, and the training prompts where neighbours are wanted."""

    ensemble: Ensemble
    train: TrainingPrompts | None = None

    def preferences(self, given: Sequence[BattleIn], *, explain: bool = False) -> list[Preference]:
        """Probabilities of the battles: those of ``Ensemble.predict_proba`` of the same battles, to the bit.

        Raises
        ------
        InputError
            An id repeats.
        """
        battles = as_battles(given)
        probs = self.ensemble.predict_proba(battles)
        explained = [
            self.ensemble.explain(battles.take([row]), train=self.train).to_dict() if explain else None
            for row in range(len(battles))
        ]
        return [
            Preference(
                id=number if one.id is None else one.id,
                a=float(row[0]),
                b=float(row[1]),
                tie=float(row[2]),
                explanation=why,
            )
            for number, (one, row, why) in enumerate(zip(given, probs, explained, strict=True), start=1)
        ]

    def members(self) -> list[MemberOut]:
        """The members and how many fold models each has."""
        held = self.ensemble.held or {}
        return [
            MemberOut(name=name, fold_models=len(held[name].models) if name in held else 0)
            for name in self.ensemble.members
        ]


def as_battles(given: Sequence[BattleIn]) -> Battles:
    """Battles with the ids of the request; where some are texts, all are."""
    ids = [number if one.id is None else one.id for number, one in enumerate(given, start=1)]
    whole = all(isinstance(name, int) for name in ids)
    return Battles.from_rows(
        [
            {
                "id": name if whole else str(name),
                "prompt": one.prompt,
                "response_a": one.response_a,
                "response_b": one.response_b,
            }
            for name, one in zip(ids, given, strict=True)
        ]
    )
