"""Files with several rows an id: what they are, the refusal that says so, and the mean over seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ..errors import InputError
from ..predictions import Floats, Predictions, delta_tau, from_delta_tau
from .ids import check_unique

_IN_SAMPLE = (
    "keep for each id the row of the one fold that held it out (a model's predictions of rows that it was "
    "trained on "
    "are no out-of-fold predictions)"
)


def refuse_repeated(file: str, ids: list[Any], fold: npt.NDArray[np.int64] | None, *, oof: bool) -> None:
    """Say what a file with several rows an id is, and what to do.

    Raises
    ------
    InputError
        Always.
    """
    counts = Counter(ids)
    most = max(counts.values())
    if fold is None:
        if most == 2 and sum(count > 1 for count in counts.values()) < max(2, len(counts) // 20):
            check_unique(file, ids)  # a row or two doubled by mistake
        remedy = "average your seeds or repeats (--average, or average=True), or keep one row an id"
        check_unique(
            file,
            ids,
            remedy=f"up to {most} rows an id look like seeds, test-time passes or repeats; {remedy}",
        )
    first = next(name for name, count in counts.items() if count > 1)
    seen: set[Any] = set()
    row = next(row for row, name in enumerate(ids, start=1) if name in seen or seen.add(name))  # type: ignore[func-returns-value]
    where = f"{file} row {row} (id {first}): {len(ids)} rows for {len(counts)} ids"
    if _complete(ids, fold):
        raise InputError(
            f"{where}, a row for every id and fold: each fold's model predicted all rows, as for a test "
            "file; "
            f"{_IN_SAMPLE}"
        )
    raise InputError(
        f"{where} in an out-of-fold file: seeds, test-time passes or repeated cross-validation; average them "
        f"(--average, or average=True) if every row was held out by its model, else {_IN_SAMPLE}"
    )


def _complete(ids: Sequence[Any], fold: npt.NDArray[np.int64] | None) -> bool:
    """Whether there is exactly one row for every id and every fold."""
    if fold is None:
        return False
    folds = len(set(fold.tolist()))
    return folds > 1 and len(set(ids)) * folds == len(ids) == len(set(zip(ids, fold.tolist(), strict=True)))


def averaged_rows(
    file: str,
    ids: pl.Series,
    logs: Floats,
    fold: npt.NDArray[np.int64],
    swap: Floats | None,
    *,
    oof: bool,
) -> Predictions:
    """The mean of the rows of each id in (delta, tau), ids in the order of their first row.

    Raises
    ------
    InputError
        Out-of-fold predictions with a row for every id and fold, most of which are of training rows.
    """
    given = ids.to_list()
    if oof and _complete(given, fold):
        refuse_repeated(file, given, fold, oof=oof)
    names = list(dict.fromkeys(given))
    place = {name: k for k, name in enumerate(names)}
    rows = np.array([place[name] for name in given])
    firsts = np.unique(rows, return_index=True)[1]
    same = fold == fold[firsts][rows]
    kept = np.where(np.bincount(rows, ~same) > 0, -1, fold[firsts])
    shown = _row_means(logs, rows, len(names))
    other = None if swap is None else _row_means(swap, rows, len(names))
    return Predictions(ids[firsts], shown, kept, other)


def _row_means(logs: Floats, rows: npt.NDArray[np.int64], n: int) -> Floats:
    delta, tau = delta_tau(logs)
    count = np.bincount(rows, minlength=n)
    mean = from_delta_tau(
        np.bincount(rows, delta, minlength=n) / count, np.bincount(rows, tau, minlength=n) / count
    )
    return _ties_kept_impossible(mean, np.bincount(rows, logs[:, 2] > -np.inf, minlength=n) == 0)


def _ties_kept_impossible(mean: Floats, impossible: npt.NDArray[np.bool_]) -> Floats:
    """Where no tie can be voted in any of the rows, none can be voted in their mean."""
    if not impossible.any():
        return mean
    mean[impossible, 2] = -np.inf
    mean[impossible] -= np.logaddexp(mean[impossible, 0], mean[impossible, 1])[:, None]
    return mean


def average_seeds(parts: Sequence[Predictions]) -> Predictions:
    """One member from the same model trained with several seeds: their mean in (delta, tau), joined by id.

    The fold is kept where all seeds agree on it, else it is -1.

    Raises
    ------
    InputError
        The parts hold different ids.
    """
    first = parts[0]
    aligned = [part.aligned_to(first.ids, name="another seed") for part in parts]
    if any(len(part) != len(first) for part in parts):
        raise InputError("seeds of one member hold different ids; keep the ids that all of them have")
    rows = np.tile(np.arange(len(first)), len(parts))
    logs = np.concatenate([part.combined().log_probs for part in aligned])
    same = np.all([part.fold == first.fold for part in aligned], axis=0)
    return Predictions(first.ids, _row_means(logs, rows, len(first)), np.where(same, first.fold, -1))
