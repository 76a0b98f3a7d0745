"""What the pipeline asks of a place that runs tasks: this machine, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from ...recipes import Recipe
from ..job import FoldTask, Job
from .events import Event, Finished


class Executor(Protocol):
    """Runs (member, fold) tasks. What a task makes lies in the job's workspace when it is yielded."""

    def slots(self, recipes: Iterable[Recipe]) -> int:
        """How many tasks of these members run side by side."""

    def run(
        self,
        job: Job,
        todo: Sequence[FoldTask],
        slots: int,
        on_event: Event | None,
        seconds: dict[str, float] | None = None,
    ) -> Finished:
        """Run tasks, yielding each with its error or None as it ends; after an error its member is left.

        Tasks of a member that failed are not yielded unless they were running. ``seconds`` receives how long
        each that ended well took, under its label.
        """
