"""Reliability: what happened where an outcome was given a certain probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ..metrics import Labels, standard_error
from ..predictions import Floats

BINS: Final = 8
_ROWS_A_BIN: Final = 30


@dataclass(frozen=True)
class Bin:
    """Rows of alike probability for one outcome: its mean, the outcome's share, its standard error."""

    predicted: float
    happened: float
    se: float
    rows: int


def reliability(
    log_probs: Floats, y: Labels, groups: npt.ArrayLike | None = None, *, bins: int = BINS
) -> tuple[tuple[Bin, ...], ...]:
    """Bins of equal count for each outcome A, B, tie, of log-probabilities (n, 3).

    Fewer bins where rows are few, so that each holds about 30; standard errors are clustered by group.
    """
    codes = None if groups is None else np.asarray(groups)
    count = max(1, min(bins, len(y) // _ROWS_A_BIN))
    found = []
    for outcome in range(3):
        probs, happened = np.exp(log_probs[:, outcome]), (y == outcome).astype(np.float64)
        of_outcome = []
        for rows in np.array_split(np.argsort(probs, kind="stable"), count):
            se = standard_error(happened[rows], None if codes is None else codes[rows])
            of_outcome.append(
                Bin(
                    float(probs[rows].mean()),
                    float(happened[rows].mean()),
                    float(np.nan_to_num(se)),
                    len(rows),
                )
            )
        found.append(tuple(of_outcome))
    return tuple(found)
