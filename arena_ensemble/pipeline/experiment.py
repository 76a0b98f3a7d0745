"""Cheap experiments: one fold alone, or a share of the battles, kept apart from the real thing.

An experiment lies in ``<workspace>/experiments/<key>/``, a workspace that holds no ensemble and is refused by
everything that would make one. It trains with the real run's folds and takes nothing from its models.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from .. import metrics
from ..artifacts import atomic
from ..artifacts.fold_file import ensure_folds
from ..artifacts.members import MemberArtifacts
from ..artifacts.workspace import FOLDS_CARD, Workspace
from ..battles import Battles
from ..errors import ArenaError, InputError
from ..folds import NEAR_DUPLICATES, Folds, make_folds
from ..io import load_battles
from ..predictions import Predictions
from ..recipes import Recipe
from . import tasks
from .arguments import EXPERIMENT, check_jobs, names_of, real_workspace
from .executors import Event, default_jobs, run_tasks, with_label
from .job import Job
from .member_recipes import recipes_of

log = logging.getLogger(__name__)

FOLDER: Final = "experiments"


@dataclass(frozen=True)
class Trial:
    """How good one member was on the held-out rows of an experiment; losses in nats, with standard errors."""

    member: str
    rows: int
    log_loss: float
    standard_error: float
    prior_log_loss: float
    gain: float
    """over the prior, paired"""
    gain_error: float
    real_log_loss: float | None = None
    """of the real run's member on the same rows, where it is finished"""
    real_difference: float | None = None
    """this loss less the real one's, paired"""
    real_difference_error: float | None = None


@dataclass(frozen=True)
class Experiment:
    """What was tried, where it lies, and what came of it."""

    folder: Path
    battles: int
    trials: list[Trial]
    failed: dict[str, str]


def run_experiment(
    data: str | Path,
    members: str | Sequence[str],
    *,
    workspace: str | Path | Workspace = ".",
    only_fold: int | None = None,
    rows: float = 1.0,
    format: str | None = None,
    n_folds: int = 5,
    seed: int = 0,
    near_duplicates: float | None = NEAR_DUPLICATES,
    skip_unvoted: bool = False,
    jobs: int | None = None,
    offline: bool = False,
    bases: Mapping[str, str | Path] | None = None,
    on_event: Event | None = None,
) -> Experiment:
    """Train one fold of each member, or all folds of a share of the battles, and score the held-out rows.

    Parameters
    ----------
    only_fold
        The fold whose rows are held out; None is every fold.
    rows
        Share of the groups of battles that take part, drawn by ``seed``, in training and held out alike.

    Raises
    ------
    InputError
        Neither is asked for, or a value is out of range, or no row is left.
    StaleError
        The workspace's folds are of other battles or settings.
    """
    place = real_workspace(workspace)
    check_jobs(jobs)
    if not 0 < rows <= 1:
        raise InputError(f"--rows {rows:g}: expected a share of the battles above 0 and up to 1")
    if only_fold is not None and not 0 <= only_fold < n_folds:
        raise InputError(f"--only-fold {only_fold}: expected a fold from 0 to {n_folds - 1}")
    names = names_of(members)
    recipes = recipes_of(place, names, offline=offline, bases=bases)
    loaded = load_battles(Path(data), format=format, need_outcomes=True, skip_unvoted=skip_unvoted)
    everything = loaded.battles
    if (place.oof / FOLDS_CARD).is_file():
        folds = ensure_folds(place, everything, n_folds=n_folds, seed=seed, near_duplicates=near_duplicates)
    else:
        folds = make_folds(everything, n_folds=n_folds, seed=seed, near_duplicates=near_duplicates)
    train, folds = sampled(everything, folds, rows, seed)
    held = folds.fold == only_fold if only_fold is not None else np.ones(len(train), dtype=bool)
    what = {"data": train.digest(), "folds": folds.digest, "only_fold": only_fold, "rows": rows, "seed": seed}
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]
    trial = Workspace(place.root / FOLDER / key)
    atomic.write_json(trial.root / EXPERIMENT, what)
    with trial.locked("experiment"):
        job = Job(trial.root, train, folds, None, None, loaded.n_classes, loaded.report.notes)
        found: list[Trial] = []
        failed: dict[str, str] = {}
        for name in names:
            try:
                parts = _predicted(job, name, recipes[name], only_fold, jobs, on_event)
                found.append(_scored(place, train, folds, held, name, parts))
            except (ArenaError, ArithmeticError, MemoryError, OSError, RuntimeError, ValueError) as error:
                log.error("%s failed: %s", name, error)
                failed[name] = str(error)
        return Experiment(trial.root, len(train), found, failed)


def sampled(battles: Battles, folds: Folds, share: float, seed: int) -> tuple[Battles, Folds]:
    """A seeded share of the groups, whole ones, with the folds that they had.

    Raises
    ------
    InputError
        A fold is left without battles.
    """
    if share >= 1:
        return battles, folds
    groups = np.unique(folds.group)
    count = max(1, round(share * len(groups)))
    chosen = np.random.default_rng(seed).permutation(groups)[:count]
    rows = np.flatnonzero(np.isin(folds.group, chosen))
    part = battles.take(rows)
    if len(np.unique(folds.fold[rows])) < folds.n_folds:
        raise InputError(f"--rows {share:g} leaves a fold without battles; raise it")
    _, group = np.unique(folds.group[rows], return_inverse=True)
    digest = part.digest()
    return part, replace(folds, ids=part.ids, fold=folds.fold[rows], group=group, battles_digest=digest)


def _predicted(
    job: Job, name: str, recipe: Recipe, only_fold: int | None, jobs: int | None, on_event: Event | None
) -> Predictions:
    """The held-out rows' predictions of the folds that are asked for; what is there is not made again."""
    planned = [t for t in tasks.plan(job, name, recipe) if only_fold is None or t.fold == only_fold]
    left = [task for task in planned if not tasks.is_done(job, task)]
    if left:
        tasks.prepare(job, recipe, with_label(on_event, name))
    for _, error in run_tasks(job, left, jobs or default_jobs([recipe]), on_event):
        if error is not None:
            raise error
    assert job.train is not None
    assert job.folds is not None
    rows = np.flatnonzero(np.isin(job.folds.fold, [task.fold for task in planned]))
    return job.artifacts(name).merged_oof([task.oof_key for task in planned], job.train.take(rows).ids)


def _scored(
    place: Workspace, train: Battles, folds: Folds, held: Any, name: str, predictions: Predictions
) -> Trial:
    rows = np.flatnonzero(held)
    part, groups = train.take(rows), folds.group[rows]
    y = part.outcomes()
    losses = metrics.row_losses(predictions.aligned_to(part.ids, name=name).combined().log_probs, y)
    prior = metrics.row_losses(metrics.prior_log_probs(train.outcomes(), folds.fold)[rows], y)
    gain = prior - losses
    real: dict[str, float] = {}
    there = MemberArtifacts(place, name)
    if there.card() is not None:
        other = there.load()[0].aligned_to(part.ids, name=f"member {name!r}").combined().log_probs
        theirs = metrics.row_losses(other, y)
        difference = losses - theirs
        real = {
            "real_log_loss": float(theirs.mean()),
            "real_difference": float(difference.mean()),
            "real_difference_error": metrics.standard_error(difference, groups),
        }
    return Trial(
        member=name,
        rows=len(rows),
        log_loss=float(losses.mean()),
        standard_error=metrics.standard_error(losses, groups),
        prior_log_loss=float(prior.mean()),
        gain=float(gain.mean()),
        gain_error=metrics.standard_error(gain, groups),
        **real,
    )
