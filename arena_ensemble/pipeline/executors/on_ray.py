"""Tasks on a Ray cluster: one core task per (member, fold), begun again elsewhere when its machine is lost.

Retries are ours, not Ray's: each is named in the output and on the fold's card, an error in the code costs
none, and a task that was killed for want of memory asks for more and is not repeated for ever.
"""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ...artifacts import atomic
from ...artifacts.parcels import pack, unpack
from ...artifacts.stores import Store
from ...errors import ArenaError, InputError, MemberError, OutOfTime
from ...recipes import Recipe
from ..job import FoldTask, Job
from ..tasks import is_done
from . import ray_worker
from .events import Event, Finished
from .ray_connection import connected, reason
from .ray_needs import Needs, needs
from .ray_worker import Assignment, NotShared, Outcome

log = logging.getLogger(__name__)

RETRIES: Final = 3
_POLL_SECONDS: Final = 0.5
_PATIENCE: Final = (0.0, 1.0, 5.0, 30.0)
"""seconds between looks for what a worker wrote"""


@dataclass(frozen=True)
class OnRay:
    """A Ray cluster that runs already.

    Parameters
    ----------
    address
        ``auto`` (the cluster that this machine is part of), ``HOST:PORT`` of its head, or ``local`` for one
        of this machine alone that ends with this process. Unused where the process is connected already.
    retries
        How often a task is begun again after its machine or its process was lost.
    jobs
        Tasks side by side; None leaves it to the cluster.
    store
        An fsspec URL for what tasks make, where workers do not see the workspace's disk; None: it comes
        back to the driver through Ray.
    apart
        Whether workers leave the workspace alone even where they see it, and use a disk of their own.
    """

    address: str = "auto"
    retries: int = RETRIES
    jobs: int | None = None
    store: str | None = None
    apart: bool = False

    def slots(self, recipes: Iterable[Recipe]) -> int:
        """See :class:`.interface.Executor`; of a cluster that grows, the tasks that it holds now."""
        there = connected(self.address).cluster_resources()
        fits = [
            min(there.get("CPU", 0) // one.cpus, there.get("GPU", 0) // one.gpus if one.gpus else 10**6)
            for one in (needs(recipe, gpus=there.get("GPU", 0) > 0) for recipe in recipes)
        ]
        return max(1, min(round(min(fits, default=1)), self.jobs or 10**6))

    def run(
        self,
        job: Job,
        todo: Sequence[FoldTask],
        slots: int,
        on_event: Event | None,
        seconds: dict[str, float] | None = None,
    ) -> Finished:
        """See :class:`.interface.Executor`.

        Raises
        ------
        DependencyError
            Ray is not installed, or no cluster answers at the address.
        """
        if not todo:
            return
        run = _Run(connected(self.address), self, job, on_event, {} if seconds is None else seconds)
        run.apart = self.apart
        with run.marked():
            yield from run.through(todo)


@dataclass(eq=False)
class _Try:
    """One run of a task, and why those before it ended."""

    task: FoldTask
    """as it was given"""
    asks: Needs
    earlier: tuple[str, ...] = ()
    deaths: int = 0
    """by want of memory"""


@dataclass(eq=False)
class _Run:
    """One call of :meth:`OnRay.run`."""

    ray: Any
    executor: OnRay
    job: Job
    on_event: Event | None
    seconds: dict[str, float]
    lost: set[str] = field(default_factory=set)
    """members that failed"""
    late: set[str] = field(default_factory=set)
    """members of which a task was out of time"""
    apart: bool = False
    """whether a worker was met that does not see the workspace"""
    marker: str = ""

    @contextlib.contextmanager
    def marked(self) -> Iterator[None]:
        """A file in the workspace while the run lasts, by which a worker knows that it sees the same disk."""
        self.marker = f"cache/.ray-{uuid.uuid4().hex}"
        path = self.job.root / self.marker
        if self.executor.apart:
            yield
            return
        atomic.write_bytes(path, b"")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

    def through(self, todo: Sequence[FoldTask]) -> Finished:
        """Submit all tasks and see each to its end."""
        ray = self.ray
        gpus = ray.cluster_resources().get("GPU", 0) > 0
        waiting = [_Try(task, needs(task.recipe, gpus=gpus)) for task in todo]
        for one in {task.member: _Try(task, needs(task.recipe, gpus=gpus)) for task in todo}.values():
            self._warn_if_too_large(one)
        # texts in files of this machine are nothing that every worker sees
        train, test = (None if one is None else one.in_memory() for one in (self.job.train, self.job.test))
        job = replace(self.job, train=train, test=test, deadline=None)
        shared = ray.put(job)
        board = self._board()
        running: dict[Any, _Try] = {}
        try:
            while waiting or running:
                yield from self._hand_out(waiting, running, shared, board)
                done, _ = (
                    ray.wait(list(running), num_returns=1, timeout=_POLL_SECONDS) if running else ([], 0)
                )
                self._tell(board)
                for reference in done:
                    one = running.pop(reference)
                    if one.task.member in self.lost:
                        continue
                    again, error = self._ended(one, reference)
                    if again is not None:
                        waiting.insert(0, again)
                        continue
                    if error is not None:
                        self._give_up(one.task.member, error, running)
                    yield one.task, error
        finally:
            for reference in running:
                with contextlib.suppress(Exception):
                    ray.cancel(reference, force=True)
            if board is not None:
                ray.kill(board)

    def _hand_out(self, waiting: list[_Try], running: dict[Any, _Try], shared: Any, board: Any) -> Finished:
        """Submit what may run now; yields tasks whose results were there already."""
        while waiting and len(running) < (self.executor.jobs or 10**9):
            one = waiting.pop(0)
            if one.task.member in self.lost | self.late:
                continue
            if self._fetched(one.task):
                yield one.task, None
                continue
            running[self._submit(one, shared, board)] = one

    def _give_up(self, member: str, error: Exception, running: Mapping[Any, _Try]) -> None:
        """Spend no more on a member, or nothing new where it only ran out of time."""
        if isinstance(error, OutOfTime):  # its other tasks stop by themselves, with a checkpoint
            self.late.add(member)
            return
        self.lost.add(member)
        for other, queued in running.items():
            if queued.task.member in self.lost:
                self.ray.cancel(other)

    def _board(self) -> Any:
        """The actor that hears of progress, beside the driver, so that it lives as long."""
        if self.on_event is None:
            return None
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self.ray.get_runtime_context().get_node_id(), soft=True)
        actor = self.ray.remote(ray_worker.Board)
        return actor.options(num_cpus=0, scheduling_strategy=here).remote()

    def _tell(self, board: Any) -> None:
        if board is None or self.on_event is None:
            return
        try:
            latest = self.ray.get(board.drain.remote(), timeout=5)
        except self.ray.exceptions.RayError:  # the bars stand still; the work does not depend on them
            return
        for label, (done, total, text) in latest.items():
            self.on_event(label, done, total, text)

    def _submit(self, one: _Try, shared: Any, board: Any) -> Any:
        task = one.task if not one.earlier else replace(one.task, earlier_tries=one.earlier)
        deadline = self.job.deadline
        until = None if deadline is None else time.time() + deadline.remaining()
        parcel = pack(self.job.root, ray_worker.needed(self.job, task)) if self.apart else None
        assignment = Assignment(task, self.marker, parcel, until, self.executor.store)
        options = one.asks.options(task.recipe)
        remote = self.ray.remote(ray_worker.work)
        return remote.options(max_retries=0, scheduling_strategy="SPREAD", **options).remote(
            board, [shared], assignment
        )

    def _fetched(self, task: FoldTask) -> bool:
        """Whether the store had what the task makes, from a run before; it lies in the workspace now."""
        if self.executor.store is None:
            return False
        parcel = Store(self.executor.store).get(ray_worker.digest(task))
        if parcel is None:
            return False
        unpack(self.job.root, parcel)
        return is_done(self.job, task)

    def _ended(self, one: _Try, reference: Any) -> tuple[_Try | None, Exception | None]:
        """What comes after a task has ended: another try of it, or its end with an error or None."""
        exceptions = self.ray.exceptions
        try:
            outcome: Outcome = self.ray.get(reference)
            unpack(self.job.root, outcome.made)
            if not outcome.shared:
                self._fetched(one.task)
            if not self._arrived(one.task):
                raise MemberError(
                    f"{one.task.label}: {outcome.node} wrote it where this machine does not see it; is the "
                    "workspace's disk the same on both?"
                )
        except exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, NotShared):
                log.info("%s: workers do not see %s; its files go and come through Ray", *self._place(one))
                self.apart = True
                return one, None
            log.debug("%s: %s", one.task.label, error)
            return None, cause if isinstance(cause, Exception) else MemberError(str(error)[-500:])
        except exceptions.TaskCancelledError:
            return None, MemberError("it was cancelled; run the same command again")
        except exceptions.RayError as error:
            return self._again(one, error)
        except ArenaError as error:
            return None, error
        self.seconds[one.task.label] = outcome.seconds
        return None, None

    def _arrived(self, task: FoldTask) -> bool:
        """Whether a task's files are in the workspace; a network disk may show them late."""
        for seconds in _PATIENCE:
            time.sleep(seconds)
            if is_done(self.job, task):
                return True
        return False

    def _place(self, one: _Try) -> tuple[str, Path]:
        return one.task.label, self.job.root

    def _again(self, one: _Try, error: Exception) -> tuple[_Try | None, Exception | None]:
        """Another try of a task that lost its machine or its process; or the error that it ends with."""
        exceptions = self.ray.exceptions
        starved = isinstance(error, exceptions.OutOfMemoryError)
        why = reason(exceptions, error)
        earlier, deaths = (*one.earlier, why), one.deaths + starved
        if len(earlier) > self.executor.retries or deaths > 1:
            more = "raise machine.memory_gib in its recipe" if starved else "look at the machine's memory"
            return None, MemberError(
                f"it was begun {len(earlier)} times, each time in vain: {'; '.join(dict.fromkeys(earlier))}; "
                f"{more}, then run the same command again"
            )
        asks = one.asks
        if starved:
            asks = replace(asks, memory=min(2 * asks.memory, self._largest("memory")) or asks.memory)
        log.warning(
            "%s: %s; it is begun again (%d of %d)", one.task.label, why, len(earlier), self.executor.retries
        )
        if self.on_event is not None:
            self.on_event(one.task.label, 0, 1, f"again: {why}")
        again = replace(one, asks=asks, earlier=earlier, deaths=deaths)
        self._warn_if_too_large(again)
        return again, None

    def _largest(self, resource: str) -> int:
        """The most of a resource that one node has."""
        alive = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        return int(max((there.get(resource, 0) for there in alive), default=0))

    def _warn_if_too_large(self, one: _Try) -> None:
        asked = {"CPU": one.asks.cpus, "GPU": one.asks.gpus, "memory": one.asks.memory}
        for resource, amount in asked.items():
            if amount > self._largest(resource):
                log.warning(
                    "%s asks for %s %s and no node of the cluster has as much now; it waits for one",
                    one.task.label, f"{amount:,}", resource,
                )  # fmt: skip


def check_retries(retries: int) -> None:
    """Raise InputError where the number of retries is negative."""
    if retries < 0:
        raise InputError(f"--retries {retries}: expected 0 or more")
