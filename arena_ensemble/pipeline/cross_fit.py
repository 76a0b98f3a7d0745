"""Cross-fitting: every member's out-of-fold and test predictions, doing only what is missing.

A member that fails does not stop the others: its error is kept and reported when all else is done.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from ..artifacts.fold_file import keep_folds
from ..artifacts.members import MemberArtifacts
from ..artifacts.workspace import Workspace
from ..battles import Battles
from ..errors import ArenaError, OutOfTime, StaleError
from ..folds import Folds
from ..planning.costs import MemberCost
from ..predictions import Predictions
from ..recipes import Recipe
from . import distillation, starts, tasks
from .executors import PLANNED, Event, Executor, Local, with_label
from .finishing import finish_member, held_out_loss
from .pilot import time_untimed
from .recording import Recorder
from .run_costs import fitting_workers, in_order, job_costs, with_costs
from .second_orders import first_orders, second_orders, with_first_order
from .tasks import FoldTask, Job

log = logging.getLogger(__name__)

T = TypeVar("T")
Finished = Callable[[Sequence[str]], None]
"""``on_finished(members)``: all members finished so far; first before the work, then with each that ends."""
EXPECTED: Final = (ArenaError, ArithmeticError, MemoryError, OSError, RuntimeError, ValueError)
"""What a member may fail with and be named for; anything else is a bug and shows its traceback."""


@dataclass
class RunResult:
    """What a run of many tasks came to."""

    workspace: Workspace
    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """member → why, with the fold where there is one"""
    alarms: dict[str, list[str]] = field(default_factory=dict)
    """member → signs that it has learned nothing"""
    bugs: list[Exception] = field(default_factory=list)
    """errors that are no member's fault; they do not stop the others either"""
    late: dict[str, str] = field(default_factory=dict)
    """member → what of it the time was not enough for"""
    second_order: dict[str, float] = field(default_factory=dict)
    """member → the share of its test rows in the second order, where time cut it"""
    unplanned: dict[str, ArenaError] = field(default_factory=dict)
    """members among the failed whose fitted models could not even be looked at"""

    def oof(self, member: str) -> Predictions:
        """The out-of-fold predictions of a finished member, a row per training battle, in their order.

        Raises
        ------
        InputError
            The member is not finished.
        """
        return MemberArtifacts(self.workspace, member).load()[0]

    def test(self, member: str) -> list[Predictions]:
        """Each fold model's predictions of the test battles.

        Raises
        ------
        InputError
            There are none.
        """
        return MemberArtifacts(self.workspace, member).load_test()

    def failures(self) -> str:
        """Every failed member and why, in one line."""
        return "; ".join(f"member {name}: {why}" for name, why in self.failed.items())

    def fail(self, member: str, what: str, error: Exception) -> None:
        """Name a member's first error, and a bug with its traceback."""
        bug = not isinstance(error, EXPECTED)
        if bug:
            self.bugs.append(error)
        where = what.removeprefix(f"{member} ")  # the member is named where the message is shown
        message = f"{where}: {_described(error)}" if where else _described(error)
        self.failed.setdefault(member, message + (" (a bug)" if bug else ""))
        log.error("%s failed: %s", what or member, _described(error), exc_info=error if bug else None)


def cross_fit(
    recipes: Recipe | Sequence[Recipe],
    battles: Battles,
    folds: Folds,
    *,
    workspace: str | Path | Workspace,
    test: Battles | None = None,
    n_classes: int = 3,
    jobs: int | None = None,
    executor: Executor | None = None,
    on_event: Event | None = None,
) -> RunResult:
    """Train every member on all folds but one, predict that one, for each fold; keep all in a workspace.

    A second call with the same arguments does nothing; a killed one goes on where it was.

    Parameters
    ----------
    recipes
        One or several, each with a name (see `load_recipe`).
    battles
        With outcomes.
    folds
        Of these battles, from `make_folds`; they become the workspace's one fold file.
    workspace
        The folder where models and predictions are kept.
    test
        Battles to predict with every fold's model.
    n_classes
        2 where no tie can be voted: then no member gives P(tie).
    jobs
        Processes side by side; None chooses by device and size of the members.
    executor
        Where tasks run, such as :class:`~.executors.OnRay`; None is this machine, with so many ``jobs``.

    Raises
    ------
    StaleError
        The workspace holds other folds, or a member made from something else.
    """
    many = [recipes] if isinstance(recipes, Recipe) else list(recipes)
    place = Workspace.of(workspace)
    with place.locked("cross_fit"):
        keep_folds(place, folds, battles)
        job = Job(place.root, battles, folds, test, n_classes=n_classes)
        named = {recipe.name: recipe for recipe in many}
        return run_job(job, named, jobs=jobs, executor=executor, on_event=on_event)


