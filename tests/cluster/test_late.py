"""A member's folds that run side by side on Ray each stop at the deadline, with a checkpoint of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cluster_runs import FOLDS, TEST, TRAIN

from arena_ensemble.errors import MemberError, OutOfTime
from arena_ensemble.pipeline import tasks
from arena_ensemble.pipeline.executors import on_ray
from arena_ensemble.pipeline.executors.on_ray import OnRay
from arena_ensemble.pipeline.tasks import Job
from arena_ensemble.recipes import recipe_from


class FailedTaskError(Exception):
    """As Ray's ``RayTaskError``."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class OtherError(Exception):
    """Any other of Ray's."""


class Exceptions:
    RayTaskError, TaskCancelledError, RayError = FailedTaskError, OtherError, OtherError


class FakeRay:
    """Two tasks at a time, in which ``error`` is raised."""

    exceptions = Exceptions

    def __init__(self, error: Exception) -> None:
        self.error, self.begun, self.cancelled = error, 0, list[int]()

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **options: {"cluster_resources": {}, "nodes": []}.get(name, self)

    def remote(self, *args: Any) -> Any:
        if len(args) == 1:  # a function; else its call
            return self
        self.begun += 1
        return self.begun

    def wait(self, references: list[int], **options: Any) -> tuple[list[int], list[int]]:
        return references[:1], references[1:]

    def get(self, reference: int) -> Any:
        raise FailedTaskError(self.error)

    def cancel(self, reference: int, **options: Any) -> None:
        self.cancelled.append(reference)


@pytest.mark.parametrize(("error", "cancelled"), [(OutOfTime("late"), []), (MemberError("bad"), [2])])
def test_a_late_fold_does_not_end_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, cancelled: list[int]
) -> None:
    fake = FakeRay(error)
    monkeypatch.setattr(on_ray, "connected", lambda address: fake)
    job = Job(tmp_path, TRAIN, FOLDS, TEST)
    todo = tasks.plan(job, "words", recipe_from({"backbone": "lexical"}, name="words"))
    ended = [(task.fold, found) for task, found in OnRay(jobs=2).run(job, todo, 2, None)]
    assert fake.cancelled == cancelled
    assert fake.begun == 2, "no time, or no trust, is left for the third"
    assert ended == [(0, error), (1, error)][: 2 - len(cancelled)]
