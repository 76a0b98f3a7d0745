"""Do a member's columns and rows mean what they say? Checks of predictions that another tool wrote.

Each check compares what is given with what an exchange of columns or a shuffle of rows would give, and is
silent unless the difference is clear. None of them needs to know how the predictions were made.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, ks_2samp, rankdata

from ..metrics import Labels, group_codes, row_losses, standard_error
from ..predictions import LOG_FLOOR, Floats

_KS_SURE: Final = 3.0
"""Kolmogorov's K of the given order, above which it is refused: a chance of 3e-8 for equal samples."""
_ODD_SURE: Final = 5.0
_MIN_ROWS: Final = 20
_LEAST_CLAIM: Final = 1e-6
_CONSTANT_SHARE: Final = 0.99
_CEILING: Final = {False: 0.97, True: 0.9}
"""Accuracy that no member reaches on fresh votes, without ties and with them. The best published models
reach about .8 where ties can be voted, and .95 on pairs chosen to be easy."""

Order = tuple[int, int, int]


def best_column_order(
    log_probs: Floats, y: Labels, groups: npt.ArrayLike | None = None, *, sure: float = 4.0
) -> Order | None:
    """The order of columns that fits the outcomes clearly better than the one given, or None.

    ``log_probs[:, order]`` is then what the file should have held. Clearly: by more than ``sure``
    paired standard errors, so that a member that knows nothing is never blamed.

    Parameters
    ----------
    log_probs, y
        (n, 3) natural-log probabilities and (n,) outcomes.
    groups
        (n,) clusters of the standard errors.
    """
    given = row_losses(log_probs, y)
    best, found = 0.0, None
    for order in itertools.permutations(range(3)):
        difference = given - row_losses(log_probs[:, list(order)], y)
        gain = float(difference.mean())
        if gain > best and gain > sure * standard_error(difference, groups):
            best, found = gain, order
    return found  # type: ignore[return-value]  # permutations of three are triples


def best_test_column_order(
    oof_log_probs: Floats,
    test_log_probs: Floats,
    oof_groups: npt.ArrayLike | None = None,
    test_groups: npt.ArrayLike | None = None,
) -> Order | None:
    """The order of a test file's columns that fits the member's out-of-fold predictions, or None.

    Compares distributions only: row-centred log-probabilities, divided by their own root mean square
    (which no order of columns changes, and which takes out that averages of folds are less sharp), column
    by column with the two-sample Kolmogorov-Smirnov statistic D, its largest over the columns. An order is
    returned if the given one is refused (D sqrt(nm/(n+m)) > 3; rows of one group count as one) and the
    other one's D is less than half.

    *Sees* a tie column in another place, as soon as ties are distributed unlike A and B; A and B exchanged
    where the member prefers one side on average, by far more than the sampling noise. *Cannot see* A and B
    exchanged where its predictions are alike for both sides, which good members' nearly are: see
    `exchanged_against`. Test battles that differ in kind from the training's raise no alarm unless they
    resemble the exchanged columns.

    Parameters
    ----------
    oof_log_probs, test_log_probs
        (n, 3) and (m, 3) natural-log probabilities of one member.
    oof_groups, test_groups
        (n,) and (m,) groups of the rows.
    """
    n, m = _count(oof_groups, len(oof_log_probs)), _count(test_groups, len(test_log_probs))
    if min(n, m) < _MIN_ROWS:
        return None
    shown, seen = _scaled(oof_log_probs), _scaled(test_log_probs)
    apart = np.array([[ks_2samp(a, b, method="asymp").statistic for b in seen.T] for a in shown.T])
    distance = {
        order: max(apart[column, place] for column, place in enumerate(order))
        for order in itertools.permutations(range(3))
    }
    given = distance[0, 1, 2]
    best = min(distance, key=lambda order: distance[order])
    if given * np.sqrt(n * m / (n + m)) > _KS_SURE and distance[best] < given / 2:
        return best  # type: ignore[return-value]  # permutations of three are triples
    return None


def exchanged_against(
    oof_log_probs: Floats,
    test_log_probs: Floats,
    oof_odd: Floats,
    test_odd: Floats,
    oof_groups: npt.ArrayLike | None = None,
    test_groups: npt.ArrayLike | None = None,
) -> bool:
    """Whether A and B look exchanged in the test file or in the OOF file, but not in both.

    ``oof_odd`` (n, k) and ``test_odd`` (m, k) are numbers that an exchange of the responses negates: the
    other members' ln p_A - ln p_B, or the odd features (differences of length). The one whose rank
    correlation with the member's own ln p_A - ln p_B is clearest out of fold must have the opposite sign in
    the test file, both beyond five standard errors (clustered by group). Which of the two files is wrong
    the outcomes of the OOF rows tell: `best_column_order`. A member that is unrelated to all of them is
    never blamed; where another member is the exchanged one, both that one and this one are named.
    """
    shown = [_odd_correlation(oof_log_probs, column, oof_groups) for column in oof_odd.T]
    if min(len(oof_log_probs), len(test_log_probs)) < _MIN_ROWS or not shown:
        return False
    clearest = int(np.argmax(np.abs(shown)))
    seen = _odd_correlation(test_log_probs, test_odd[:, clearest], test_groups)
    same_sign = shown[clearest] * seen > 0
    return not same_sign and min(abs(shown[clearest]), abs(seen)) > _ODD_SURE