def run_job(
    job: Job,
    recipes: Mapping[str, Recipe],
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    on_event: Event | None = None,
    on_finished: Finished | None = None,
) -> RunResult:
    """As :func:`cross_fit`, of a job whose folds are kept already.

    ``on_finished`` is not called where nothing is left to do.

    Raises
    ------
    StaleError
        An earlier fold was made from something else; raised before any work starts.
    """
    result = RunResult(job.workspace)
    place = Local(jobs) if executor is None else executor
    waves = distillation.in_teaching_order(dict(recipes))
    left = _tasks_left(job, recipes)
    tell = on_finished if left and on_finished is not None else (lambda members: None)
    what = "prediction" if job.train is None else "training"
    with Recorder(job.workspace, what, list(recipes), len(left), on_event) as record:
        costs = job_costs(job, recipes, place.slots(recipes.values())) if left else {}
        for label, tokens, seconds in with_costs(job, costs, left):
            record(label, tokens, seconds, PLANNED)
        tell([])
        for wave in waves:  # teachers before their pupils
            ready = {}
            for name, recipe in wave.items():
                # what is fitted predicts without them
                needed = distillation.needed_members(recipe) if job.train is not None else set()
                if failed := sorted(needed & result.failed.keys()):
                    result.failed[name] = f"its {starts.role(recipe, failed[0])} {failed[0]} failed"
                elif late := sorted(needed & result.late.keys()):
                    result.late[name] = f"its {starts.role(recipe, late[0])} {late[0]} is not finished"
                else:
                    ready[name] = recipe
            _run_wave(job, ready, costs, result, place, record, tell)
        for name, why in result.failed.items():
            record.member_ended(name, None, why)
    return result


