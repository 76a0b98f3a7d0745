"""One task: fit one fold of one member, predict its held-out rows and the test rows, keep all of it.

Swap lives here: a recipe with ``read_orders = 2`` has the swapped battles predicted too, all of them or
the share that a hash of the ids draws. Everything is keyed by digests, so that a rerun does nothing, a
kill loses only the running fold, and a change is named instead of mixed in.
"""

from __future__ import annotations

import functools
import importlib.metadata
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from .. import backbones
from ..artifacts.cards import AVERAGED, REFIT, FoldCard, FoldKey, PredictionKey, fold_name
from ..artifacts.members import MemberArtifacts
from ..artifacts.share_shards import load_any_share
from ..backbones.base import Backbone
from ..battles import Battles
from ..errors import ArtifactError, OutOfTime
from ..recipes import Recipe
from . import averaging, distillation, equivalence, orders, starts
from . import fitted as fitted_folds
from .job import FoldTask, Job
from .run_progress import LOADING
from .training_rows import training_data

Progress = Callable[[float, float, str], None]
_LIBRARIES: Final = ("torch", "transformers", "peft", "scikit-learn", "lightgbm", "numpy", "polars")


def versions() -> dict[str, str]:
    """Versions of this package and of the libraries whose numbers end up in artifacts, in this process."""
    return dict(_versions())


