"""One wave of a run: members none of which waits for another, each finished when its last task ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from ..artifacts.share_shards import key_of_any_share
from ..errors import ArenaError, OutOfTime, StaleError
from ..planning.costs import MemberCost
from ..recipes import Recipe
from . import tasks
from .executors import Executor, Local, with_label
from .finishing import finish_member, held_out_loss
from .job import FoldTask, Job
from .pilot import time_untimed
from .recording import Recorder
from .run_costs import fitting_workers, in_order
from .run_result import EXPECTED, RunResult, described
from .second_orders import asks_twice, first_orders, outlook, second_orders, with_first_order

log = logging.getLogger(__name__)

T = TypeVar("T")
Finished = Callable[[Sequence[str]], None]
"""``on_finished(members)``: all members finished so far; first before the work, then with each that ends."""


class UnplannedError(Exception):
    """A member whose fitted models cannot be looked at; only where nothing is trained."""

    def __init__(self, reason: ArenaError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def planned_tasks(job: Job, name: str, recipe: Recipe) -> list[FoldTask]:
    """The member's tasks. A recipe that was edited ends the run: no other member can know what was meant.

    Raises
    ------
    StaleError
        A fold was made from something else.
    UnplannedError
        Nothing is trained, and what is fitted of the member cannot be looked at.
    """
    try:
        return tasks.plan(job, name, recipe)
    except StaleError:
        raise
    except ArenaError as error:
        if job.train is not None:
            raise
        raise UnplannedError(error) from error


class Wave:
    """The tasks that are left of some members, the cheap members first where that costs little.

    Parameters
    ----------
    result
        Where members that are finished, failed or late are added.
    tell
        Hears of all members finished so far, of earlier waves too.
    """

    def __init__(
        self,
        job: Job,
        recipes: Mapping[str, Recipe],
        result: RunResult,
        executor: Executor,
        record: Recorder,
        tell: Finished,
    ) -> None:
        self.job, self.recipes, self.result = job, recipes, result
        self.executor, self.record, self.tell = executor, record, tell
        self.planned: dict[str, list[FoldTask]] = {}
        for name, recipe in recipes.items():
            try:
                self.planned[name] = planned_tasks(job, name, recipe)
            except UnplannedError as refusal:
                result.unplanned[name] = refusal.reason
                result.fail(name, "", refusal.reason)
        self.fitted = {
            task.label
            for part in self.planned.values()
            for task in part
            if job.artifacts(task.member).check_current(task.fit_key)
        }
        self.left = {
            name: [task for task in part if not tasks.is_done(job, task)]
            for name, part in self.planned.items()
        }
        self.waiting = {name: len(part) for name, part in self.left.items()}
        self.earlier, self.done, self.begun = list(result.finished), set[str](), set[str]()
        self.by_fold = job.train is None and job.deadline is not None
        """whatever comes, every member's first fold before any second one"""
        self.firsts: list[FoldTask] = []
        """the tasks of the first order, until it was said what the time holds"""
        self.broken: dict[str, dict[str, Exception]] = {}
        """member → the label of each of its tasks that failed and cost no more than its fold"""
        self.seconds: dict[str, float] = {}

    def run(self, costs: Mapping[str, MemberCost]) -> None:
        """Do what is left."""
        for name in [name for name, part in self.left.items() if part]:
            prepare = partial(tasks.prepare, self.job, self.recipes[name], with_label(self.record, name))
            self._guarded(name, prepare)
        for name in [name for name, part in self.left.items() if not part]:
            self._finish(name)
        if self.done:
            self._tell(self.done)
        # not cut to what is left to do: a resumed fold gets as many threads as it had, for the same bits
        workers = self.executor.slots(self.recipes.values())
        if isinstance(self.executor, Local) and self.executor.jobs is None:
            workers = fitting_workers(workers, self.recipes, costs)
        self.record.workers(workers)
        failed = self.result.failed
        ready = [task for name, part in self.left.items() if name not in failed for task in part]
        ready = in_order(self.job, ready, costs, self.fitted, workers)
        if self.by_fold:
            self._run_by_fold(sorted(ready, key=lambda task: task.fold), workers)
        else:
            self._run_by_member(ready, workers)
        self._say_broken()
        self.result.finished += [name for name in self.recipes if name in self.done]

    def _run_by_member(self, ready: Sequence[FoldTask], workers: int) -> None:
        for after in (False, True):  # a refit and an average are made of what the folds found
            lost = self.result.failed.keys() | self.result.late.keys()
            now = [task for task in ready if (task.fold < 0) == after and task.member not in lost]
            self._perform(now, workers, last=True)

    def _run_by_fold(self, ready: Sequence[FoldTask], workers: int) -> None:
        job, result = self.job, self.result
        self.firsts = first_orders(job, ready)
        self._perform(self.firsts, workers, last=False)
        sound = [task for task in ready if task.member not in result.failed]
        if isinstance(self.executor, Local):  # of another machine's pace this one knows nothing
            self.seconds |= time_untimed(job, with_first_order(job, sound), self.seconds, workers)
        second = second_orders(job, sound, self.seconds, workers)
        for name, share in second.of_rows().items():
            result.second_order[name] = share
            result.late.setdefault(name, f"{share:.0%} of its rows in the second order")
        self._perform(second.tasks if second.share else [], workers, last=True)

    def _perform(self, todo: Sequence[FoldTask], workers: int, *, last: bool) -> None:
        """Run tasks; those of which more is to come are not ``last``."""
        while todo:
            ended, go_on = set[str](), set[str]()
            for task, error in self.executor.run(self.job, todo, workers, self.record, self.seconds):
                ended.add(task.label)
                self._say_outlook(workers)
                if self._ended(task, error, last=last):
                    go_on.add(task.member)
            # of a member of which a task fails the executor leaves the rest
            todo = [task for task in todo if task.member in go_on and task.label not in ended]

    def _ended(self, task: FoldTask, error: Exception | None, *, last: bool) -> bool:
        """Take in a task that ended; whether it failed and the rest of its member is to run all the same."""
        result, record = self.result, self.record
        if isinstance(error, OutOfTime):
            result.late.setdefault(task.member, str(error))
            record.ended(task.label, error)
            return False
        goes_on = error is not None and self._costs_its_fold(task, error)
        if error is None and self.by_fold:
            self.begun.add(task.member)
        whole = task in self.left[task.member]
        if whole or last or error is not None:
            where = " predicted" if task.label in self.fitted else tasks.where_fitted(self.job, task)
            loss = held_out_loss(self.job, task, error)
            record.ended(task.label, error, where=where, loss=loss, alone=goes_on)
        self.waiting[task.member] -= whole and error is None
        if not self.waiting[task.member]:
            self._finish(task.member)
        if not self.waiting[task.member] or self.by_fold:
            self._tell(self.done | self.begun - set(result.failed))
        return goes_on

    def _say_outlook(self, workers: int) -> None:
        """Say what the time holds, once, when a fold of every member has shown its pace."""
        first = [task for task in self.firsts if task.member not in self.result.failed]
        timed: dict[str, list[float]] = {}
        for task in first:
            if task.label in self.seconds:
                timed.setdefault(task.member, []).append(self.seconds[task.label])
        if (
            self.job.deadline is None
            or not first
            or self.result.late
            or any(task.member not in timed for task in first)
        ):
            return
        left = [task for task in first if task.label not in self.seconds]
        remaining = self.job.deadline.remaining()
        mean = {name: sum(each) / len(each) for name, each in timed.items()}
        asked = [task for task in map(self._as_asked, first) if asks_twice(task)]
        what = outlook(left, len(first) - len(left), mean, remaining, workers, asked)
        if what:
            log.info("%.0f minutes are left: at this pace they hold %s", remaining / 60, what)
        self.firsts = []

    def _as_asked(self, task: FoldTask) -> FoldTask:
        """A task of the first order alone as its recipe asks for it."""
        return next(one for one in self.planned[task.member] if one.label == task.label)

    def _costs_its_fold(self, task: FoldTask, error: Exception) -> bool:
        """Note an error. It costs a prediction by several folds one, unless two fail and none is there."""
        member, result = task.member, self.result
        if self.job.train is None and len(self.planned[member]) > 1 and isinstance(error, EXPECTED):
            broken = self.broken.setdefault(member, {})
            broken[task.label] = error
            if len(broken) == 1 or self._predicted(member):
                log.error("%s failed: %s", task.label, described(error))
                return True
        result.fail(member, task.label, error)
        return False

    def _predicted(self, member: str) -> bool:
        """Whether a fold of the member has predicted the test rows, in one order at least."""
        artifacts = self.job.artifacts(member)
        keys = [task.test_key for task in self.planned[member] if task.test_key is not None]
        return any(key_of_any_share(artifacts, key) is not None for key in keys)

    def _say_broken(self) -> None:
        """Name the members that predict with fewer folds, or with none."""
        for member, broken in self.broken.items():
            if member in self.result.failed:
                continue
            if self._predicted(member):
                each = (f"{label.removeprefix(f'{member} ')}: {described(e)}" for label, e in broken.items())
                self.result.partly[member] = "; ".join(each)
            else:
                self.result.fail(member, *next(iter(broken.items())))

    def _finish(self, name: str) -> None:
        card = self._guarded(name, partial(finish_member, self.job, self.planned[name]))
        if card is not None and card.alarms:
            self.result.alarms[name] = list(card.alarms)
        if name not in self.result.failed:
            self.done.add(name)
            self.record.member_ended(name, card)

    def _tell(self, members: set[str]) -> None:
        self.tell([*self.earlier, *(name for name in self.recipes if name in members)])

    def _guarded(self, member: str, step: Callable[[], T]) -> T | None:
        """Run one step of a member, unless it has failed already; its failure is kept."""
        if member in self.result.failed:
            return None
        try:
            return step()
        except Exception as error:
            self.result.fail(member, "", error)
            return None
