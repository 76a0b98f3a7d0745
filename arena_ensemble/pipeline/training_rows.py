"""What a fold's model learns from: the other folds' battles, a teacher's probabilities, extra battles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..artifacts.cards import REFIT
from ..battles import Battles
from ..errors import MemberError
from ..predictions import Floats
from . import distillation
from .extra_data import add_extra_rows
from .job import FoldTask, Job


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a fold's model learns from: battles, weights (n,), a teacher's log-probabilities (n, 3)."""

    battles: Battles
    weights: Floats | None
    soft_targets: Floats | None
    learned_from: dict[str, Any]
    """for the card: the teacher and the extra battles, with what is known of their folds"""


def training_data(job: Job, task: FoldTask) -> TrainingData:
    """The battles of the other folds, with the teacher's probabilities and the extra battles that may join.

    For `REFIT` these are all of them.

    Raises
    ------
    MemberError
        A group is on both sides of the fold: the fold file is broken.
    """
    assert job.train is not None
    assert job.folds is not None
    refit = task.fold == REFIT
    rows = np.arange(len(job.train)) if refit else job.folds.rest(task.fold)
    held = job.folds.rows(task.fold)
    if not refit and np.intersect1d(job.folds.group[held], job.folds.group[rows]).size:
        raise MemberError(f"{task.label}: a group is on both sides of the fold; remove {job.workspace.oof}")
    learned_from: dict[str, Any] = {}
    soft = None
    teacher = distillation.teacher_of(job.workspace, task.recipe, job.train, job.folds)
    if teacher is not None:
        soft, learned_from["teacher"] = teacher.log_probs[rows], teacher.facts
    if job.extra is not None:
        learned_from["extra"] = job.extra.facts(task.fold)
    battles, weights, soft = add_extra_rows(job.extra, job.train.take(rows), task.fold, soft)
    return TrainingData(battles, weights, soft, learned_from)
