"""May this judge replace an annotator? The alternative annotator test, when several people voted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import false_discovery_control, ttest_1samp

from ..errors import InputError

LEAST_ANNOTATORS: Final = 3
LEAST_ROWS: Final = 30
"""Rows of an annotator that the test of its means needs, as its authors advise."""


@dataclass(frozen=True)
class ReplacementTest:
    """The outcome for one judge."""

    winning_rate: float
    """share of annotators whom the judge is as good as, with the tolerance ``epsilon``"""
    advantage: float
    """mean over annotators of the share of rows on which the judge agrees with the others no less"""
    passes: bool
    """``winning_rate`` is at least one half"""
    p_values: dict[int, float]
    """annotator (column) → p-value before the correction"""
    epsilon: float


def may_replace(
    verdicts: npt.ArrayLike,
    annotations: npt.ArrayLike,
    *,
    epsilon: float = 0.15,
    q: float = 0.05,
) -> ReplacementTest:
    """The alternative annotator test (Calderon, Reichart and Dror 2025, arXiv 2501.10970).

    For each annotator in turn, the judge and the annotator are compared by how many of the *other* annotators
    of a row each agrees with. The hypothesis that the annotator is better by ``epsilon`` or more in share of
    rows is tested by a one-sided t-test, corrected over annotators by Benjamini and Yekutieli.

    Parameters
    ----------
    verdicts
        (n,) the judge's codes 0, 1, 2; -1 where it is missing: such a row is left out.
    annotations
        (n, m) codes of m annotators, -1 where one did not vote.
    epsilon
        What the judge may be worse, as the price of an annotator: .2 for experts, .15 for trained people, .1
        for crowd workers, as the authors propose.

    Raises
    ------
    InputError
        Fewer than three annotators, or none with 30 rows that another annotator voted on as well.
    """
    judge = np.asarray(verdicts, dtype=np.int64)
    people = np.asarray(annotations, dtype=np.int64)
    if people.ndim != 2 or people.shape[0] != len(judge):
        raise InputError(f"annotations have shape {people.shape}, expected ({len(judge)}, annotators)")
    if people.shape[1] < LEAST_ANNOTATORS:
        raise InputError(f"{people.shape[1]} annotators: the test needs three or more; give their columns")
    there = people >= 0
    p_values: dict[int, float] = {}
    advantages = []
    for one in range(people.shape[1]):
        others = there.copy()
        others[:, one] = False
        rows = there[:, one] & others.any(axis=1) & (judge >= 0)
        if rows.sum() < LEAST_ROWS:
            continue
        agrees_judge = ((people == judge[:, None]) & others).sum(axis=1)[rows]
        agrees_person = ((people == people[:, [one]]) & others).sum(axis=1)[rows]
        judge_wins = (agrees_judge >= agrees_person).astype(np.float64)
        person_wins = (agrees_person >= agrees_judge).astype(np.float64)
        advantages.append(float(judge_wins.mean()))
        difference = person_wins - judge_wins
        if np.ptp(difference) == 0:  # no spread, of which a t-test can make nothing
            p_values[one] = 0.0 if difference[0] < epsilon else 1.0
        else:
            p_values[one] = float(ttest_1samp(difference, epsilon, alternative="less").pvalue)
    if not p_values:
        raise InputError(
            f"no annotator has {LEAST_ROWS} rows that another one voted on too; give more votes on them"
        )
    corrected = false_discovery_control(list(p_values.values()), method="by")
    rate = float((corrected < q).mean())
    return ReplacementTest(rate, float(np.mean(advantages)), rate >= 0.5, p_values, epsilon)
