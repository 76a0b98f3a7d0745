"""Why a battle has these probabilities: the parts of delta and tau, position bias, length, neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ..artifacts.members import MemberArtifacts
from ..artifacts.workspace import ENSEMBLE, Workspace
from ..backbones import head_of
from ..battles import SWAP, Battles
from ..features import Features, extract
from ..predictions import Floats, Predictions, average_folds, delta_tau
from ..stacking.parts import Parts
from . import fold_models
from .combining import EnsemblePrediction, averaged, combine_folds
from .explanation import Chances, Explanation, FeaturePart, Kind, MemberPart, Part, Source, WordPart
from .fold_models import FoldModel, HeldMember
from .neighbours import VOTES, Neighbour, TrainingPrompts

if TYPE_CHECKING:
    from .ensemble import Ensemble

_MOST_WORDS: Final = 16
LENGTHS: Final = frozenset(
    (
        "chars",
        "words",
        "vocabulary",
        "first_turn",
        "last_turn",
        "least_turn",
        "own_words",
        "sentences",
        "lines",
    )
)
"""Measures of an answer that say how long it is; all others of an answer are its format."""


@dataclass(frozen=True)
class View:
    """One member's predictions of one battle, by each fold model."""

    shown: Sequence[Predictions]
    swapped: Sequence[Predictions] | None
    """of the battle with its answers exchanged; None where that was not predicted"""
    level: Sequence[Predictions] | None
    """at equal length and format; None where the model cannot tell"""
    equivariant: bool
    words: Mapping[str, float]
    """term → what it adds to the member's delta, the mean over fold models; empty where it is no such sum"""
    external: bool = False


def view_of(models: HeldMember | Iterable[FoldModel], battle: Battles) -> View:
    """A member's view of a new battle, each of its fold models asked three times."""
    swapped = battle.swapped()
    if isinstance(models, HeldMember):
        level = models.predict_level(battle)
        equivariant = models.models[0].swap_equivariant
        said = [model.word_parts(battle) for model in models.models]
        shown_held, other_held = models.predict(battle), models.predict(swapped)
        return View(shown_held, other_held, level or None, equivariant, _mean(said))
    shown, other, levels, said, equivariant = [], [], [], [], False
    for model in models:
        shown.append(model.predict(battle))
        other.append(model.predict(swapped))
        levels.append(model.predict_level(battle))
        said.append(model.word_parts(battle))
        equivariant = model.swap_equivariant
    known = [one for one in levels if one is not None]
    return View(shown, other, known or None, equivariant, _mean(said))


def in_both_orders(one: Predictions, *, external: bool = False) -> bool:
    """Whether a model predicted its one battle in both orders.

    Of a member trained here, a row outside the share of the second order holds the same twice; a judge of
    another tool that gives the same twice, as hard verdicts do, was asked in both.
    """
    if one.swap_log_probs is None:
        return False
    return external or not np.array_equal(one.log_probs, one.swap_log_probs)


def _mean(said: Sequence[Mapping[str, float] | None]) -> dict[str, float]:
    """Each term's mean over the fold models."""
    total: dict[str, float] = {}
    for one in said:
        for term, part in (one or {}).items():
            total[term] = total.get(term, 0.0) + part / len(said)
    return total


def oof_view(workspace: Workspace, name: str, battle: Battles, *, n_classes: int) -> View:
    """A member's out-of-fold prediction of a training battle; at equal length by that fold's model."""
    predictions, card = MemberArtifacts(workspace, name).load()
    mine = predictions.aligned_to(battle.ids, name=f"member {name!r}")
    mine = mine.without_ties() if n_classes == 2 else mine
    backbone, fold = None if card.is_external else card.backbone, int(mine.fold[0])
    reasons = reasons_of(workspace, name, backbone, battle, n_classes=n_classes, only_fold=fold)
    swapped = (
        [mine.swapped()] if reasons.equivariant or in_both_orders(mine, external=card.is_external) else None
    )
    return View([mine], swapped, reasons.level, reasons.equivariant, reasons.words, card.is_external)


@dataclass(frozen=True)
class Reasons:
    """What a member's fold models say of a battle beside its probabilities, as in `View`."""

    level: Sequence[Predictions] | None
    equivariant: bool
    words: Mapping[str, float]


def reasons_of(
    workspace: Workspace,
    name: str,
    backbone: str | None,
    battle: Battles,
    *,
    n_classes: int,
    only_fold: int | None = None,
    use_folds: tuple[int, ...] | None = None,
) -> Reasons:
    """What a member's models say, those that lie here; ``backbone`` None is another tool's.

    ``only_fold`` is one fold's model; ``use_folds`` are the models as `fold_models.load` takes them.

    A language model names no words and reads its texts as they are: to load one to hear that takes seconds.
    """
    if backbone is None:
        return Reasons(None, False, {})
    head, artifacts = head_of(backbone), MemberArtifacts(workspace, name)
    here = only_fold is None or artifacts.fold_folder(only_fold).is_dir()
    if head.needs_base or not here:
        return Reasons(None, head.swap_equivariant, {})
    level, said = [], []
    for model in fold_models.load(
        workspace, name, n_classes=n_classes, only_fold=only_fold, use_folds=use_folds
    ):
        said.append(model.word_parts(battle))
        if (one := model.predict_level(battle)) is not None:
            level.append(one)
    return Reasons(level or None, head.swap_equivariant, _mean(said))


