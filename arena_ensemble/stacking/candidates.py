"""Which candidates are worth their time for so many rows, members and features.

A new pool or model is one class, one line in a list below (and one in ``RESTORE`` where it has a model
class of its own), and a test.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from .base import MANY_ROWS, Candidate, Model
from .boosting import BoostedTrees, BoostingCandidate
from .count_table import CountTable, CountTableCandidate
from .design import Design
from .evidence_logistic import EvidenceLogistic, EvidenceModel
from .logistic import FEATURE_RIDGES, RIDGES, LogisticCandidate, LogisticModel, length_columns
from .pooling import (
    BestMember,
    GeometricMean,
    GeometricPool,
    GreedySelection,
    LinearPool,
    PooledModel,
    Prior,
    ShrunkPool,
)
from .selection import FEW_ROWS, Blend, CandidateSet

RESTORE: Final[Mapping[str, Callable[[Mapping[str, Any], Sequence[str]], Model]]] = {
    PooledModel.kind: PooledModel.from_state,
    LogisticModel.kind: LogisticModel.from_state,
    BoostedTrees.kind: BoostedTrees.from_state,
    EvidenceModel.kind: EvidenceModel.from_state,
    CountTable.kind: CountTable.from_state,
}
"""Kind in a saved stacker → what makes that model from its state and its texts."""

MIN_BOOSTING_ROWS: Final = 300
"""Below this many rows boosted trees are not tried: a leaf would hold a handful of votes."""

RAW_MEMBER: Final = "best member"
"""The candidate that fits nothing: it only says which member."""

LEAN: Final = " and lean"
"""Ends the names of candidates that let members of one order lean to the response they saw first."""

SHRINKAGES: Final = (1000.0, 100.0, 30.0, 10.0)
"""Strengths of the shrunk pools, in rows, which are tried where rows are few."""


def candidates_for(design: Design, *, trees: bool = True) -> CandidateSet:
    """Candidates from the simplest to the richest; without ``trees`` where they could learn nothing new."""
    linear, alone = _linear_candidates(design)
    leaning: dict[str, str] = {}
    if design.cells is not None:
        linear.append(CountTableCandidate())
    boosting: list[Candidate] = []
    blends: list[Blend] = []
    if trees and len(design) >= MIN_BOOSTING_ROWS:
        boosting, blends = _boosting_candidates(design)
    order = [candidate.name for candidate in linear if candidate.name not in alone]
    order += [blend.name for blend in blends]
    if design.one_order:
        linear_too, boosting_too = _leaning(linear), _leaning(boosting)
        own = {one.name for one in (*linear_too, *boosting_too)}
        blends_too = [
            dataclasses.replace(
                blend,
                name=blend.name + LEAN,
                parts=tuple(part + LEAN if part + LEAN in own else part for part in blend.parts),
            )
            for blend in blends
        ]
        named = own | {blend.name for blend in blends_too}
        # After all equivariant ones: they are the richer, and have to pay.
        leaning = {name + LEAN: name for name in order if name + LEAN in named}
        order += leaning
        linear, boosting, blends = linear + linear_too, boosting + boosting_too, blends + blends_too
    # The slowest last: they are started first, so that no thread waits for one of them at the end.
    return CandidateSet((*linear, *boosting), tuple(blends), tuple(order), frozenset({RAW_MEMBER}), leaning)


def for_judges(candidates: CandidateSet) -> CandidateSet:
    """The same for a panel: every judge is encoded, so that none is unfitted, and most trust by evidence.

    With features the candidates that see them are as likely to be the best as that one, which does not.
    """
    seen = any(isinstance(one, LogisticCandidate) and one.terms == "all" for one in candidates.candidates)
    favoured = frozenset() if seen else frozenset({EvidenceLogistic().name})
    return dataclasses.replace(candidates, unfitted=frozenset(), favoured=favoured)


def _leaning(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The same with a lean, of those that see members and may have one."""
    return [
        dataclasses.replace(one, name=one.name + LEAN, lean=True)
        for one in candidates
        if (isinstance(one, LogisticCandidate) and one.terms in ("plain", "rich", "all"))
        or (isinstance(one, BoostingCandidate) and one.members)
    ]


def _linear_candidates(design: Design) -> tuple[list[Candidate], set[str]]:
    """Pools and logistic models; and the names of those that are never chosen, but blended and compared."""
    members, features = len(design.members), design.n_features
    few = len(design) <= MANY_ROWS
    ridges, feature_ridges = (RIDGES, FEATURE_RIDGES) if few else (RIDGES[1::2], FEATURE_RIDGES[1::2])
    found: list[Candidate] = [Prior()]
    if members:
        found.append(BestMember(RAW_MEMBER, tempered=False))
        found.append(BestMember("best member, temperature", tempered=True))
    if members > 1:
        shrunk = SHRINKAGES if len(design) <= FEW_ROWS[1] else ()
        found += [GeometricMean(), *map(ShrunkPool, shrunk), *[EvidenceLogistic()] * bool(shrunk)]
        found += [GreedySelection(), LinearPool(), GeometricPool()]
    if members:
        found.append(LogisticCandidate("logistic", "plain", ridges))
        found.append(LogisticCandidate("rich logistic", "rich", ridges))
    if features:
        if length_columns(design.odd_names):
            found.append(LogisticCandidate("length only", "length", feature_ridges))
        found.append(LogisticCandidate("features only", "features", feature_ridges))
    if members and features:
        found.append(LogisticCandidate("logistic with features", "all", feature_ridges))
    return found, {"length only", "features only"} if members else set()


def _boosting_candidates(design: Design) -> tuple[list[Candidate], list[Blend]]:
    """Boosted trees, never chosen alone, and their blends: a blend varies less than the trees in it."""
    members, features = len(design.members), design.n_features
    found: list[Candidate] = []
    blends: list[Blend] = []
    if members:
        found.append(BoostingCandidate("trees", features=False))
        blends.append(Blend("mix", ("rich logistic", "trees"), learned=False))
    if features:
        found.append(BoostingCandidate("trees with features", features=True))
        linear = "logistic with features" if members else "features only"
        blends.append(Blend("mix with features", (linear, "trees with features"), learned=False))
    parts = tuple(part for blend in blends for part in blend.parts)
    if members and features:
        # Boosters that start from a strong member's logits leave little to the features; boosters
        # that never saw a member err elsewhere, which is what a blend needs.
        found.append(BoostingCandidate("trees on features", features=True, members=False))
        apart = ("logistic", "features only", "trees on features")
        blends.append(Blend("mix apart", apart, learned=True))
        parts = (*parts, "trees on features")
    blends.append(Blend("blend", parts, learned=True))
    return found, blends
