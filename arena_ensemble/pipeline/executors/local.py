"""Tasks on this machine: in this process one after the other, or in several processes side by side.

Small members on a CPU gain from one thread each in several processes; a large one wants the whole
machine, or one GPU per process.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...backbones import between_folds
from ...recipes import Recipe
from ..job import FoldTask, Job
from .events import Event, Finished, timed_fold, with_label
from .processes import side_by_side
from .slots import default_jobs

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Local:
    """This machine; ``jobs`` processes side by side, None chooses by device and size of the members."""

    jobs: int | None = None

    def slots(self, recipes: Iterable[Recipe]) -> int:
        """See :class:`.interface.Executor`."""
        return self.jobs or default_jobs(recipes)

    def run(
        self,
        job: Job,
        todo: Sequence[FoldTask],
        slots: int,
        on_event: Event | None,
        seconds: dict[str, float] | None = None,
    ) -> Finished:
        """See :class:`.interface.Executor`."""
        return run_tasks(job, todo, slots, on_event, seconds)


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
            yield from side_by_side(job, part, workers, on_event, seconds)
        elif part:
            with between_folds.kept():
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
            took = timed_fold(job, task, with_label(on_event, task.label))
            if seconds is not None:
                seconds[task.label] = took
        except Exception as caught:
            log.debug("%s", task.label, exc_info=True)
            error = caught
            lost.add(task.member)
        yield task, error
