"""What a run reports of its tasks while they run, and how one task is run and timed."""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Callable, Iterator

from .. import tasks
from ..job import FoldTask, Job
from ..parts import Part, run_part
from ..tasks import Progress

Event = Callable[[str, float, float, str], None]
"""``(task label, done, total, text)``: how far a task is. The first event is PLANNED, without a label and
with the number of tasks as total; a task's last is FAILED, or DONE and where it ran; see `run_progress`."""

Finished = Iterator[tuple[FoldTask, Exception | None]]
"""Each task with its error or None, as it ends."""


def with_label(on_event: Event | None, label: str) -> Progress | None:
    """A task's own progress callback, from the run's."""
    if on_event is None:
        return None
    return lambda done, total, text: on_event(label, done, total, text)


def timed_fold(job: Job, task: FoldTask, on_progress: Progress | None, part: Part | None = None) -> float:
    """Run a task or a part of one; returns its seconds, of a prediction by the deadline's clock."""
    clock = time.monotonic if job.train is not None or job.deadline is None else job.deadline.clock
    start = clock()
    try:
        if part is None:
            tasks.run_fold(job, task, on_progress)
        else:
            run_part(job, task, part, on_progress)
    except Exception as error:
        release_frames(error)
        raise
    return clock() - start


def release_frames(error: BaseException | None) -> None:
    """Free what the frames of an error hold, and those of its causes: a model that may fill its card.

    Who keeps the error, to name it, must not take the next task's memory. Its lines can still be told.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    gc.collect()  # modules refer to each other in circles