@dataclass(frozen=True)
class RowOrder:
    """How much better a member is than its own rows shuffled: nats, clustered standard error.

    ``claimed`` is what ``gain`` would be if the outcomes were drawn from its own probabilities.
    """

    gain: float
    gain_se: float
    claimed: float


def row_order_check(log_probs: Floats, y: Labels, groups: npt.ArrayLike | None = None) -> RowOrder | None:
    """Evidence that the rows are in another order than the outcomes, or None.

    The log-loss is compared with its mean over all shuffles of the rows, which is known exactly: each row's
    cross-entropy with the class frequencies. The difference is the covariance of the log-probabilities with
    what happened, so that neither over-confidence nor a wrong prior hides a signal. Suspected is a member
    no more than three standard errors better than its shuffled rows, though by its own probabilities it
    should be better by at least four more: rows in another order than the ids, a wrong key in a join, or
    probabilities that mean nothing. One that is clearly *worse* has rather its columns exchanged: ask
    `best_column_order` first. A member that claims next to nothing (constant, very under-confident) is not
    suspected here, nor one whose rows are too few to tell.

    Parameters
    ----------
    log_probs, y
        (n, 3) natural-log probabilities and (n,) outcomes.
    groups
        (n,) clusters of the standard errors.
    """
    if len(y) < _MIN_ROWS:
        return None
    floored = np.maximum(np.asarray(log_probs, dtype=np.float64), LOG_FLOOR)
    frequency = np.bincount(y, minlength=3) / len(y)
    shuffled = -floored @ frequency
    gain = shuffled - row_losses(floored, y)
    se = standard_error(gain, groups)
    probs = np.exp(floored)
    claimed = float(((probs - probs.mean(axis=0)) * floored).sum(axis=1).mean())
    found = RowOrder(float(gain.mean()), se, claimed)
    suspected = found.gain <= 3 * se and claimed - found.gain > max(4 * se, _LEAST_CLAIM)
    return found if suspected else None


def constant_share(log_probs: Floats) -> float:
    """Share of rows that hold the commonest three probabilities, to six digits."""
    rounded = np.round(np.exp(np.maximum(log_probs, LOG_FLOOR)), 6)
    return float(np.unique(rounded, axis=0, return_counts=True)[1].max() / len(rounded))


def is_constant(log_probs: Floats) -> bool:
    """Whether at least 99 % of 20 or more rows hold the same three probabilities."""
    return len(log_probs) >= _MIN_ROWS and constant_share(log_probs) >= _CONSTANT_SHARE


def suspicious_perfection(log_probs: Floats, y: Labels, groups: npt.ArrayLike | None = None) -> float | None:
    """The accuracy, if it is beyond what fresh votes allow on so many rows; else None.

    People disagree with each other, so that an accuracy near one means rows that were trained on, or a
    column that was made from the outcomes. Suspected is an accuracy that a member right in 90 % of rows (97 %
    where nobody voted a tie) would reach with a chance below one in a thousand; rows of one group count as
    one.
    """
    count = _count(groups, len(y))
    share = float((np.argmax(log_probs, axis=1) == y).mean())
    ceiling = _CEILING[bool((y == 2).any())]
    chance = float(binom.sf(np.floor(share * count) - 1, count, ceiling))
    return share if chance < 1e-3 else None


def _count(groups: npt.ArrayLike | None, n: int) -> int:
    """How many independent observations n rows hold."""
    return n if groups is None else int(group_codes(groups, n).max()) + 1


def _scaled(log_probs: Floats) -> Floats:
    """Row-centred log-probabilities over their root mean square."""
    floored = np.maximum(np.asarray(log_probs, dtype=np.float64), LOG_FLOOR)
    centred = floored - floored.mean(axis=1, keepdims=True)
    scale = float(np.sqrt((centred**2).mean()))
    return np.asarray(centred / (scale if scale > 0 else 1.0), dtype=np.float64)


def _odd_correlation(log_probs: Floats, column: Floats, groups: npt.ArrayLike | None) -> float:
    """Rank correlation of ln p_A - ln p_B with a column, in clustered standard errors."""
    floored = np.maximum(log_probs, LOG_FLOOR)
    product = _ranks(floored[:, 0] - floored[:, 1]) * _ranks(column)
    se = standard_error(product, groups)
    return float(product.mean() / se) if se > 0 else 0.0


def _ranks(values: Floats) -> Floats:
    """Ranks, centred, of unit variance; zeros where all values are equal."""
    ranks = np.asarray(rankdata(values), dtype=np.float64)
    spread = float(ranks.std())
    return np.asarray((ranks - ranks.mean()) / (spread if spread > 0 else 1.0), dtype=np.float64)
