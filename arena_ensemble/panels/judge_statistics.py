"""What can be said of each judge: agreement with votes, biases, gaps, what it has in common with others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import cohen_kappa_score

from ..errors import InputError
from ..judgements import First, Judgements
from ..losses import Floats, group_codes, standard_error
from ..metrics import Labels, checked_labels


@dataclass(frozen=True)
class JudgeStatistics:
    """One judge against the votes; shares are in [0, 1], NaN where nothing is known."""

    name: str
    rows: int
    """with a verdict"""
    missing: float
    """share of rows without one"""
    accuracy: float
    """share of its verdicts that equal the vote"""
    accuracy_se: float
    base_rate: float
    """accuracy of always giving the most frequent vote on the same rows"""
    kappa: float
    """Cohen's kappa with the votes"""
    shares: tuple[float, float, float]
    """of its verdicts A, B, tie"""
    position_bias: float
    """P(prefers the answer shown first) - P(prefers the second), over its verdicts of known order"""
    position_bias_se: float
    flip_rate: float
    """share of rows judged in both orders on which the preferred answer changes with the order"""
    length_bias: float
    """how much more often it prefers the longer answer, a standard deviation of log length ratio, among
    battles of the same vote; 0 is none"""
    length_bias_se: float
    cost: float | None
    """a judgement's, where costs are given"""


def judge_statistics(
    judgements: Judgements,
    y: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    length_difference: npt.ArrayLike | None = None,
) -> list[JudgeStatistics]:
    """Statistics of every judge, in their order.

    Parameters
    ----------
    y
        (n,) votes 0, 1, 2.
    groups
        (n,) rows that err together: errors are clustered.
    length_difference
        (n,) log of the length of answer A over that of answer B.
    """
    labels = checked_labels(y)
    if len(labels) != len(judgements):
        raise InputError(f"{len(labels)} votes for {len(judgements)} pairs; give one vote a pair")
    codes = group_codes(groups, len(labels))
    length = None if length_difference is None else np.asarray(length_difference, dtype=np.float64)
    return [
        _statistics(name, column, judgements.costs.get(name), labels, codes, length)
        for name, column in judgements.columns.items()
    ]


def _statistics(
    name: str,
    column: Any,
    cost: Any,
    y: Labels,
    codes: npt.NDArray[np.int64],
    length: Floats | None,
) -> JudgeStatistics:
    verdicts = np.asarray(column.verdicts, dtype=np.int64)
    there = verdicts >= 0
    nothing = float("nan")
    if not there.any():
        unknown = (nothing,) * 3
        lacking = (nothing,) * 5
        return JudgeStatistics(name, 0, 1.0, *unknown, nothing, unknown, *lacking, _mean_cost(cost))
    given, votes = verdicts[there], y[there]
    right = (given == votes).astype(np.float64)
    counts = np.bincount(given, minlength=3) / len(given)
    kappa = nothing
    if len(np.unique(np.concatenate([given, votes]))) > 1:
        kappa = float(cohen_kappa_score(votes, given))
    position, position_se = _position_bias(column, codes)
    slope, slope_se = (nothing, nothing) if length is None else _length_bias(verdicts, y, length, codes)
    return JudgeStatistics(
        name,
        int(there.sum()),
        1 - float(there.mean()),
        float(right.mean()),
        standard_error(right, codes[there]),
        float(np.bincount(votes).max() / len(votes)),
        kappa,
        (float(counts[0]), float(counts[1]), float(counts[2])),
        position,
        position_se,
        _flip_rate(column),
        slope,
        slope_se,
        _mean_cost(cost),
    )


def _mean_cost(cost: Any) -> float | None:
    if cost is None:
        return None
    found = np.asarray(cost, dtype=np.float64)
    return float(np.nanmean(found)) if np.isfinite(found).any() else None


def _position_bias(column: Any, codes: npt.NDArray[np.int64]) -> tuple[float, float]:
    slots = np.asarray(column.slot_verdicts, dtype=np.int64)
    values, where = [], []
    for slot, first, second in ((int(First.A), 0, 1), (int(First.B), 1, 0)):
        there = slots[:, slot] >= 0
        signed = (slots[there, slot] == first).astype(np.float64) - (slots[there, slot] == second)
        values.append(signed)
        where.append(codes[there])
    lean, rows = np.concatenate(values), np.concatenate(where)
    if not len(lean):
        return float("nan"), float("nan")
    both = int((slots[:, 0] >= 0).sum()), int((slots[:, 1] >= 0).sum())
    if min(both) == 0:  # of one order, quality and position cannot be told apart
        return float("nan"), float("nan")
    return float((values[0].mean() + values[1].mean()) / 2), standard_error(lean, rows)


def _flip_rate(column: Any) -> float:
    slots = np.asarray(column.slot_verdicts, dtype=np.int64)
    both = (slots[:, int(First.A)] >= 0) & (slots[:, int(First.B)] >= 0)
    return float((slots[both, 0] != slots[both, 1]).mean()) if both.any() else float("nan")


def _length_bias(
    verdicts: npt.NDArray[np.int64], y: Labels, length: Floats, codes: npt.NDArray[np.int64]
) -> tuple[float, float]:
    """Least-squares slope of the signed verdict on standardised length, within battles of the same vote."""
    there = (verdicts >= 0) & np.isfinite(length)
    signed = (verdicts[there] == 0).astype(np.float64) - (verdicts[there] == 1)
    x, votes = length[there] / (length[there].std() or 1.0), y[there]
    for outcome in range(3):
        rows = votes == outcome
        if rows.any():
            signed[rows] -= signed[rows].mean()
            x[rows] -= x[rows].mean()
    square = float(x @ x)
    if square == 0:
        return float("nan"), float("nan")
    slope = float(x @ signed) / square
    influence = x * (signed - slope * x)
    summed = np.bincount(codes[there], weights=influence)
    return slope, float(np.sqrt((summed**2).sum())) / square


def agreement(judgements: Judgements) -> Floats:
    """(J, J) share of rows on which two judges give the same verdict, of those that both judged."""
    table = np.stack([np.asarray(one.verdicts, dtype=np.int64) for one in judgements.columns.values()])
    found = np.full((len(table), len(table)), np.nan)
    for i, left in enumerate(table):
        for j, right in enumerate(table):
            both = (left >= 0) & (right >= 0)
            if both.any():
                found[i, j] = float((left[both] == right[both]).mean())
    return found
