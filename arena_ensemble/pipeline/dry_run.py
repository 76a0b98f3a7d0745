"""``--dry-run``: what a training run would do, without a byte written and without taking the workspace.

The same inputs are read and checked as by the run itself, so that its errors are the run's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ..artifacts.cards import AVERAGED, fold_name
from ..artifacts.fold_file import ensure_folds
from ..artifacts.workspace import FOLDS_CARD, Workspace
from ..battles import Battles
from ..deadline import Deadline
from ..errors import ArenaError, InputError, StaleError
from ..folds import NEAR_DUPLICATES, Folds
from ..planning.costs import MemberCost, Texts, member_costs
from ..planning.here import Machine
from ..planning.lengths import sampled_lengths
from . import distillation, schedule, tasks
from .arguments import one_model, real_workspace
from .build import is_stacked
from .executors import default_jobs
from .extra_data import ExtraFile, read_extra
from .job import Job
from .run_costs import fitting_workers, here, task_seconds
from .run_inputs import RunInputs, read_inputs
from .run_progress import label_of
from .schedule import Work

log = logging.getLogger(__name__)

DONE: Final = "done"
FITTED: Final = "fitted"
"""trained, not yet predicted with"""
BEGUN: Final = "begun"
"""a checkpoint is there"""
LEFT: Final = "left"
State = tuple[str, tuple[str, ...]]
"""of a task, and which rows it has not predicted"""
STACK_SECONDS: Final = 0.0005
"""a row and member that stacking takes, its choice scored out of fold"""
STACK_LEAST: Final = 30.0
"""however few rows there are: then folds are drawn several times (37 s for 1,500 rows and four members)"""


@dataclass(frozen=True)
class TaskPlan:
    """One member's fold. Tokens, seconds and bytes are estimates, None where nothing is known."""

    label: str
    member: str
    fold: str
    state: str
    """`DONE`, `FITTED`, `BEGUN` or `LEFT`"""
    predicts: tuple[str, ...]
    """``held-out`` rows, ``test`` rows"""
    left: tuple[str, ...]
    """of ``train``, ``held-out`` and ``test``, what is not done yet"""
    tokens: int | None
    seconds: float | None
    memory: int | None
    fits: bool | None
    start: float | None
    """planned seconds from the run's start; None where nothing is left"""
    end: float | None


@dataclass(frozen=True)
class RunPlan:
    """What a run would do on this machine; figures are estimates."""

    workspace: str
    machine: str
    workers: int
    battles: int
    test: int
    folds: int
    members: tuple[str, ...]
    external: tuple[str, ...]
    tasks: tuple[TaskPlan, ...]
    """in the order in which they would start, those that are done first"""
    makespan: float
    """seconds until the last task ends"""
    stack_seconds: float
    """an estimate of what combining the members takes"""
    stacked: bool
    """whether the ensemble of exactly these members is there, so that nothing is left to combine"""
    auto: dict[str, Any] | None
    notes: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """Plain JSON values, marked as estimates."""
        return {"dry_run": True, "estimate": True, **asdict(self)}


def plan_run(
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
    offline: bool = False,
    bases: Mapping[str, str | Path] | None = None,
    hours: float | Deadline | None = None,
    refit: bool = False,
    average_folds: bool = False,
    truth: str | Path | None = None,
    machine: Machine | None = None,
) -> RunPlan:
    """What `train_members` would do with the same arguments; nothing is written.

    Parameters
    ----------
    truth
        The file of true probabilities, where `build_ensemble` is to be given one.
    machine
        Another than this one.

    Raises
    ------
    ArenaError
        As `train_members` before its work.
    """
    place = real_workspace(workspace)
    given = read_inputs(
        place, data, members, test=test, format=format, n_folds=n_folds, retrain=retrain,
        sample_submission=sample_submission, skip_unvoted=skip_unvoted, jobs=jobs, offline=offline,
        bases=bases, hours=hours,
    )  # fmt: skip
    if n_folds < 2:
        raise InputError(f"--folds {n_folds}: expected at least 2")
    folds = None
    if (place.oof / FOLDS_CARD).is_file():
        folds = ensure_folds(place, given.train, n_folds=n_folds, seed=seed, near_duplicates=near_duplicates)
    machine = machine or here()
    wanted = jobs or default_jobs(given.recipes.values())
    tests = 0 if given.test is None else len(given.test)
    texts = Texts(sampled_lengths(given.train), len(given.train), tests, n_folds)
    costs = member_costs(given.recipes, texts, machine, wanted)
    workers = jobs or fitting_workers(wanted, given.recipes, costs, machine)
    one_beside = one_model(refit, average_folds, given.test)
    states = _states(place, given, folds, extra, n_folds, one_beside)
    done, waves = list[TaskPlan](), list[list[Work[TaskPlan]]]()
    for wave in distillation.in_teaching_order(given.recipes):
        waves.append([])
        for name in wave:
            alone = tasks.predicts_alone(one_beside, given.recipes[name])
            for fold in [*range(n_folds), *([] if alone is None else [alone])]:
                task = _task(name, fold, states, costs.get(name), n_folds, alone, given.test)
                if task.state == DONE:
                    done.append(task)
                else:
                    waves[-1].append(Work(task, name, task.seconds or 0.0))
    slots = [_placed(one.task, one.start, one.end) for one in schedule.in_waves(waves, workers)]
    count = len(given.recipes) + len(given.external)
    trained = not given.anew and all(set(one.left) <= {"test"} for one in slots)
    return RunPlan(
        workspace=str(place.root),
        machine=str(machine),
        workers=workers,
        battles=len(given.train),
        test=tests,
        folds=n_folds,
        members=tuple(given.recipes),
        external=tuple(given.external),
        tasks=(*done, *slots),
        makespan=max([0.0, *(one.end for one in slots if one.end is not None)]),
        stack_seconds=round(max(STACK_LEAST, STACK_SECONDS * len(given.train) * count), 1),
        stacked=trained and _is_stacked(place, given, folds, seed=seed, truth=truth is not None),
        auto=None if given.auto is None else given.auto.facts(),
        notes=tuple(_notes(given, costs, texts, folds)),
    )


