"""Where the (member, fold) tasks run: in this process, or in several processes side by side.

Small members on a CPU gain from one thread each in several processes; a large one wants the whole
machine, or one GPU per process.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final

from ..backbones import head_of
from ..backbones.language import hub
from ..errors import MemberError
from ..recipes import Recipe
from . import tasks
from .parts import Part, cut_up, joined, run_part
from .tasks import FoldTask, Job, Progress

log = logging.getLogger(__name__)

Event = Callable[[str, float, float, str], None]
"""``(task label, done, total, text)``: how far a task is. The first event is PLANNED, without a label and
with the number of tasks as total; a task's last is FAILED, or DONE and where it ran."""

PLANNED: Final = "[planned]"
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
_WAITING: Final = "OMP_WAIT_POLICY"

Finished = Iterator[tuple[FoldTask, Exception | None]]


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


def default_jobs(recipes: Iterable[Recipe]) -> int:
    """Processes side by side: one per GPU; without one, one per core (8 at most) if all members are small.

    Small is what needs no base, or one of at most 500 MB: folds side by side then leave fewer cores
    waiting than one fold on all of them. Each such base is granted 4 GiB of the machine's memory.
    """
    gpus = gpu_count()
    if gpus:
        return gpus
    workers = min(len(os.sched_getaffinity(0)), 8)
    for recipe in recipes:
        if not head_of(recipe.backbone).needs_base or recipe.is_tiny:
            continue
        size = hub.weight_bytes(recipe)
        if size is None or size > _SMALL_BASE_BYTES:
            return 1
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        workers = max(1, min(workers, memory // _BYTES_PER_SMALL_BASE))
    return workers


def cheapest_first(recipes: Mapping[str, Recipe]) -> list[str]:
    """Members, those without a base first, then by the size of their base: so that some are finished early.

    The order changes no number, only which members are there when a run ends before its time.
    """

    def cost(name: str) -> tuple[int, int]:
        recipe = recipes[name]
        if not head_of(recipe.backbone).needs_base:
            return 0, 0
        size = 0 if recipe.is_tiny else hub.weight_bytes(recipe)
        return (1, size) if size is not None else (2, 0)

    return sorted(recipes, key=cost)


def with_label(on_event: Event | None, label: str) -> Progress | None:
    """A task's own progress callback, from the run's."""
    if on_event is None:
        return None
    return lambda done, total, text: on_event(label, done, total, text)


def run_tasks(
    job: Job,
    todo: Sequence[FoldTask],
    workers: int,
    on_event: Event | None,
    seconds: dict[str, float] | None = None,
) -> Finished:
    """Run tasks, yielding each with its error or None as it ends; after an error its member is left.

    Tasks of a member that failed are not yielded unless they were running. ``seconds`` receives how long each
    that ended well took, under its label. Members with ``loader = "unsloth"`` get processes of their
    own, after the others: its patches must come before transformers, and change what other members compute.
    """
    for patched in (False, True):
        part = [task for task in todo if (task.recipe.loader == "unsloth") == patched]
        if part and (patched or workers > 1):
            yield from _side_by_side(job, part, workers, on_event, seconds)
        else:
            yield from _one_by_one(job, part, on_event, seconds)


def _one_by_one(
    job: Job, todo: Sequence[FoldTask], on_event: Event | None, seconds: dict[str, float] | None
) -> Finished:
    lost: set[str] = set()
    for task in todo:
        if task.member in lost:  # an earlier fold of this member failed: spend no more on it
            continue
        error: Exception | None = None
        try:
            took = _timed_fold(job, task, with_label(on_event, task.label))
            if seconds is not None:
                seconds[task.label] = took
        except Exception as caught:
            log.debug("%s", task.label, exc_info=True)
            error = caught
            lost.add(task.member)
        yield task, error


def _timed_fold(job: Job, task: FoldTask, on_progress: Progress | None, part: Part | None = None) -> float:
    """Run a task or a part of one; returns its seconds, of a prediction by the deadline's clock."""
    clock = time.monotonic if job.train is not None or job.deadline is None else job.deadline.clock
    start = clock()
    if part is None:
        tasks.run_fold(job, task, on_progress)
    else:
        run_part(job, task, part, on_progress)
    return clock() - start


def _side_by_side(
    job: Job,
    todo: Sequence[FoldTask],
    workers: int,
    on_event: Event | None,
    seconds: dict[str, float] | None,
) -> Finished:
    orphans: list[FoldTask] = []
    for task, error in _in_pool(job, todo, workers, on_event, seconds):
        if isinstance(error, BrokenProcessPool):
            orphans.append(task)
        else:
            yield task, error
    lost: set[str] = set()
    for task in orphans:  # some process was killed; run what it took along one at a time, to find whose
        if task.member in lost:
            continue
        for same, error in _in_pool(job, [task], workers, on_event, seconds):
            if isinstance(error, BrokenProcessPool):
                lost.add(same.member)
                died = MemberError("its process was killed (out of memory?); finished folds are kept")
                yield same, died
            else:
                yield same, error


def _in_pool(
    job: Job,
    todo: Sequence[FoldTask],
    workers: int,
    on_event: Event | None,
    seconds: dict[str, float] | None,
) -> Finished:
    context = multiprocessing.get_context("spawn")
    events: Any = None if on_event is None else context.Queue()
    devices: Any = context.Queue()
    gpus = gpu_count()
    for index in range(workers):
        devices.put(index % gpus if gpus else None)
    split = job.train is None and gpus > 1  # nothing is trained: rows may go to cards that have no fold
    pieces = cut_up(todo, workers) if split else [(task, None) for task in todo]
    missing = Counter(task.label for task, _ in pieces)
    ended: set[str] = set()
    before = set(multiprocessing.active_children())
    stop = threading.Event()
    listener = threading.Thread(target=_forward, args=(events, on_event, stop), daemon=True)
    listener.start()
    with _threads_per_worker(workers):
        pool = ProcessPoolExecutor(
            min(workers, len(pieces)), mp_context=context, initializer=_start, initargs=(job, events, devices)
        )
        try:
            with _interrupts_are_ours(), _script_stays_here():
                running: dict[Future[float], tuple[FoldTask, Part | None]] = {
                    pool.submit(_work, *piece): piece for piece in pieces
                }
            for future in as_completed(running):
                task, part = running[future]
                if future.cancelled() or task.label in ended:
                    continue
                error = future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                if error is not None and not isinstance(error, BrokenProcessPool):
                    for other, (queued, _) in running.items():  # this member is lost: spend no more on it
                        if queued.member == task.member:
                            other.cancel()
                if error is None:
                    missing[task.label] -= 1
                    if seconds is not None:
                        seconds[task.label] = seconds.get(task.label, 0.0) + future.result()
                    if missing[task.label]:
                        continue
                    if part is not None:
                        error = joined(job, task, part.of)
                ended.add(task.label)
                yield task, error
        except BaseException:
            _end(set(multiprocessing.active_children()) - before)
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            stop.set()
            listener.join(timeout=2)


@contextlib.contextmanager
def _script_stays_here() -> Iterator[None]:
    """Processes started inside do not run the caller's script again.

    A spawned process imports the parent's main script, so that one without ``if __name__ == "__main__":``
    would start its own training in every worker. Nothing of a script is needed there. A main module that was
    run by name (``python -m``) is imported as usual.
    """
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    if getattr(main, "__spec__", None) is not None or path is None:
        yield
        return
    del main.__file__
    try:
        yield
    finally:
        main.__file__ = path


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
    before = {name: os.environ.get(name) for name in (*_THREAD_VARIABLES, _WAITING)}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, threads))
    os.environ.setdefault(_WAITING, "passive")  # spinning threads of several workers starve each other
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


def _work(task: FoldTask, part: Part | None) -> float:
    """One task in a worker process, and its seconds; the parent gets its (or the first part's) progress."""
    if task.recipe.loader == "unsloth":
        from ..backbones.language.unsloth_loader import import_unsloth  # torch: in workers alone

        import_unsloth()  # before anything imports transformers
    events = _worker["events"]
    on_event = None if events is None else (lambda *event: events.put(event))
    tell = with_label(on_event if part is None or part.index == 0 else None, task.label)
    return _timed_fold(_worker["job"], task, tell, part)
