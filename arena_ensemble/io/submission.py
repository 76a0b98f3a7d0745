"""The submission: written whole or not at all, checked as Kaggle checks it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ..artifacts import atomic
from ..errors import InputError
from ..predictions import normalised
from .column_names import WINNERS
from .tables import open_table

COLUMNS: Final = ("id", *WINNERS)
WINNER_COLUMNS: Final = ("id", "winner")
_SUM_TOLERANCE: Final = 1e-9
_AGAIN: Final = "write it again from this test file"


def write_submission(
    path: Path,
    ids: pl.Series,
    log_probs: npt.ArrayLike,
    *,
    sample: Path | None = None,
    overwrite: bool = True,
) -> None:
    """Write ``id,winner_model_a,winner_model_b,winner_tie``, in the order of ``ids``.

    Parameters
    ----------
    path
        Where to; an earlier file is replaced only once the new one is whole on disk.
    ids
        (n,), the test file's ids in its order.
    log_probs
        (n, 3), natural log, columns A, B, TIE; rows are normalised once more in float64.
    sample
        Kaggle's ``sample_submission.csv``: its columns and ids must be those written.
    overwrite
        False: refuse to replace a file.

    Raises
    ------
    InputError
        Wrong shape, a NaN, a repeated id, ids that differ from the sample's, or an existing file.
    """
    rows = np.asarray(log_probs, dtype=np.float64)
    if rows.shape != (len(ids), 3):
        raise InputError(
            f"submission: predictions have shape {rows.shape}, expected ({len(ids)}, 3); give one row an id"
        )
    with np.errstate(all="ignore"):
        probs = np.exp(normalised(rows)) if len(rows) else rows
    bad = ~np.isfinite(probs).all(axis=1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"submission row {row + 1} (id {ids[row]}): {rows[row].tolist()} is no distribution; predict it "
            "again"
        )
    probs = probs / probs.sum(axis=1, keepdims=True)
    lines = [[name, *map(repr, values)] for name, values in zip(ids.to_list(), probs.tolist(), strict=True)]
    _write(Path(path), ids, COLUMNS, lines, sample=sample, overwrite=overwrite)


def write_winners(
    path: Path,
    ids: pl.Series,
    log_probs: npt.ArrayLike,
    *,
    sample: Path | None = None,
    overwrite: bool = True,
) -> None:
    """Write ``id,winner`` (``model_a`` or ``model_b``) for a task of two outcomes; A where both are equal.

    Parameters and errors as for :func:`write_submission`; the column of ties is not looked at.
    """
    rows = np.asarray(log_probs, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[0] != len(ids) or rows.shape[1] not in (2, 3):
        raise InputError(
            f"submission: predictions have shape {rows.shape}, expected ({len(ids)}, 2 or 3); give one row "
            "an id"
        )
    bad = np.isnan(rows[:, :2]).any(axis=1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"submission row {row + 1} (id {ids[row]}): {rows[row].tolist()} is no distribution; predict it "
            "again"
        )
    winners = np.where(rows[:, 1] > rows[:, 0], "model_b", "model_a").tolist()
    lines = [list(pair) for pair in zip(ids.to_list(), winners, strict=True)]
    _write(Path(path), ids, WINNER_COLUMNS, lines, sample=sample, overwrite=overwrite)


def _write(
    path: Path,
    ids: pl.Series,
    columns: Sequence[str],
    lines: list[list[Any]],
    *,
    sample: Path | None,
    overwrite: bool,
) -> None:
    if ids.n_unique() != len(ids):
        raise InputError(
            f"submission: the id {ids.filter(ids.is_duplicated())[0]} repeats; give every id once"
        )
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file name for the submission")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; remove it or allow it to be replaced")
    if sample is not None:
        check_sample(Path(sample), ids, columns)
    if not path.parent.is_dir():
        raise InputError(
            f"{path} cannot be written: there is no folder {path.parent}; make it, or name another file"
        )
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    atomic.write_bytes(path, text.getvalue().encode("utf-8"))


def check_sample(
    sample: Path, ids: pl.Series, columns: Sequence[str], *, columns_alone: bool = False
) -> None:
    """Check before any work that a sample submission has these columns and the ids of the test file.

    ``columns_alone`` leaves the ids.

    Raises
    ------
    InputError
        Other columns, a repeated id, or ids that differ.
    """
    table = open_table(sample)
    if table.columns != tuple(columns):
        raise InputError(
            f"{sample} has the columns {', '.join(table.columns)}, the submission has {', '.join(columns)}; "
            "give the sample of this competition"
        )
    if columns_alone:
        return
    wanted = [str(row[0]) for batch in table.batches(["id"]) for row in batch]
    ours = [str(name) for name in ids.to_list()]
    if len(set(wanted)) < len(wanted):
        seen: set[str] = set()
        row = next(k for k, name in enumerate(wanted) if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InputError(
            f"{sample.name} row {row + 1} (id {wanted[row]}): the id repeats; fetch the sample again"
        )
    missing, extra = set(wanted) - set(ours), set(ours) - set(wanted)
    if missing or extra:
        example = (
            f"id {min(missing)} is only in the sample" if missing else f"id {min(extra)} is not in the sample"
        )
        raise InputError(
            f"{sample} holds {len(wanted)} ids, the test file {len(ours)}, and they differ ({example}); "
            "give the sample of this test file"
        )


def check_submission(path: Path, ids: pl.Series) -> None:
    """Read a submission back and check what Kaggle would: columns, ids and order, finite, sums of 1.

    Raises
    ------
    InputError
        The first thing that is wrong, with row and id.
    """
    table = open_table(Path(path))
    if table.columns != COLUMNS:
        raise InputError(
            f"{path} has the columns {', '.join(table.columns)}, expected {', '.join(COLUMNS)}; write it "
            "again"
        )
    expected = [str(name) for name in ids.to_list()]
    number = 0
    for batch in table.batches(COLUMNS):
        for name, *cells in batch:
            number += 1
            where = f"{table.name} row {number} (id {name})"
            if number > len(expected):
                raise InputError(
                    f"{where}: more rows than the test file, which has {len(expected)}; {_AGAIN}"
                )
            if str(name) != expected[number - 1]:
                raise InputError(f"{where}: the test file has id {expected[number - 1]} there; {_AGAIN}")
            try:
                values = [float(cell) for cell in cells]
            except (TypeError, ValueError):
                raise InputError(f"{where}: {cells} are not three numbers; {_AGAIN}") from None
            if not all(0 <= value <= 1 for value in values):
                raise InputError(f"{where}: {cells} are not all between 0 and 1; {_AGAIN}")
            if abs(sum(values) - 1) > _SUM_TOLERANCE:
                raise InputError(f"{where}: the row sums to {sum(values)}, expected 1; {_AGAIN}")
    if number < len(expected):
        raise InputError(f"{path} has {number} rows, the test file has {len(expected)}; {_AGAIN}")