@functools.cache
def _versions() -> Mapping[str, str]:
    """Read once: what is installed while a process runs is not what it has loaded."""
    found = {}
    for name in ("arena-ensemble", *_LIBRARIES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def plan(job: Job, member: str, recipe: Recipe) -> list[FoldTask]:
    """The tasks of one member, one per fold, whether done or not.

    Raises
    ------
    InputError
        There is nothing to train on and the member was never trained here, or its teacher is not
        finished.
    StaleError
        There is nothing to train on, and the recipe is not the one that the member was trained with.
    """
    alone = None
    if job.train is None or job.folds is None:
        artifacts = job.artifacts(member)
        averages = backbones.head_of(recipe.backbone).needs_base
        keys, use_folds = fitted_folds.chosen(artifacts, job.use_folds, averages=averages)
        fitted_folds.check_recipe(artifacts, recipe, keys)
    else:
        key = FoldKey(
            recipe=recipe.fit_digest(),
            data=job.train.digest(),
            folds=job.folds.digest,
            extra=None if job.extra is None else job.extra.digest,
            teacher=distillation.teacher_digest(job.workspace, recipe),
            start=starts.start_digest(job.workspace, recipe, job.folds.n_folds),
            fold=None,
        )
        alone = predicts_alone(job.one_model, recipe)
        places = [*range(job.folds.n_folds), *([] if alone is None else [alone])]
        keys = [key.model_copy(update={"fold": fold}) for fold in places if fold != AVERAGED]
        if alone == AVERAGED:
            keys.append(averaging.key_of_run(job.artifacts(member), key, job.folds.n_folds))
        fitted_folds.check_edited(job.artifacts(member), recipe, places)
        fitted_folds.check_base(job.artifacts(member), recipe, job.folds.n_folds, only_renamed=True)
        use_folds = None if alone is None else fold_name(alone)
    test = None if job.test is None else job.test.digest(outcomes=False)
    tasks = []
    for key in keys:
        fold = key.fold
        assert fold is not None, "a fitted model is of one fold"
        oof_key = PredictionKey(
            **key.model_dump(),
            orders=recipe.orders(),
            n_classes=job.n_classes,
            predict=recipe.prediction_numbers(),
        )
        predicts = test is not None and (alone is None or fold == alone)
        test_key = None if not predicts else oof_key.model_copy(update={"test": test, "use_folds": use_folds})
        tasks.append(FoldTask(member, recipe, fold, key, oof_key, test_key))
    return tasks


def predicts_alone(one_model: int | None, recipe: Recipe) -> int | None:
    """The model of a member that predicts the test battles in place of the folds', of `Job.one_model`."""
    can_average = backbones.head_of(recipe.backbone).needs_base
    return None if one_model == AVERAGED and not can_average else one_model


def is_done(job: Job, task: FoldTask) -> bool:
    """Whether this task has nothing left to do."""
    member = job.artifacts(task.member)
    if job.train is None:
        done = True
    elif task.fold < 0:
        done = member.check_current(task.fit_key)
    else:
        done = member.has_predictions(task.oof_key)
    return done and (task.test_key is None or member.has_predictions(task.test_key))


def prepare(job: Job, recipe: Recipe, on_progress: Progress | None = None) -> None:
    """What a member needs once before its folds: a tiny base, token ids.

    Only the training battles' texts go in, never an outcome, and never the test file: a fold's model
    must not depend on which test file came with it.
    """
    if job.train is None:
        return
    if job.folds is not None:
        fitted_folds.check_base(job.artifacts(recipe.name), recipe, job.folds.n_folds)
    starts.warn_of_unverified(recipe)
    cache = job.workspace.cache
    with backbones.reraise_os_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
        backbones.get(recipe.backbone).prepare(
            job.train.without_outcomes(), recipe=recipe, cache=cache, on_progress=on_progress
        )


def run_fold(job: Job, task: FoldTask, on_progress: Progress | None = None) -> None:
    """Fit one fold if it is not fitted, predict its held-out rows and the test rows; keep all of it.

    Raises
    ------
    MemberError
        A group is on both sides of the fold (the fold file is broken), or the model diverged.
    StaleError
        The fold was fitted on something else.
    OutOfTime
        The job's deadline came first; the same task run again goes on from the checkpoint.
    """
    if job.deadline is not None and job.deadline.over():
        raise OutOfTime(f"{task.label}: no time is left to train a fold or to predict with it")
    if on_progress is not None:
        on_progress(0, 1, LOADING)
    member = job.artifacts(task.member)
    backbone = backbones.get(task.recipe.backbone)
    folder = member.fitted_folder(task.fit_key)
    if folder is None:
        make = _average if task.fold == AVERAGED else _fit
        folder = make(job, task, member, backbone, on_progress)
    # What is loaded here is what any later run loads, so load it after training as well.
    recipe = averaging.to_load(member, task.recipe, task.fold)
    held = None if task.fold < 0 else _held_out(job, task)
    pairs = ((held, task.oof_key), (job.test, task.test_key))
    asked = [(rows, key) for rows, key in pairs if rows is not None and key is not None]
    asked = [(rows, key) for rows, key in asked if not member.has_predictions(key)]
    if not asked:  # a model that predicts nothing yet is measured when it does
        with backbones.reraise_os_errors(folder):
            backbone.load(folder, recipe=recipe, cache=job.workspace.cache)
        return
    card = member.fold_card(task.fold)
    fitted, check = equivalence.load(folder, card, backbone, recipe, cache=job.workspace.cache)
    found = [None if key.test is None else load_any_share(member, key) for _, key in asked]
    sizes = [
        orders.rows_to_predict(rows, task.recipe, begun=begun is not None)
        for (rows, _), begun in zip(asked, found, strict=True)
    ]
    for k, ((battles, key), begun) in enumerate(zip(asked, found, strict=True)):
        part = orders.part_of(on_progress, sum(sizes[:k]), sizes[k], sum(sizes))
        predictions = orders.predict_fold(
            backbone,
            fitted,
            battles,
            recipe=task.recipe,
            fold=task.fold,
            n_classes=job.n_classes,
            first_order=None if begun is None else begun.aligned_to(battles.ids).log_probs,
            on_progress=_in_time(job, task, part),
        )
        member.write_predictions(key, predictions, check)


def _held_out(job: Job, task: FoldTask) -> Battles | None:
    """The fold's own battles; None where nothing is trained."""
    return None if job.train is None or job.folds is None else job.train.take(job.folds.rows(task.fold))


def _in_time(job: Job, task: FoldTask, on_progress: Progress | None) -> Progress | None:
    """A progress callback that ends a prediction which the deadline finds at work."""
    if job.deadline is None:
        return on_progress
    deadline = job.deadline

    def tell(done: float, total: float, text: str) -> None:
        if done < total and deadline.over():
            raise OutOfTime(f"{task.label}: {done / max(total, 1):.0%} of its rows were predicted in time")
        if on_progress is not None:
            on_progress(done, total, text)

    return tell


def _fit(
    job: Job, task: FoldTask, member: MemberArtifacts, backbone: Backbone, on_progress: Progress | None
) -> Path:
    """Train the fold's model on the other folds and keep it; returns its folder."""
    if job.train is None or job.folds is None:
        folder = member.fold_folder(task.fold)
        raise ArtifactError(f"{folder}: no fitted model; copy the folder of the training machine here")
    data = training_data(job, task)
    first_stage = starts.start_of(job.workspace, task.recipe, job.folds, task.fold)
    learned_from, options = dict(data.learned_from), {}
    if first_stage is not None:  # an argument of heads that stand on a language model
        learned_from["start"], options = first_stage.facts, {"start": first_stage.folder}
    recipe, held, facts = task.recipe, job.train, dict[str, Any]()
    if task.fold == REFIT:
        recipe = fitted_folds.refit_recipe(member, recipe, job.folds.n_folds)
        facts = {"refit_epochs": recipe.train.epochs}
    else:
        held = job.train.take(job.folds.rows(task.fold))
    if task.earlier_tries:
        facts["earlier_tries"] = list(task.earlier_tries)
    partial, resume = member.start_fold(task.fit_key)
    start = time.monotonic()
    with backbones.reraise_os_errors(partial):
        fitted = backbone.fit(
            data.battles,
            valid=None if task.fold == REFIT else held,
            soft_targets=data.soft_targets,
            weights=data.weights,
            recipe=recipe,
            folder=partial,
            cache=job.workspace.cache,
            resume=resume,
            on_progress=on_progress,
            deadline=job.deadline,
            **options,
        )
        equivalence.keep_rows(partial, backbone, fitted, held, task.recipe)
    card = FoldCard(
        key=task.fit_key,
        member=task.member,
        backbone=task.recipe.backbone,
        seed=task.recipe.seed,
        seconds=round(time.monotonic() - start, 3),
        rows=len(data.battles),
        learned_from=learned_from,
        versions=versions(),
        facts=fitted.facts | facts | {"recipe": task.recipe.fit_settings()},
    )
    return member.commit_fold(partial, card)


def _average(
    job: Job, task: FoldTask, member: MemberArtifacts, backbone: Backbone, on_progress: Progress | None
) -> Path:
    """Average the folds' models, which are all here; returns the folder."""
    assert job.test is not None, "without test battles nothing is averaged"
    with backbones.reraise_os_errors(member.models):
        return averaging.averaged_folder(
            member,
            task.fit_key,
            task.recipe,
            backbone,
            job.test,
            cache=job.workspace.cache,
            versions=versions,
            n_classes=job.n_classes,
            on_progress=_in_time(job, task, on_progress),
        )


def where_fitted(job: Job, task: FoldTask) -> str:
    """Where a fold was trained and in how long: `` on cpu, float32, sdpa, fitted in 1 s``; may be empty."""
    card = job.artifacts(task.member).fold_card(task.fold)
    if card is None:
        return ""
    where = [str(card.facts[name]) for name in ("device", "dtype", "attention") if card.facts.get(name)]
    return f" on {', '.join(where)}, fitted in {card.seconds:.0f} s" if where else ""
