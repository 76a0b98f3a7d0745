"""A pool of processes on this machine: a GPU each where there are some, ended with us, a dead one named."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final

from ...backbones.children import end, interrupts_are_ours, script_stays_here
from ...errors import MemberError
from ..job import FoldTask, Job
from ..parts import Part, cut_up, joined
from . import slots, worker
from .events import Event, Finished

THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
WAITING: Final = "OMP_WAIT_POLICY"


def side_by_side(
    job: Job,
    todo: Sequence[FoldTask],
    workers: int,
    on_event: Event | None,
    seconds: dict[str, float] | None,
) -> Finished:
    """Run tasks in so many processes, yielding each as it ends; a killed process costs its member."""
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
    gpus = slots.gpu_count()
    width = max(task.recipe.machine.processes for task in todo)
    for index in range(workers):
        devices.put([(index * width + k) % gpus for k in range(min(width, gpus))])
    split = job.train is None and gpus > 1  # nothing is trained: rows may go to cards that have no fold
    pieces = cut_up(todo, workers) if split else [(task, None) for task in todo]
    before = set(multiprocessing.active_children())
    stop = threading.Event()
    listener = threading.Thread(target=_forward, args=(events, on_event, stop), daemon=True)
    listener.start()
    with threads_per_worker(workers):
        pool = ProcessPoolExecutor(
            min(workers, len(pieces)),
            mp_context=context,
            initializer=worker.start,
            initargs=(job, events, devices),
        )
        try:
            with interrupts_are_ours(), script_stays_here():
                running: dict[Future[float], tuple[FoldTask, Part | None]] = {
                    pool.submit(worker.work, *piece): piece for piece in pieces
                }
            yield from _as_they_end(job, running, seconds)
        except BaseException:
            end(set(multiprocessing.active_children()) - before)
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            stop.set()
            listener.join(timeout=2)


def _as_they_end(
    job: Job, running: dict[Future[float], tuple[FoldTask, Part | None]], seconds: dict[str, float] | None
) -> Finished:
    """Each task when its last part has ended or one has failed; then the rest of its member is cancelled."""
    missing = Counter(task.label for task, _ in running.values())
    ended: set[str] = set()
    for future in as_completed(running):
        task, part = running[future]
        if future.cancelled() or task.label in ended:
            continue
        error = future.exception()
        if error is None:
            missing[task.label] -= 1
            if seconds is not None:
                seconds[task.label] = seconds.get(task.label, 0.0) + future.result()
            if missing[task.label]:
                continue
            if part is not None:
                error = joined(job, task, part.of)
        elif not isinstance(error, Exception):
            raise error
        elif not isinstance(error, BrokenProcessPool):
            for other, (queued, _) in running.items():
                if queued.member == task.member:
                    other.cancel()
        ended.add(task.label)
        yield task, error


@contextlib.contextmanager
def threads_per_worker(workers: int) -> Iterator[None]:
    """Children inherit their thread count; ours is put back afterwards."""
    threads = str(max(1, len(os.sched_getaffinity(0)) // workers))
    before = {name: os.environ.get(name) for name in (*THREAD_VARIABLES, WAITING)}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, threads))
    os.environ.setdefault(WAITING, "passive")  # spinning threads of several workers starve each other
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _forward(events: Any, on_event: Event | None, stop: threading.Event) -> None:
    """Hand the workers' progress to the caller's callback until ``stop`` is set."""
    while on_event is not None and not stop.is_set():
        try:
            on_event(*events.get(timeout=0.2))
        except queue.Empty:
            continue
