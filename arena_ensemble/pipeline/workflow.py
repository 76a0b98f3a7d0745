"""The pipeline from files to a submission, with plain values: train, build, predict, write.

    run = train_members("train.csv", ["lexical", "tiny-classify"], workspace="work", test="test.csv")
    ensemble = build_ensemble(run)
    write_submission("submission.csv", predict_test(run, ensemble))

Later, and without the training data: ``predict(Ensemble.load("work"), "new.csv", workspace="work")``.

A second call with the same arguments does nothing; a killed one goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..artifacts.fold_file import ensure_folds
from ..artifacts.members import MemberArtifacts
from ..artifacts.workspace import ENSEMBLE, Workspace
from ..battles import Battles
from ..deadline import Deadline
from ..errors import InputError
from ..folds import NEAR_DUPLICATES, Folds
from ..io import BattlesLike, as_battles
from . import standing, submission
from .arguments import (
    UseFolds,
    check_jobs,
    deadline_of,
    folds_of,
    load_truth,
    one_model,
    path_or_none,
    real_workspace,
)
from .auto_members import AutoPlan
from .build import build
from .combining import EnsemblePrediction
from .cross_fit import run_job
from .ensemble import Ensemble
from .executors import Event, Executor
from .extra_data import ExtraFile, read_extra
from .imported import check_imported, is_external
from .job import Job
from .member_recipes import recipes_and_refusals
from .refusals import raise_if_failed, raise_if_none_finished
from .run_inputs import read_inputs
from .run_result import RunResult
from .standing import StandingSubmission

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRun:
    """What `train_members` leaves behind: the battles, their folds, and which members are finished."""

    workspace: Workspace
    train: Battles
    test: Battles | None
    folds: Folds
    result: RunResult
    n_classes: int = 3
    notes: tuple[str, ...] = ()
    """what the reader reported of the training file, rows that it left out among them"""
    auto: AutoPlan | None = None
    """how the members were chosen, where that was left to us"""


def train_members(
    data: str | Path,
    members: str | Sequence[str] | None = None,
    *,
    workspace: str | Path | Workspace = ".",
    test: str | Path | None = None,
    format: str | None = None,
    n_folds: int = 5,
    seed: int = 0,
    near_duplicates: float | None = NEAR_DUPLICATES,
    extra: Sequence[ExtraFile] = (),
    retrain: str | Sequence[str] = (),
    sample_submission: str | Path | None = None,
    skip_unvoted: bool = False,
    jobs: int | None = None,
    executor: Executor | None = None,
    offline: bool = False,
    early: str | Path | None = None,
    bases: Mapping[str, str | Path] | None = None,
    hours: float | Deadline | None = None,
    refit: bool = False,
    average_folds: bool = False,
    on_event: Event | None = None,
) -> TrainingRun:
    """Train members on every set of folds but one and predict that one; predict the test battles too.

    Parameters
    ----------
    data, test, format
        Battles with votes, battles to predict, and their format (default: by the columns).
    members
        Names of recipes in the workspace's ``models/`` or the package, and of external members; None and
        ``auto`` are those that `choose_members` takes for this machine and so many battles.
    near_duplicates
        Prompts of this Jaccard similarity or more are one group; None: equal prompts only.
    extra
        More training battles, kept from the folds that hold their prompts.
    retrain
        Members, among ``members``, to forget first; external ones are imported again instead.
    sample_submission
        Checked against the test file before the hours of training.
    skip_unvoted
        Leave out the rows of ``data`` without a vote, with a note that counts them, instead of refusing.
    executor
        Where tasks run, such as `OnRay`; None is this machine, with so many processes as ``jobs`` says.
    offline
        Open no connection: a base must be a folder or in the hub's cache.
    early
        A file to keep a valid submission of the test battles in while members are trained: first the
        prior, then a pool of the members that are finished.
    bases
        Member's name, or a base as recipes write it → its folder on this machine.
    hours
        Stop in time, a fold in training with a checkpoint: ``result.late`` names the members that are not
        finished, and the same call goes on with them.
    refit
        Train each member once more on all rows, after its folds; that model alone predicts ``test``.
    average_folds
        Predict ``test`` with one model of the folds' averaged weights in place of the folds.

    Raises
    ------
    InputError, RecipeError
        A file or recipe cannot be used; raised before anything is written. Or the columns of an external
        member are exchanged; raised before anything is trained.
    StaleError
        The workspace holds folds or members made from something else.
    """
    place = real_workspace(workspace)
    with place.locked("training"):
        given = read_inputs(
            place,
            data,
            members,
            test=test,
            format=format,
            n_folds=n_folds,
            retrain=retrain,
            sample_submission=sample_submission,
            skip_unvoted=skip_unvoted,
            jobs=jobs,
            offline=offline,
            bases=bases,
            hours=hours,
        )
        train, external, n_classes = given.train, given.external, given.n_classes
        one = one_model(refit, average_folds, given.test)
        folds = ensure_folds(place, train, n_folds=n_folds, seed=seed, near_duplicates=near_duplicates)
        alarms = check_imported(place, external, train, folds, given.test, n_classes=n_classes)
        more = read_extra(extra, train, folds)
        for name in given.anew:  # the last step before the training: whatever is wrong is known by now
            MemberArtifacts(place, name).forget()
        job = Job(
            place.root, train, folds, given.test, more, n_classes, given.notes, None, one, given.deadline
        )
        standing_submission = None
        if early is not None and given.test is not None:
            make = standing.from_votes(place, train, given.test, n_classes=n_classes, also=external)
            standing_submission = StandingSubmission(
                Path(early), place, given.test, make, path_or_none(sample_submission)
            )
        result = run_job(
            job,
            given.recipes,
            jobs=jobs,
            executor=executor,
            on_event=on_event,
            on_finished=standing_submission,
        )
        result.finished += external
        result.alarms |= alarms
        return TrainingRun(place, train, given.test, folds, result, n_classes, given.notes, given.auto)


def build_ensemble(
    run: TrainingRun,
    *,
    seed: int = 0,
    truth: str | Path | None = None,
    on_event: Event | None = None,
) -> Ensemble:
    """Combine the finished members: every candidate is scored out of fold, and the choice too.

    ``truth`` is a file of true probabilities (sample arena), for the table's ``gap_closed``; ``on_event``
    hears which candidate is fitted and how much of the work is done.

    Raises
    ------
    InputError
        No member is finished, or there are fewer than three folds.
    """
    raise_if_none_finished(run.result)
    known = None if truth is None else load_truth(Path(truth), run.train)
    with run.workspace.locked("stacking"):
        return build(
            run.workspace,
            run.train,
            run.folds,
            run.result.finished,
            seed=seed,
            truth=known,
            n_classes=run.n_classes,
            on_event=on_event,
        )


def predict(
    ensemble: Ensemble,
    test: str | Path | BattlesLike,
    *,
    workspace: str | Path | Workspace | None = None,
    format: str | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
    offline: bool = False,
    strict: bool = False,
    early: str | Path | None = None,
    sample_submission: str | Path | None = None,
    bases: Mapping[str, str | Path] | None = None,
    use_folds: UseFolds = None,
    hours: float | Deadline | None = None,
    on_event: Event | None = None,
) -> EnsemblePrediction:
    """Predict test battles with the workspace's fold models, keeping each member's predictions there.

    What was predicted before is not predicted again. To predict without writing, use
    `Ensemble.predict_proba`. ``workspace`` is the ensemble's own by default; ``bases`` as in `train_members`:
    a base may lie elsewhere than on the training machine, since its content alone is checked.
    ``use_folds`` are the folds whose models predict, for less time: fewer are a little worse, and gamma is
    estimated from those that predicted. ``"refit"`` is the model of all rows, ``"averaged"`` one model of the
    folds' averaged weights, made here if need be (lexical members use all folds).

    A fold model that fails or is damaged is left out (``partly`` of the prediction), and so is a member of
    which no fold predicts (``left_out``): of the pools kept with the ensemble, the best of the other members'
    then takes the stacker's place. ``strict`` refuses instead. ``early`` is a file to keep a valid submission
    in while members predict: first the prior, then such pools. With ``hours`` every member's first fold comes
    before any second one, and the second order of the answers last, for as many rows as the time then holds;
    what is there when the hours are over is the prediction.

    Raises
    ------
    InputError
        The battles cannot be read, or an external member has no test predictions of them.
    MemberError
        Every member failed, or with ``strict`` one.
    """
    given = workspace if workspace is not None else ensemble.workspace
    place = Workspace.of("." if given is None else given)
    check_jobs(jobs)
    folds, deadline = folds_of(use_folds), deadline_of(hours)
    battles = as_battles(test, format=format)
    ensemble.check_members(place)
    external = [name for name in ensemble.members if is_external(place, name)]
    needed = [name for name in ensemble.members if name not in external]
    recipes, lost = recipes_and_refusals(place, needed, offline=offline, bases=bases)
    if lost and (strict or not recipes):
        raise next(iter(lost.values()))
    with place.locked("predicting"):
        n_classes = ensemble.card.n_classes
        job = Job(place.root, None, None, battles, n_classes=n_classes, use_folds=folds, deadline=deadline)
        standing_submission = None
        if early is not None:
            make = standing.from_ensemble(place, ensemble, battles, also=external, use_folds=folds)
            standing_submission = StandingSubmission(
                Path(early), place, battles, make, path_or_none(sample_submission)
            )
        result = run_job(
            job, recipes, jobs=jobs, executor=executor, on_event=on_event, on_finished=standing_submission
        )
        for name, error in lost.items():
            result.unplanned[name] = error
            result.fail(name, "", error)
        if strict:
            result.failed |= result.partly
        there = result.finished or result.late or result.partly
        if result.failed and (strict or not there or ensemble.fallback is None):
            if len(result.unplanned) == len(result.failed):
                raise next(iter(result.unplanned.values()))
            raise_if_failed(result)
        if result.failed or result.late or result.partly:
            return submission.combine_survivors(place, ensemble, battles, result, use_folds=folds)
        return submission.combine_test(place, ensemble, battles, all_folds=folds is None)


def predict_test(run: TrainingRun, ensemble: Ensemble) -> EnsemblePrediction:
    """The ensemble's prediction of the run's own test battles, which its members have predicted already.

    Raises
    ------
    InputError
        The run had no test battles, or an external member has no test predictions of them.
    """
    if run.test is None:
        raise InputError("there are no test battles: give train_members a test file")
    with run.workspace.locked("predicting"):
        return submission.combine_test(run.workspace, ensemble, run.test, train=run.train)


def write_submission(
    path: str | Path,
    prediction: EnsemblePrediction,
    *,
    sample_submission: str | Path | None = None,
    workspace: str | Path | Workspace | None = None,
) -> None:
    """Write ``submission.csv``: ids and order of the test file, rows that sum to one, whole or absent.

    ``workspace`` notes which members the file is from, so that an ``early`` one never takes its place.

    Raises
    ------
    InputError
        The sample submission has other ids or columns.
    """
    submission.write(Path(path), prediction, sample_submission=path_or_none(sample_submission))
    if workspace is not None:
        members = [name for name in prediction.gammas if name != ENSEMBLE]
        standing.note(Workspace.of(workspace), Path(path), prediction.test, members)
