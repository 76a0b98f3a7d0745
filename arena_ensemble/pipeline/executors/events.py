"""What a run reports of its tasks while they run, and how one task is run and timed."""

from __future__ import annotations

import time
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
    if part is None:
        tasks.run_fold(job, task, on_progress)
    else:
        run_part(job, task, part, on_progress)
    return clock() - start
