"""What the pipeline's four functions are given, checked and read before any work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np

from ..artifacts.cards import AVERAGED, REFIT
from ..artifacts.workspace import Workspace
from ..battles import Battles
from ..deadline import Deadline
from ..errors import InputError
from ..io import load_predictions
from ..predictions import Floats

MARGIN_SECONDS: Final = 60.0
MARGIN_SHARE: Final = 0.02
EXPERIMENT: Final = "experiment.json"
"""the file by which an experiment's folder is known"""


def real_workspace(place: Workspace | str | Path) -> Workspace:
    """A workspace that is no experiment's.

    Raises
    ------
    InputError
        It is one: its members saw one fold, or a share of the battles.
    """
    found = Workspace.of(place)
    if (found.root / EXPERIMENT).is_file():
        raise InputError(
            f"{found.root} is an experiment (oof --only-fold or --rows), from which nothing is stacked; give "
            "the real --workspace"
        )
    return found


def deadline_of(hours: float | Deadline | None) -> Deadline | None:
    """When work must have stopped: 2 % of the hours before they are over, at least a minute, at most a tenth.

    That margin is for what is written, combined and checked after the last fold. A `Deadline` is taken as it
    is.

    Raises
    ------
    InputError
        The hours are no positive number.
    """
    if hours is None or isinstance(hours, Deadline):
        return hours
    if not (hours > 0 and math.isfinite(hours)):
        raise InputError(f"--hours {hours:g}: expected a number of hours above 0, such as 8.5")
    seconds = 3600 * hours
    margin = min(max(MARGIN_SECONDS, MARGIN_SHARE * seconds), seconds / 10)
    return Deadline.after((seconds - margin) / 3600)


UseFolds = Sequence[int] | Literal["refit", "averaged"] | None


def folds_of(use_folds: UseFolds) -> tuple[int, ...] | None:
    """The folds whose models predict, sorted; `REFIT` or `AVERAGED` alone for one model.

    Raises
    ------
    InputError
        None is given.
    """
    if use_folds is None:
        return None
    if not use_folds:
        raise InputError("use_folds is empty; give at least one fold, or None for all")
    if isinstance(use_folds, str):
        return (REFIT if use_folds == "refit" else AVERAGED,)
    return tuple(sorted(set(use_folds)))


def one_model(refit: bool, average: bool, test: Battles | None) -> int | None:
    """The one model that predicts the test battles in place of the folds', if any.

    Raises
    ------
    InputError
        Both are asked for, or an average without battles to hold it against the folds on.
    """
    if refit and average:
        raise InputError(
            "--refit and --average-folds: give one; the test file is predicted by one model of a member"
        )
    if average and test is None:
        raise InputError(
            "--average-folds needs --test: the average is held against the folds on those battles"
        )
    return REFIT if refit else AVERAGED if average else None


def names_of(given: str | Sequence[str] | None) -> list[str]:
    """Names as a list; a text is one name."""
    return [given] if isinstance(given, str) else list(given or ())


def check_jobs(jobs: int | None) -> None:
    """Raise InputError where ``jobs`` is no number of processes."""
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs {jobs}: expected at least 1 process")


def path_or_none(given: str | Path | None) -> Path | None:
    """A path as such."""
    return None if given is None else Path(given)


def load_truth(path: Path, train: Battles) -> Floats:
    """True log-probabilities of the training battles, joined by id."""
    (predictions,) = (part for parts in load_predictions(path).members.values() for part in parts)
    known = predictions.take(np.flatnonzero(predictions.ids.is_in(train.ids.to_list()).to_numpy()))
    return known.aligned_to(train.ids, name=str(path)).log_probs
