"""The options of a verb that trains as arguments of the pipeline's functions."""

from __future__ import annotations

from typing import Any

from . import option_texts
from . import options as o


def training_arguments(training: o.TrainingOptions) -> dict[str, Any]:
    """Arguments of `train_members` that `plan_run` takes too: a dry run plans what would be run.

    Raises
    ------
    InputError
        An option's text cannot be read.
    """
    return {
        **data_arguments(training),
        "extra": o.extra_files(training.extra, training.pseudo),
        "retrain": o.renamed(training.retrain, training.remake, "--retrain", "--remake"),
        "hours": training.hours,
        "refit": training.refit,
        "average_folds": training.average_folds,
    }


def data_arguments(training: o.TrainingOptions) -> dict[str, Any]:
    """Those of them that an experiment takes too.

    Raises
    ------
    InputError
        An option's text cannot be read.
    """
    from ..folds import NEAR_DUPLICATES

    return {
        "workspace": training.workspace,
        "format": training.format,
        "n_folds": training.folds,
        "seed": training.seed,
        "near_duplicates": o.share_or_off(training.near_duplicates, NEAR_DUPLICATES),
        "skip_unvoted": training.skip_unvoted,
        "jobs": training.jobs,
        "offline": training.offline,
        "bases": option_texts.bases(training.base),
    }
