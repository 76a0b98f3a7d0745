"""Rows of probabilities, their logarithms or logits → log-probabilities, or the reason why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from ..errors import InputError
from ..predictions import Floats, normalised

_SILENT: Final = 1e-3
"""A row's probabilities may miss 1 by this much (files hold rounded numbers) without a word."""
TOLERANCE: Final = 0.02
"""By this much they may miss it with a note: two decimals, or a softmax in 16 bits."""
_SLACK: Final = 1e-9
_REMEDY: Final = (
    "divide each row by its sum, or, if these are logits, take their softmax (--logits, or logits=True)"
)
_LOG_REMEDY: Final = "write natural logarithms of probabilities that sum to 1 (log-softmax of the logits)"


def as_log_probs(
    file: str,
    ids: Sequence[Any] | pl.Series,
    rows: Floats,
    *,
    logs: bool = False,
    logits: bool = False,
    notes: list[str],
) -> Floats:
    """Checked natural log-probabilities (n, 3); the first bad row is named and all are counted.

    Parameters
    ----------
    rows
        (n, 3), or (n, 2) where no tie can be voted: probabilities; natural logarithms of them (``logs``);
        or logits, any numbers whose softmax is meant (``logits``).
    notes
        Receives a line where rows were normalised by more than rounding.

    Raises
    ------
    InputError
        A row that is no distribution, or logits that are not finite.
    """
    if logits:
        return _softmax(file, ids, rows)
    with np.errstate(all="ignore"):
        probs: Floats = np.exp(rows) if logs else rows
        total: Floats = probs.sum(axis=1)
        in_range = np.all((probs >= 0) & (probs <= 1 + TOLERANCE + _SLACK), axis=1)  # also false for NaN
        off: Floats = np.abs(total - 1)
    tolerance = _SILENT if logs else TOLERANCE + _SLACK
    bad = np.flatnonzero(~(in_range & (off <= tolerance)))
    if len(bad):
        row = int(bad[0])
        shown = "[" + ", ".join(f"{value:.6g}" for value in rows[row]) + "]"
        reason = f"sum to {total[row]:.6g}, expected 1" if in_range[row] else "are not between 0 and 1"
        more = f" ({len(bad)} of {len(rows)} rows are like this)" if len(bad) > 1 else ""
        raise InputError(
            f"{file} row {row + 1} (id {ids[row]}): the {'exponentials of the ' if logs else ''}"
            f"probabilities {shown} {reason}{more}; {_LOG_REMEDY if logs else _REMEDY}"
        )
    loose = off > _SILENT
    if loose.any():
        row = int(np.argmax(off))
        notes.append(
            f"{int(loose.sum())} of {len(rows)} rows did not sum to 1 and were normalised (the farthest "
            "sums to "
            f"{total[row]:.4g}, row {row + 1})"
        )
    with np.errstate(divide="ignore"):
        return normalised(_three(rows if logs else np.log(rows), impossible=-np.inf))


def _softmax(file: str, ids: Sequence[Any] | pl.Series, rows: Floats) -> Floats:
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        row = int(bad[0])
        raise InputError(
            f"{file} row {row + 1} (id {ids[row]}): the logits {rows[row].tolist()} are not finite; "
            "clip them, or give probabilities"
        )
    sums = rows.sum(axis=1)
    if ((rows >= 0) & (rows <= 1)).all() and (np.abs(sums - 1) <= TOLERANCE).all():
        raise InputError(
            f"{file} row 1 (id {ids[0]}): all {len(rows)} rows are probabilities that sum to 1 and no "
            "logits; leave out --logits (logits=True)"
        )
    return normalised(_three(rows, impossible=-np.inf))


def _three(rows: Floats, *, impossible: float) -> Floats:
    """Three columns: where two are given, the tie is impossible."""
    if rows.shape[1] == 3:
        return rows
    return np.column_stack([rows, np.full(len(rows), impossible)])
