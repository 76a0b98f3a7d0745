"""Where the (member, fold) tasks run: in this process, or in several processes side by side.

Small members on a CPU gain from one thread each in several processes; a large one wants the whole
machine, or one GPU per process. A member that fails does not stop the others: its error is kept and
reported when everything else is done.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from ..backbones import head_of
from ..backbones.language import hub
from ..errors import ArenaError, MemberError
from ..recipes import Recipe
from . import lessons, oof
from .oof import FoldTask, Job

log = logging.getLogger(__name__)

T = TypeVar("T")
EXPECTED: Final = (ArenaError, ArithmeticError, MemoryError, OSError, RuntimeError, ValueError)
"""What a member may fail with and be named for; anything else is a bug and is told with its traceback."""

Event = Callable[[str, float, float, str], None]
"""``(task label, done, total, text)``: how far a task is; last: FAILED, or DONE and where it ran."""

DONE: Final = "[done]"
FAILED: Final = "[failed]"

_PATIENCE_SECONDS: Final = 10
_SMALL_BASE_BYTES: Final = 500 * 10**6
_BYTES_PER_SMALL_BASE: Final = 4 * 2**30
_THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "POLARS_MAX_THREADS",
)


@dataclass
class Outcome:
    """What a run of many tasks came to."""

    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    alarms: dict[str, list[str]] = field(default_factory=dict)
    bugs: list[Exception] = field(default_factory=list)
    """errors that are no member's fault; they do not stop the others either"""

    def fail(self, member: str, what: str, error: Exception) -> None:
        """Name a member's first error, and a bug with its traceback."""
        bug = not isinstance(error, EXPECTED)
        if bug:
            self.bugs.append(error)
        told = f"{what}: {_described(error)}" if what else _described(error)
        self.failed.setdefault(member, told + (" (a bug)" if bug else ""))
        log.error("%s failed: %s", what or member, _described(error), exc_info=error if bug else None)