def _is_stacked(place: Workspace, given: RunInputs, folds: Folds | None, *, seed: int, truth: bool) -> bool:
    """Whether the run would find its ensemble; one with a member that it would refuse is not there."""
    if folds is None:
        return False
    members, n_classes = [*given.recipes, *given.external], given.n_classes
    with contextlib.suppress(ArenaError):
        return is_stacked(place, given.train, folds, members, seed=seed, truth=truth, n_classes=n_classes)
    return False


def _states(
    place: Workspace,
    given: RunInputs,
    folds: Folds | None,
    extra: Sequence[ExtraFile],
    n_folds: int,
    one: int | None,
) -> dict[str, State]:
    """Task's label → its state and the rows that it has not predicted, where anything of it is there.

    By digests, as the run itself would find them.

    Raises
    ------
    StaleError
        A fold was made from something else.
    """
    if folds is None:
        return {}
    more = read_extra(extra, given.train, folds)
    job = Job(place.root, given.train, folds, given.test, more, given.n_classes, given.notes, one_model=one)
    states = dict[str, State]()
    for name, recipe in given.recipes.items():
        if name in given.anew:
            continue
        try:
            planned = tasks.plan(job, name, recipe)
        except StaleError:
            raise
        except ArenaError:  # its teacher is not finished
            continue
        for task in planned:
            artifacts = job.artifacts(name)
            keys = {"held-out": task.oof_key if task.fold >= 0 else None, "test": task.test_key}
            missing = tuple(
                part for part, key in keys.items() if key is not None and not artifacts.has_predictions(key)
            )
            if tasks.is_done(job, task):
                states[task.label] = DONE, ()
            elif artifacts.check_current(task.fit_key):
                states[task.label] = FITTED, missing
            elif artifacts.may_resume(task.fit_key):
                states[task.label] = BEGUN, missing
    return states


def _task(
    name: str,
    fold: int,
    states: Mapping[str, State],
    cost: MemberCost | None,
    n_folds: int,
    alone: int | None,
    test: Battles | None,
) -> TaskPlan:
    label = label_of(name, fold)
    state, missing = states.get(label, (LEFT, ("held-out", "test")))
    on_test = test is not None and (alone is None or fold == alone)
    predicts = (*(["held-out"] if fold >= 0 else []), *(["test"] if on_test else []))
    left = tuple(part for part in predicts if state != FITTED or part in missing) if state != DONE else ()
    left = left if state in (DONE, FITTED) else ("train", *left)
    seconds = tokens = None
    if cost is not None and state != DONE:
        seconds = round(task_seconds(cost, n_folds, fold, fitted=state == FITTED, refit=alone is not None), 1)
        tokens = (cost.tokens if state != FITTED and fold != AVERAGED else 0) + (
            cost.test_tokens if on_test else 0
        )
        tokens += cost.held_tokens if "held-out" in left else 0
    return TaskPlan(
        label,
        name,
        fold_name(fold),
        state,
        predicts,
        left,
        tokens,
        seconds,
        None if cost is None else cost.memory,
        None if cost is None else cost.fits,
        None,
        None,
    )


def _placed(task: TaskPlan, start: float, end: float) -> TaskPlan:
    return dataclasses.replace(task, start=round(start, 1), end=round(end, 1))


def _notes(given: RunInputs, costs: Mapping[str, MemberCost], texts: Texts, folds: Folds | None) -> list[str]:
    notes = list(given.notes)
    if folds is None:
        notes.append("there are no folds yet: they are drawn first")
    notes += [f"{name}: nothing is known of its base here, so nothing is planned" for name in given.recipes
              if name not in costs]  # fmt: skip
    notes += [
        f"{name}: needs about {cost.memory / 1e9:.1f} GB and does not fit {cost.where}"
        for name, cost in costs.items()
        if not cost.fits
    ]
    mean = float(texts.lengths.sum(axis=1).mean()) if len(texts.lengths) else 0.0
    return [*notes, f"a battle has {mean:,.0f} tokens on average, at 4 bytes of text a token"]