def explain(
    ensemble: Ensemble,
    battle: Battles,
    views: Mapping[str, View],
    gammas: Mapping[str, float],
    *,
    source: Source,
    train: TrainingPrompts | None,
    neighbours: int,
) -> Explanation:
    """Explain the prediction of the one battle from its members' views of it."""
    features = extract(battle)

    def predicted(by_fold: Mapping[str, Sequence[Predictions]], seen: Features) -> EnsemblePrediction:
        return combine_folds(
            by_fold,
            lambda members: ensemble.stacker_log_probs(members, seen),
            n_classes=ensemble.card.n_classes,
            gammas=gammas,
        )

    shown = {name: view.shown for name, view in views.items()}
    prediction = predicted(shown, features)
    level = predicted({name: view.level or view.shown for name, view in views.items()}, features.level())
    exchanged = None
    swapped = {name: view.swapped for name, view in views.items() if view.swapped is not None}
    if len(swapped) == len(views):
        exchanged = _chances(predicted(swapped, features.swapped()).log_probs[:, list(SWAP)])
    members = averaged(shown, {name: prediction.gammas[name] for name in shown})
    parts = ensemble.stacker_parts(members, features)
    last = prediction.gammas.get(ENSEMBLE, 1.0)
    two = ensemble.card.n_classes == 2
    deltas, taus = last * parts.delta[0], (0.0 if two else last) * parts.tau[0]
    delta, tau = (float(one[0]) for one in delta_tau(prediction.log_probs))
    by_kind, found = _features(parts, deltas, taus)
    left = Part(delta - float(deltas[:-1].sum()), 0.0 if two else tau - float(taus[:-1].sum()))
    outcome = battle.frame["outcome"][0]
    return Explanation(
        id=battle.ids[0],
        source=source,
        chances=_chances(prediction.log_probs),
        delta=delta,
        tau=None if two else tau,
        members=[
            _member(name, views[name], float(deltas[place]), float(taus[place]))
            for place, name in enumerate(parts.members)
        ],
        features=found,
        length=by_kind["length"],
        format=by_kind["format"],
        prompt=by_kind["prompt"],
        order=Part(float(deltas[-3]), float(taus[-3])),
        constant=float(taus[-2]),
        rest=left,
        level=_chances(level.log_probs),
        exchanged=exchanged,
        choice=ensemble.stacker.selection_frequency_,
        gammas=dict(prediction.gammas),
        vote=None if outcome is None else VOTES[outcome],
        nearest=_nearest(train, battle, neighbours, leave_out=source == "out of fold"),
    )


def kind_of(feature: str) -> Kind:
    """Of which kind a feature is, by its name."""
    measure = feature.split(".", maxsplit=1)[0]
    if measure.startswith(("prompt_", "pair_")) and "." not in feature:
        return "prompt"
    return "length" if measure in LENGTHS else "format"


def _features(parts: Parts, deltas: Floats, taus: Floats) -> tuple[dict[Kind, Part], list[FeaturePart]]:
    """Sums by kind, and every feature that has a part."""
    first = len(parts.members)
    found = [
        FeaturePart(name, kind_of(name), float(deltas[first + place]), float(taus[first + place]))
        for place, name in enumerate(parts.features)
        if deltas[first + place] or taus[first + place]
    ]
    kinds: tuple[Kind, ...] = ("length", "format", "prompt")
    sums = {
        kind: Part(
            float(sum(one.delta for one in found if one.kind == kind)),
            float(sum(one.tau for one in found if one.kind == kind)),
        )
        for kind in kinds
    }
    return sums, sorted(found, key=lambda one: (-abs(one.delta), -abs(one.tau), one.name))


def _member(name: str, view: View, delta: float, tau: float) -> MemberPart:
    biases = [
        bias[0]
        for one in view.shown
        if in_both_orders(one, external=view.external) and (bias := one.position_bias()) is not None
    ]
    return MemberPart(
        name,
        delta,
        tau,
        _chances(average_folds(list(view.shown)).log_probs),
        0.0 if view.equivariant else float(np.mean(biases)) if biases else None,
        None if view.level is None else _chances(average_folds(list(view.level)).log_probs),
        [WordPart(*one) for one in sorted(view.words.items(), key=lambda one: -abs(one[1]))[:_MOST_WORDS]],
        view.external,
    )


def _nearest(
    train: TrainingPrompts | None, battle: Battles, count: int, *, leave_out: bool
) -> list[Neighbour]:
    return [] if train is None else train.nearest(battle, count, leave_out=leave_out)


def _chances(log_probs: Floats) -> Chances:
    return Chances(*np.exp(log_probs[0]).tolist())