def gpu_count() -> int:
    """CUDA devices that this process may use, asked of the driver's tool: torch is not imported."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        # CUDA reads up to the first that is none
        return next((k for k, name in enumerate(names) if name in ("", "-1")), len(names))
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def default_jobs(recipes: dict[str, Recipe]) -> int:
    """Processes side by side: one per GPU; without one, one per core (8 at most) if all members are small.

    Small is what needs no base, or one of at most 500 MB: folds side by side then leave fewer cores
    waiting than one fold on all of them. Each such base is granted 4 GiB of the machine's memory.
    """
    gpus = gpu_count()
    if gpus:
        return gpus
    workers = min(len(os.sched_getaffinity(0)), 8)
    for recipe in recipes.values():
        if not head_of(recipe.backbone).needs_base or recipe.is_tiny:
            continue
        size = hub.weight_bytes(recipe)
        if size is None or size > _SMALL_BASE_BYTES:
            return 1
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        workers = max(1, min(workers, memory // _BYTES_PER_SMALL_BASE))
    return workers


def cross_fit(
    job: Job, recipes: dict[str, Recipe], *, jobs: int | None = None, on_event: Event | None = None
) -> Outcome:
    """Make every member's out-of-fold predictions (and test predictions), doing only what is missing.

    Parameters
    ----------
    job
        Battles, folds and workspace.
    recipes
        Recipe by member name.
    jobs
        Processes side by side; None chooses by :func:`default_jobs`.

    Returns
    -------
    Outcome
        Which members are finished, which failed and why, which raise an alarm.

    Raises
    ------
    StaleError
        An earlier fold was made from something else; raised before any work starts.
    """
    outcome = Outcome()
    for wave in lessons.in_order(recipes):  # teachers before their pupils
        ready = {}
        for name, recipe in wave.items():
            teacher = lessons.teacher_member(recipe)
            if teacher in outcome.failed:
                outcome.failed[name] = f"its teacher {teacher} failed"
            else:
                ready[name] = recipe
        _cross_fit(job, ready, outcome, jobs, on_event)
    return outcome


def _cross_fit(
    job: Job, recipes: dict[str, Recipe], outcome: Outcome, jobs: int | None, on_event: Event | None
) -> None:
    """One wave of members, none of which waits for another."""
    planned = {name: oof.plan(job, name, recipe) for name, recipe in recipes.items()}
    for tasks in planned.values():
        for task in tasks:
            oof.check_not_stale(job.workspace, task)
    todo = {name: [t for t in tasks if not oof.is_done(job, t)] for name, tasks in planned.items()}
    # not cut to what is left to do: a resumed fold gets as many threads as it had, for the same bits
    workers = jobs or default_jobs(recipes)
    waiting = {name: tasks for name, tasks in todo.items() if tasks}
    for name in waiting:
        on_progress = _labelled(on_event, name)
        _guarded(outcome, name, partial(oof.prepare, job, recipes[name], on_progress))
    tasks = [task for name, part in waiting.items() if name not in outcome.failed for task in part]
    finished = (
        _side_by_side(job, tasks, workers, on_event)
        if workers > 1 and tasks
        else _one_by_one(job, tasks, on_event)
    )
    for task, error in finished:
        if error is not None:
            outcome.fail(task.member, task.label, error)
        if on_event is not None:
            on_event(task.label, 1, 1, FAILED if error is not None else DONE + oof.told(job, task))
    for name, recipe in recipes.items():
        card = _guarded(outcome, name, partial(oof.finish_member, job, name, recipe))
        if card is not None:
            outcome.finished.append(name)
            if card.get("alarms"):
                outcome.alarms[name] = card["alarms"]


def _guarded(outcome: Outcome, name: str, action: Callable[[], T]) -> T | None:
    """Run one step of a member that has not failed; keep its error instead of stopping the others."""
    if name in outcome.failed:
        return None
    try:
        return action()
    except Exception as error:
        outcome.fail(name, "", error)
        log.debug("member %s", name, exc_info=True)
        return None


def _described(error: BaseException) -> str:
    return str(error) if isinstance(error, ArenaError) else f"{type(error).__name__}: {error}"


def _labelled(on_event: Event | None, label: str) -> oof.Progress | None:
    if on_event is None:
        return None
    return lambda done, total, text: on_event(label, done, total, text)


Finished = Iterator[tuple[FoldTask, Exception | None]]


def _one_by_one(job: Job, tasks: list[FoldTask], on_event: Event | None) -> Finished:
    lost: set[str] = set()
    for task in tasks:
        if task.member in lost:  # an earlier fold of this member failed: spend no more on it
            continue
        error: Exception | None = None
        try:
            oof.run_fold(job, task, _labelled(on_event, task.label))
        except Exception as caught:
            log.debug("%s", task.label, exc_info=True)
            error = caught
            lost.add(task.member)
        yield task, error


def _side_by_side(job: Job, tasks: list[FoldTask], workers: int, on_event: Event | None) -> Finished:
    orphans: list[FoldTask] = []
    for task, error in _in_pool(job, tasks, workers, on_event):
        if isinstance(error, BrokenProcessPool):
            orphans.append(task)
        else:
            yield task, error
    lost: set[str] = set()
    for task in orphans:  # some process was killed; run what it took along one at a time, to find whose
        if task.member in lost:
            continue
        for same, error in _in_pool(job, [task], workers, on_event):
            if isinstance(error, BrokenProcessPool):
                lost.add(same.member)
                died = MemberError("its process was killed (out of memory?); finished folds are kept")
                yield same, died
            else:
                yield same, error


def _in_pool(job: Job, tasks: list[FoldTask], workers: int, on_event: Event | None) -> Finished:
    context = multiprocessing.get_context("spawn")
    events: Any = None if on_event is None else context.Queue()
    devices: Any = context.Queue()
    gpus = gpu_count()
    for index in range(workers):
        devices.put(index % gpus if gpus else None)
    before = set(multiprocessing.active_children())
    stop = threading.Event()
    listener = threading.Thread(target=_forward, args=(events, on_event, stop), daemon=True)
    listener.start()
    with _threads_per_worker(workers):
        pool = ProcessPoolExecutor(
            min(workers, len(tasks)), mp_context=context, initializer=_start, initargs=(job, events, devices)
        )
        try:
            with _interrupts_are_ours():
                running: dict[Future[None], FoldTask] = {pool.submit(_work, task): task for task in tasks}
            for future in as_completed(running):
                task = running[future]
                if future.cancelled():
                    continue
                error = future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                if error is not None and not isinstance(error, BrokenProcessPool):
                    for other, queued in running.items():  # this member is lost: spend no more on it
                        if queued.member == task.member:
                            other.cancel()
                yield task, error
        except BaseException:
            _end(set(multiprocessing.active_children()) - before)
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            stop.set()
            listener.join(timeout=2)


@contextlib.contextmanager
def _interrupts_are_ours() -> Iterator[None]:
    """Processes started inside never see Ctrl-C, which reaches a whole terminal: we end them ourselves."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def _end(processes: set[Any]) -> None:
    """Ask processes to end, which lets a write in hand finish; insist after a while."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_PATIENCE_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()


@contextlib.contextmanager
def _threads_per_worker(workers: int) -> Iterator[None]:
    """Children inherit their thread count; ours is put back afterwards."""
    threads = str(max(1, len(os.sched_getaffinity(0)) // workers))
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, threads))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _forward(events: Any, on_event: Event | None, stop: threading.Event) -> None:
    """Hand the workers' progress to the caller's callback until told to stop."""
    while on_event is not None and not stop.is_set():
        try:
            on_event(*events.get(timeout=0.2))
        except queue.Empty:
            continue


_worker: dict[str, Any] = {}


def _start(job: Job, events: Any, devices: Any) -> None:
    """Set up one worker process: the run's shared data and, where there are GPUs, one of its own."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    device = devices.get()
    if device is not None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[device] if visible else str(device)
    _worker.update(job=job, events=events)


def _die_with_parent() -> None:
    """End this worker when the parent was killed: it no longer holds the workspace that we write to."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(task: FoldTask) -> None:
    """One task in a worker process; progress goes to the parent's queue."""
    events = _worker["events"]
    on_event = None if events is None else (lambda *event: events.put(event))
    oof.run_fold(_worker["job"], task, _labelled(on_event, task.label))