def _run_wave(
    job: Job,
    recipes: Mapping[str, Recipe],
    costs: Mapping[str, MemberCost],
    result: RunResult,
    executor: Executor,
    record: Recorder,
    tell: Finished,
) -> None:
    """One wave of members, none of which waits for another; the cheap ones first where that costs little."""
    planned: dict[str, list[FoldTask]] = {}
    for name, recipe in recipes.items():
        try:
            planned[name] = _planned(job, name, recipe)
        except _UnplannedError as refusal:
            result.unplanned[name] = refusal.reason
            result.fail(name, "", refusal.reason)
    earlier, done, begun = list(result.finished), set[str](), set[str]()

    def finish(name: str) -> None:
        card = _guarded(result, name, partial(finish_member, job, planned[name]))
        if card is not None and card.alarms:
            result.alarms[name] = list(card.alarms)
        if name not in result.failed:
            done.add(name)
            record.member_ended(name, card)

    fitted = {
        task.label
        for part in planned.values()
        for task in part
        if job.artifacts(task.member).check_current(task.fit_key)
    }
    left = {name: [task for task in part if not tasks.is_done(job, task)] for name, part in planned.items()}
    for name in [name for name, part in left.items() if part]:
        prepare = partial(tasks.prepare, job, recipes[name], with_label(record, name))
        _guarded(result, name, prepare)
    for name in [name for name, part in left.items() if not part]:
        finish(name)
    if done:
        tell([*earlier, *(name for name in recipes if name in done)])
    # not cut to what is left to do: a resumed fold gets as many threads as it had, for the same bits
    workers = executor.slots(recipes.values())
    if isinstance(executor, Local) and executor.jobs is None:
        workers = fitting_workers(workers, recipes, costs)
    record.workers(workers)
    ready = [task for name, part in left.items() if name not in result.failed for task in part]
    ready = in_order(job, ready, costs, fitted, workers)
    by_fold = job.train is None and job.deadline is not None
    if by_fold:  # whatever comes, every member's first fold before any second one
        ready.sort(key=lambda task: task.fold)
    waiting = {name: len(part) for name, part in left.items()}
    seconds: dict[str, float] = {}

    def perform(todo: Sequence[FoldTask], *, last: bool) -> None:
        """Run tasks; those of which more is to come are not ``last``."""
        for task, error in executor.run(job, todo, workers, record, seconds):
            if isinstance(error, OutOfTime):
                result.late.setdefault(task.member, str(error))
                record.ended(task.label, error)
                continue
            if error is not None:
                result.fail(task.member, task.label, error)
            elif by_fold:
                begun.add(task.member)
            whole = task in left[task.member]
            if whole or last or error is not None:
                where = " predicted" if task.label in fitted else tasks.where_fitted(job, task)
                record.ended(task.label, error, where=where, loss=held_out_loss(job, task, error))
            waiting[task.member] -= whole
            if not waiting[task.member]:
                finish(task.member)
            if not waiting[task.member] or by_fold:
                tell([*earlier, *(name for name in recipes if name in done | begun - set(result.failed))])

    if not by_fold:
        for after in (False, True):  # a refit and an average are made of what the folds found
            lost = result.failed.keys() | result.late.keys()
            now = [task for task in ready if (task.fold < 0) == after and task.member not in lost]
            perform(now, last=True)
    else:
        perform(first_orders(job, ready), last=False)
        sound = [task for task in ready if task.member not in result.failed]
        if isinstance(executor, Local):  # of another machine's pace this one knows nothing
            seconds |= time_untimed(job, with_first_order(job, sound), seconds, workers)
        second = second_orders(job, sound, seconds, workers)
        for name, share in second.of_rows().items():
            result.second_order[name] = share
            result.late.setdefault(name, f"{share:.0%} of its rows in the second order")
        perform(second.tasks if second.share else [], last=True)
    result.finished += [name for name in recipes if name in done]


class _UnplannedError(Exception):
    """A member whose fitted models cannot be looked at; only where nothing is trained."""

    def __init__(self, reason: ArenaError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _planned(job: Job, name: str, recipe: Recipe) -> list[FoldTask]:
    """The member's tasks. A recipe that was edited ends the run: no other member can know what was meant."""
    try:
        return tasks.plan(job, name, recipe)
    except StaleError:
        raise
    except ArenaError as error:
        if job.train is not None:
            raise
        raise _UnplannedError(error) from error


def _guarded(result: RunResult, member: str, step: Callable[[], T]) -> T | None:
    """Run one step of a member, unless it has failed already; its failure is kept."""
    if member in result.failed:
        return None
    try:
        return step()
    except Exception as error:
        result.fail(member, "", error)
        return None


def _described(error: Exception) -> str:
    return str(error) if isinstance(error, ArenaError) else f"{type(error).__name__}: {error}"


def _tasks_left(job: Job, recipes: Mapping[str, Recipe]) -> list[str]:
    """Labels of what is left to do."""
    left: list[str] = []
    for name, recipe in recipes.items():
        needed = distillation.needed_members(recipe) & recipes.keys()
        waits = any(job.artifacts(one).card() is None for one in needed)
        if waits and job.folds is not None:
            # cannot be planned before its teachers and its start are finished
            alone = tasks.predicts_alone(job.one_model, recipe)
            places = [*range(job.folds.n_folds), *([] if alone is None else [alone])]
            left += [tasks.label_of(name, fold) for fold in places]
        else:
            with contextlib.suppress(_UnplannedError):  # named when its turn comes
                left += [task.label for task in _planned(job, name, recipe) if not tasks.is_done(job, task)]
    return left
