"""One fold model's test rows split over several cards, so that none waits where fold models are few.

A part is every n-th row, so that parts are alike in length. Each lies in a folder of its own until all are
there; then they are one table again, in the order of the test file. What a row is given does not depend on
the rows beside it, but for the order of sums in a batch of another width: on a CPU in float32
log-probabilities are equal within 1e-5 (tests/road/test_parts.py); on a card it was not measured.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from ..artifacts import shards
from ..artifacts.cards import fold_name
from ..artifacts.members import MemberArtifacts
from ..artifacts.share_shards import key_of_any_share, load_any_share
from ..errors import ArenaError, ArtifactError
from ..predictions import Predictions
from .job import FoldTask, Job
from .tasks import Progress, run_fold


@dataclass(frozen=True)
class Part:
    """Every ``of``-th test row from row ``index`` on."""

    index: int
    of: int


@dataclass(frozen=True)
class PartArtifacts(MemberArtifacts):
    """A member's artifacts, with the predictions of one part of the test rows beside the others."""

    part: Part

    @property
    def predictions(self) -> Path:
        """The folder of this part's predictions."""
        return self.workspace.oof / self.name / f"part-{self.part.index}-of-{self.part.of}"


@dataclass(frozen=True)
class PartJob(Job):
    """A job of which only a part of the test rows is predicted."""

    part: Part = Part(0, 1)

    def artifacts(self, member: str) -> MemberArtifacts:
        """A member's artifacts, those of this part."""
        return PartArtifacts(self.workspace, member, self.part)


def cut_up(todo: Sequence[FoldTask], slots: int) -> list[tuple[FoldTask, Part | None]]:
    """Tasks for so many cards: the last ones, which would not fill all of them, in parts that do."""
    rest = len(todo) % slots
    of = slots // math.gcd(rest, slots) if rest else 1
    whole = len(todo) - rest
    pieces: list[tuple[FoldTask, Part | None]] = [(task, None) for task in todo[:whole]]
    return pieces + [(task, Part(k, of)) for task in todo[whole:] for k in range(of)]


def run_part(job: Job, task: FoldTask, part: Part, on_progress: Progress | None = None) -> None:
    """Predict a part of the test rows and keep it; what was predicted of them in one order is taken over.

    Raises as :func:`~.tasks.run_fold`.
    """
    assert job.test is not None
    assert task.test_key is not None
    rows = np.arange(part.index, len(job.test), part.of)
    values = {name: getattr(job, name) for name in Job.__dataclass_fields__}
    mine = PartJob(**{**values, "test": job.test.take(rows)}, part=part)
    begun = load_any_share(job.artifacts(task.member), task.test_key)
    found = key_of_any_share(job.artifacts(task.member), task.test_key)
    if begun is not None and found is not None:
        artifacts = mine.artifacts(task.member)
        if key_of_any_share(artifacts, task.test_key) is None:
            artifacts.write_predictions(found, begun.take(rows))
    run_fold(mine, task, on_progress)


def join_parts(job: Job, task: FoldTask, of: int) -> None:
    """Make one table of a fold's parts, in the order of the test file, and remove them.

    Raises
    ------
    ArtifactError
        A part is missing or damaged.
    """
    assert job.test is not None
    assert task.test_key is not None
    places = [PartArtifacts(job.workspace, task.member, Part(k, of)) for k in range(of)]
    parts = [part for place in places for part in place.begun_test([task.test_key])]
    if len(parts) != of:
        raise ArtifactError(f"{task.label}: a part of its rows is missing; run the same command again")
    swapped = [part.swap_log_probs for part in parts]
    joined = Predictions(
        pl.concat([part.ids for part in parts]),
        np.concatenate([part.log_probs for part in parts]),
        np.concatenate([part.fold for part in parts]),
        None if swapped[0] is None else np.concatenate([one for one in swapped if one is not None]),
    )
    ordered = joined.aligned_to(job.test.ids, name=task.label)
    name = fold_name(task.fold)
    check = shards.note_of(places[0].predictions / f"test-{name}.parquet").checks.get(name)
    job.artifacts(task.member).write_predictions(task.test_key, ordered, check)
    for place in places:
        shutil.rmtree(place.predictions, ignore_errors=True)


def joined(job: Job, task: FoldTask, of: int) -> Exception | None:
    """As :func:`join_parts`; returns the error that hinders it, or None."""
    try:
        join_parts(job, task, of)
    except ArenaError as error:
        return error
    return None
