"""Shares of several annotators' votes as single votes, each a row."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..metrics import checked_labels
from ..predictions import Floats

MOST_ANNOTATORS: Final = 12


def as_votes(shares: npt.NDArray[np.floating], n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row and outcome of every vote, (m,) each, rows ascending.

    A row counts as the least number of annotators, up to 12, whose votes have these shares; shares that no
    such number has are rounded to twelfths, the largest remainders first.

    Raises
    ------
    InputError
        Not (n, 3), or a row that is no distribution.
    """
    table: Floats = np.asarray(shares, dtype=np.float64)
    if table.shape != (n, 3):
        raise InputError(f"shares of votes have shape {table.shape}, expected ({n}, 3)")
    bad = ~(
        np.isfinite(table).all(axis=1) & (table >= 0).all(axis=1) & (np.abs(table.sum(axis=1) - 1) < 1e-3)
    )
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"shares of votes in row {row + 1} are {table[row].tolist()}; give shares that sum to 1"
        )
    counts = np.zeros((n, 3), dtype=np.int64)
    open_rows = np.ones(n, dtype=bool)
    for annotators in range(1, MOST_ANNOTATORS + 1):
        votes = np.rint(table * annotators)
        fits = open_rows & (np.abs(votes - table * annotators).max(axis=1) < 0.02)
        fits &= votes.sum(axis=1) == annotators
        counts[fits], open_rows = votes[fits], open_rows & ~fits
    for row in map(int, np.flatnonzero(open_rows)):
        exact = table[row] / table[row].sum() * MOST_ANNOTATORS
        counts[row] = np.floor(exact)
        largest = np.argsort(counts[row] - exact, kind="stable")
        counts[row, largest[: MOST_ANNOTATORS - int(counts[row].sum())]] += 1
    flat = counts.ravel()
    return np.repeat(np.arange(n), counts.sum(axis=1)), np.repeat(np.tile([0, 1, 2], n), flat)


def voted_rows(y: npt.ArrayLike, n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row of each vote and its outcome, (m,) each; ``y`` as for `Panel.fit`.

    Raises
    ------
    InputError
        Votes that are none, or of another number of pairs.
    """
    given = np.asarray(y)
    if given.ndim == 2:
        return as_votes(given, n)
    labels = checked_labels(given)
    if len(labels) != n:
        raise InputError(f"{len(labels)} votes for {n} judged pairs; align the judgements to the votes")
    return np.arange(n), labels
