"""Outcomes, groups and folds of the rows that a stacker is fitted on; folds are checked, or made here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..folds.split import stratified_group_folds
from ..metrics import group_codes


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """What a stacker is given of n rows beside their inputs."""

    y: npt.NDArray[np.int64]
    """(n,) outcomes in {0, 1, 2}"""
    groups: npt.NDArray[np.int64]
    """(n,) of 0 … G-1: rows that stay together"""
    folds: npt.NDArray[np.int64]
    """(n,) of 0 … K-1"""

    def __len__(self) -> int:
        return len(self.y)

    @property
    def n_folds(self) -> int:
        """K, of all rows that there are."""
        return int(self.folds.max()) + 1

    def take(self, rows: npt.NDArray[np.int64]) -> Self:
        """Some of the rows, their groups counted anew."""
        groups = group_codes(self.groups[rows], len(rows))
        return type(self)(self.y[rows], groups, self.folds[rows])


def repeats_for(rows: int) -> int:
    """How many sets of folds the choice is made on: four up to 1,000 rows, two up to 2,000, then one."""
    return max(1, min(4, 4000 // rows))


def fold_codes(
    y: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    folds: npt.ArrayLike | None,
    *,
    n_folds: int,
    seed: int,
) -> npt.NDArray[np.int64]:
    """Folds 0 … K-1 of the rows: those given, checked, or stratified ones that keep groups whole."""
    n = len(y)
    if n_folds < 3:
        raise InputError(f"{n_folds} folds: nested cross-fitting needs at least three")
    if folds is None:
        count = int(groups.max()) + 1
        if count < n_folds:
            raise InputError(f"{count} groups cannot fill {n_folds} folds; use fewer folds")
        return group_codes(stratified_group_folds(y, groups, n_folds=n_folds, seed=seed), n)
    codes = group_codes(folds, n)
    if codes.max() < 2:
        raise InputError("nested cross-fitting needs at least three folds")
    pairs = np.unique(groups * (int(codes.max()) + 1) + codes)
    if len(pairs) != int(groups.max()) + 1:
        raise InputError("a group lies in two folds: its rows would train the model that is scored on them")
    return codes
