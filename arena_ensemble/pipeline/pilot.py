"""How long a member takes to predict the test rows here, measured on a few of them.

A session that goes on where an earlier one stopped finds first orders that it has not timed, perhaps on
another card. One fold of each such member predicts some rows spread evenly over the file, which are thrown
away; from the tokens a second that it reaches the whole is estimated.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from ..artifacts.members import MemberArtifacts
from ..battles import Battles
from ..deadline import Clock
from ..predictions import Floats
from ..recipes import Recipe
from .executors import run_tasks
from .job import FoldTask, Job
from .run_progress import LOADING
from .second_orders import with_share

ROWS: Final = 64
"""less than a minute of a 9B model on a T4; a file of fewer than four times as many rows gets no pilot"""
BYTES_PER_TOKEN: Final = 4
_FOLDER: Final = "pilot"


@dataclass(frozen=True)
class PilotArtifacts(MemberArtifacts):
    """A member's fitted folds, and a place for predictions that nobody keeps."""

    @property
    def predictions(self) -> Path:
        """The folder of the pilot's predictions."""
        return self.workspace.oof / self.name / _FOLDER


@dataclass(frozen=True)
class PilotJob(Job):
    """A job of few rows."""

    def artifacts(self, member: str) -> MemberArtifacts:
        """Fitted folds as they are, predictions apart."""
        return PilotArtifacts(self.workspace, member)


class Pace:
    """Takes a run's events; when each task reported progress first and last, and how far it was then."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.first: dict[str, tuple[float, int]] = {}
        self.last: dict[str, tuple[float, int]] = {}

    def __call__(self, label: str, done: float, total: float, text: str) -> None:
        """As :data:`.executors.Event`."""
        if text == LOADING:
            return
        now = self.clock(), int(done)
        self.first.setdefault(label, now)
        self.last[label] = now

    def of_whole(self, label: str, took: float, sample: Floats, size: float) -> float:
        """Seconds of a file of ``size`` tokens.

        Parameters
        ----------
        took
            Seconds of the sample, loading included.
        sample
            (n,) tokens of its rows. The longest are predicted first; between two reports lies no loading.
        """
        (begin, before), (end, after) = self.first.get(label, (0.0, 0)), self.last.get(label, (0.0, 0))
        between = float(np.sort(sample)[::-1][before:after].sum())
        if not between or end <= begin:
            return took * size / float(sample.sum())
        per_token = (end - begin) / between
        return max(0.0, took - per_token * float(sample.sum())) + per_token * size


def time_untimed(
    job: Job, ready: Sequence[FoldTask], seconds: Mapping[str, float], workers: int
) -> dict[str, float]:
    """Label of a task → estimated seconds of one order, for one task of each member that has none.

    Empty for a short file, or where a pilot fails: what is then not known is not planned.

    Parameters
    ----------
    ready
        Tasks whose first order is there.
    seconds
        Label → seconds of first orders that this run timed.
    """
    timed = {task.member for task in ready if task.label in seconds}
    pilots = {task.member: task for task in reversed(ready) if task.member not in timed}
    if not pilots or job.deadline is None or job.test is None or len(job.test) < 4 * ROWS:
        return {}
    rows = np.linspace(0, len(job.test) - 1, ROWS).astype(np.int64)
    few = job.test.take(rows)
    digest = few.digest(outcomes=False)  # so that nothing takes these rows for the file's
    todo = []
    for task in pilots.values():
        first = with_share(task, 0.0)
        assert first.test_key is not None
        todo.append(replace(first, test_key=first.test_key.model_copy(update={"test": digest})))
    values = {name: getattr(job, name) for name in Job.__dataclass_fields__}
    mine, pace, took = PilotJob(**{**values, "test": few}), Pace(job.deadline.clock), dict[str, float]()
    try:
        for _ in run_tasks(mine, todo, workers, pace, took):
            pass
    finally:
        for task in todo:
            shutil.rmtree(mine.artifacts(task.member).predictions, ignore_errors=True)
    whole = {task.label: _tokens(task.recipe, job.test) for task in todo if task.label in took}
    return {
        label: pace.of_whole(label, took[label], tokens[rows], float(tokens.sum()))
        for label, tokens in whole.items()
    }


def _tokens(recipe: Recipe, battles: Battles) -> Floats:
    """(n,) tokens of each row at four bytes each, cut to the recipe's window."""
    turns = [battles.frame[name].to_list() for name in ("prompt", "response_a", "response_b")]
    sizes = [
        sum(len((turn or "").encode("utf-8", "replace")) for text in row for turn in text)
        for row in zip(*turns, strict=True)
    ]
    tokens = np.maximum(1, np.asarray(sizes, dtype=np.float64) / BYTES_PER_TOKEN)
    return np.minimum(tokens, recipe.prompt.max_tokens) if recipe.base else tokens
