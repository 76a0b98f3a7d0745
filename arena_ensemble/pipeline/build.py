"""Build the ensemble: fit the stacker on the members' out-of-fold predictions, or load what is there."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import metrics
from ..artifacts import cards
from ..artifacts.cards import EnsembleCard, EnsembleKey, MemberCard
from ..artifacts.members import OOF, MemberArtifacts
from ..artifacts.workspace import ENSEMBLE, Workspace
from ..backbones import head_of
from ..battles import Battles
from ..diagnostics.contribution import member_contributions
from ..diagnostics.label_leakage import leakage_suspicions
from ..diagnostics.reliability import reliability
from ..errors import VersionError
from ..folds import Folds
from ..metrics import ScoreRow
from ..predictions import Floats, Predictions
from ..stacking import STACKER_FORMAT, Stacker
from ..stacking.row_folds import fold_codes
from ..stacking.sampling import FITTED_ROWS, whole_groups
from ..stacking.score_table import TEMPERED, tempered_out_of_fold
from .ensemble import FALLBACK, Ensemble, restore, write_folder
from .executors import Event
from .fallback import fit_fallback
from .guards import check_members
from .recording import StackingRecorder
from .tasks import versions
from .text_pass import features_of

log = logging.getLogger(__name__)


def build(
    workspace: Workspace,
    battles: Battles,
    folds: Folds,
    members: Sequence[str],
    *,
    seed: int = 0,
    truth: Floats | None = None,
    n_classes: int = 3,
    on_event: Event | None = None,
) -> Ensemble:
    """Fit the stacker on the members' OOF predictions and the features, or load it if nothing changed.

    Parameters
    ----------
    members
        Names of finished members.
    truth
        True log-probabilities (n, 3) of the battles where they are known (sample arena): only the
        table's ``gap_closed`` uses them.
    n_classes
        2 where no tie can be voted: P(tie) is then absent from members and ensemble.
    on_event
        Hears how far the stacking is, under the label `STACKING`.

    Raises
    ------
    InputError
        A member is not finished or lacks rows.
    StaleError
        A member was made with another fold file.
    """
    loaded = _load_members(workspace, battles, folds, members, n_classes=n_classes)
    key = _key(loaded, battles, folds, seed=seed, truth=truth is not None, n_classes=n_classes)
    kept = _kept(workspace, key)
    if kept is not None:
        return kept
    start = time.monotonic()
    y = battles.outcomes()
    found = check_members(loaded.oof, y, groups=folds.group, folds=folds.fold, external=loaded.external)
    log.info("stacking %d members on %d battles", len(members), len(battles))
    with StackingRecorder(workspace, on_event) as recorder:
        stacker = Stacker(random_state=seed).fit(
            loaded.oof,
            y,
            features=features_of(battles, workspace.cache),
            groups=folds.group,
            folds=folds.fold,
            bayes_log_probs=truth,
            one_order=loaded.one_order,
            on_progress=recorder,
        )
        honest = Predictions(battles.ids, stacker.oof_log_proba_, folds.fold)
        new = ensemble_card(
            stacker, honest, loaded.oof, y, folds.group, folds.fold, loaded.hours, n_classes=n_classes
        )
        new = new.model_copy(
            update={
                "key": key,
                "folds_verified": not loaded.external,
                "alarms": found.alarms,
                "notes": found.notes,
                "seed": seed,
                "seconds": round(time.monotonic() - start, 3),
            }
        )
        table = table_with_floor(stacker, truth, y)
        honest = honest.without_ties() if n_classes == 2 else honest
        fallback = fit_fallback(loaded.oof, y, n_classes=n_classes)
        new = write_folder(workspace.oof / ENSEMBLE, honest, stacker, table, new, fallback)
        recorder.ended(choice=new.choice, loss=new.log_loss, seconds=new.seconds)
    return Ensemble(stacker, table, new, workspace, fallback)


def is_stacked(
    workspace: Workspace,
    battles: Battles,
    folds: Folds,
    members: Sequence[str],
    *,
    seed: int = 0,
    truth: bool = False,
    n_classes: int = 3,
) -> bool:
    """Whether `build` would find its ensemble on disk; ``truth`` is whether the true probabilities are given.

    Raises
    ------
    InputError, StaleError
        As `build`.
    """
    loaded = _load_members(workspace, battles, folds, members, n_classes=n_classes)
    key = _key(loaded, battles, folds, seed=seed, truth=truth, n_classes=n_classes)
    return _kept_card(workspace, key) is not None


def _key(
    loaded: _Loaded, battles: Battles, folds: Folds, *, seed: int, truth: bool, n_classes: int
) -> EnsembleKey:
    """What the ensemble of these members is made from."""
    return EnsembleKey(
        data=battles.digest(),
        folds=folds.digest,
        members=loaded.hashes,
        seed=seed,
        truth=truth,
        n_classes=n_classes,
        versions=versions(),
        stacker_format=STACKER_FORMAT,
        one_order=[name for name in loaded.external if name in loaded.one_order],
    )


@dataclass(frozen=True)
class _Loaded:
    """Finished members: predictions in the battles' order, hash of each table, hours of training."""

    oof: dict[str, Predictions] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    hours: dict[str, float] = field(default_factory=dict)
    external: list[str] = field(default_factory=list)
    one_order: list[str] = field(default_factory=list)
    """see `saw_one_order`"""


