"""``oof --only-fold K`` and ``--rows SHARE``: cheap experiments, kept apart from the real run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from . import options as o
from .runner import PARTLY, Result
from .training_arguments import data_arguments

if TYPE_CHECKING:
    from ..pipeline.experiment import Trial

OnlyFoldOption = Annotated[
    int | None,
    typer.Option(
        metavar="K",
        help="an experiment: train and score this fold alone, apart from the real run",
        show_default="all folds, the real run",
    ),
]
RowsOption = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="an experiment: a seeded share of the groups of battles, apart from the real run",
        show_default="all, the real run",
    ),
]
_USED = (
    *("models", "format", "folds", "near_duplicates", "seed", "jobs", "skip_unvoted", "offline", "base"),
    "workspace",
)


def experiment(
    data: Path, training: o.TrainingOptions, test: Path | None, only_fold: int | None, rows: float
) -> Result:
    """Train and score one fold, or a share of the battles.

    Raises
    ------
    InputError
        No member is named, or an option is given that an experiment does not take.
    """
    from ..pipeline.experiment import run_experiment
    from .progress import Bars

    unused = [*o.given(training, but=_USED), *(["--test"] if test is not None else [])]
    if unused:
        raise InputError(f"{', '.join(unused)}: not with --only-fold or --rows; leave them out")
    if not training.models:
        raise InputError("--only-fold and --rows need --models NAME,…: name what is tried")
    with Bars() as bars:
        found = run_experiment(
            data,
            o.names(training.models),
            only_fold=only_fold,
            rows=rows,
            on_event=bars,
            **data_arguments(training),
        )
    facts = {
        "experiment": str(found.folder),
        "battles": found.battles,
        "only_fold": only_fold,
        "rows": rows,
        "members": {one.member: dataclasses.asdict(one) for one in found.trials},
        "failed": found.failed,
    }
    lines = [_line(one) for one in found.trials]
    lines += [f"member {name} FAILED: {why}" for name, why in found.failed.items()]
    lines.append(f"{found.folder}: an experiment; nothing of it is stacked, and it can be removed")
    if not found.trials:
        raise InputError("; ".join(lines[:-1]))
    return Result(facts, "\n".join(lines), PARTLY if found.failed else 0)


def _line(one: Trial) -> str:
    text = (
        f"{one.member}: log-loss {one.log_loss:.4f} ± {one.standard_error:.4f} on {one.rows:,} held-out "
        f"rows; the prior {one.prior_log_loss:.4f}, {'better' if one.gain >= 0 else 'WORSE'} by "
        f"{abs(one.gain):.4f} ± {one.gain_error:.4f}"
    )
    if one.real_log_loss is not None:
        text += (
            f"; the real run {one.real_log_loss:.4f} on these rows, this less that "
            f"{one.real_difference:+.4f} ± {one.real_difference_error:.4f}"
        )
    return text