def _load_members(
    workspace: Workspace, battles: Battles, folds: Folds, members: Sequence[str], *, n_classes: int
) -> _Loaded:
    loaded = _Loaded()
    for name in members:
        artifacts = MemberArtifacts(workspace, name)
        predictions, card = artifacts.load()
        if card.folds_verified and (card.key is None or card.key.folds != folds.digest):
            raise cards.stale(artifacts.predictions, ["fold file"], f"make it anew with --retrain {name}")
        aligned = predictions.aligned_to(battles.ids, name=f"member {name!r}")
        loaded.oof[name] = aligned.without_ties() if n_classes == 2 else aligned
        loaded.hashes[name] = card.files[OOF]
        if card.is_external:
            loaded.external.append(name)
        if saw_one_order(card, aligned):
            loaded.one_order.append(name)
        if card.seconds:
            loaded.hours[name] = card.seconds / 3600
    return loaded


def saw_one_order(card: MemberCard, predictions: Predictions) -> bool:
    """Whether a member may lean to the response shown first, as far as its card knows.

    It was trained here, its head is not equivariant by construction, and it predicted the shown order only.
    Of an external member nothing is known but what was said at its import; else it counts as one of both
    orders.
    """
    if card.is_external:
        return card.one_order and predictions.swap_log_probs is None
    if predictions.swap_log_probs is not None:
        return False
    return not head_of(card.backbone).swap_equivariant


def _kept(workspace: Workspace, key: EnsembleKey) -> Ensemble | None:
    """The ensemble on disk, if it was made from exactly this."""
    card = _kept_card(workspace, key)
    if card is None:
        return None
    return dataclasses.replace(restore(workspace.oof / ENSEMBLE, card), workspace=workspace)


def _kept_card(workspace: Workspace, key: EnsembleKey) -> EnsembleCard | None:
    """The card of the ensemble on disk, if it was made from exactly this."""
    try:
        card = cards.read_card(workspace.oof / ENSEMBLE, EnsembleCard)
    except VersionError:
        return None  # it costs seconds to make it anew
    if card is None or card.key != key or list(card.members) != list(key.members):
        return None
    return card if FALLBACK in card.files else None  # one without is of an earlier version


def ensemble_card(
    stacker: Stacker,
    honest: Predictions,
    members: Mapping[str, Predictions],
    y: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64] | None = None,
    folds: npt.NDArray[np.int64] | None = None,
    hours: Mapping[str, float] | None = None,
    *,
    n_classes: int = 3,
) -> EnsembleCard:
    """What a fitted stacker is worth and what its members contribute, as its card holds it.

    ``honest`` holds the ensemble's own out-of-fold predictions. Past a million rows, what members contribute
    and how reliable they are is measured on a sample of whole groups. Key and seed are the caller's to add.
    """
    if n_classes == 2:
        honest = honest.without_ties()
    rows, loss = len(honest), metrics.log_loss(honest.log_probs, y)
    some = whole_groups(metrics.group_codes(groups, rows), FITTED_ROWS, seed=0)
    if some is not None:
        honest, members = honest.take(some), {name: one.take(some) for name, one in members.items()}
        y, groups, folds = y[some], *(None if part is None else part[some] for part in (groups, folds))
    contributions = member_contributions(members, y, groups=groups, folds=folds, hours=hours or None)
    return EnsembleCard(
        key=None,
        members=list(members),
        folds_verified=False,
        rows=rows,
        n_classes=n_classes,
        seed=0,
        choice=stacker.choice_,
        selection_frequency=stacker.selection_frequency_,
        temperature=float(stacker.temperature_),
        log_loss=loss,
        seconds=0.0,
        contributions=contributions.as_dict(),
        suspicions=[dataclasses.asdict(one) for one in leakage_suspicions(members, y, groups)],
        reliability=_reliability(honest.log_probs, members, y, groups, folds),
    )


def _reliability(
    honest: Floats,
    members: Mapping[str, Predictions],
    y: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64] | None,
    folds: npt.NDArray[np.int64] | None,
) -> dict[str, Any]:
    """Bins of the ensemble, and of each member before and after its temperature, fitted on other folds."""
    parts = fold_codes(y, metrics.group_codes(groups, len(y)), folds, n_folds=5, seed=0)
    shown = {ENSEMBLE: honest}
    for name, one in members.items():
        log_probs = one.combined().log_probs
        shown |= {name: log_probs, f"{name}{TEMPERED}": tempered_out_of_fold(log_probs, y, parts)}
    return {
        name: [[dataclasses.asdict(one) for one in bins] for bins in reliability(log_probs, y, groups)]
        for name, log_probs in shown.items()
    }


def table_with_floor(stacker: Stacker, truth: Floats | None, y: npt.NDArray[np.int64]) -> list[ScoreRow]:
    """The stacker's score table and, where the truth is known, the Bayes floor as its last row."""
    rows = list(stacker.table_)
    if truth is None:
        return rows
    floor = metrics.row_losses(truth, y)
    difference = metrics.paired_difference(floor, metrics.row_losses(stacker.oof_log_proba_, y))
    bayes = ScoreRow(
        name="Bayes floor",
        kind="bayes",
        log_loss=float(floor.mean()),
        se=metrics.standard_error(floor),
        accuracy=metrics.accuracy(truth, y),
        difference=difference.mean,
        difference_se=difference.se,
        gap_closed=1.0,
        note="the true probabilities",
    )
    return [*rows, bayes]
