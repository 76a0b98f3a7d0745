"""Selective prediction: decide only where the panel is sure enough, with a guarantee on the error there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

from ..errors import InputError
from ..losses import Floats, group_codes, row_losses, standard_error
from ..metrics import Labels, checked_labels

_GRID: Final = np.round(np.arange(0.999, 1 / 3, -0.001), 3)
"""Thresholds on the largest probability, the strictest first; fixed beforehand, as the guarantee needs."""

_FACTORS: Final = tuple(round(1.1**k, 3) for k in range(1, 73))
"""of rows, up to about a thousand times as many"""
_STARTS: Final = 2
_LEAST: Final = 0.1
"""share of the rows that the strictest threshold of the second start keeps"""


@dataclass(frozen=True)
class RiskRow:
    """What keeping the surest rows costs: their share, their errors, their log-loss."""

    threshold: float
    coverage: float
    error: float
    error_se: float
    log_loss: float


@dataclass(frozen=True)
class Threshold:
    """Keep a row where its largest probability is at least ``threshold``; None: no threshold is safe."""

    threshold: float | None
    coverage: float
    """share of the given rows that are kept"""
    error: float
    """share of wrong decisions among them; NaN where none is kept"""
    alpha: float
    delta: float
    rows: int
    """rows that the guarantee was computed from: one a group"""
    reachable: float | None = None
    """where no threshold is safe: the least share, in steps of .01, for which these rows would have one"""
    rows_needed: int | None = None
    """where no threshold is safe: about how many rows like these would have one; None where no part of them
    seems to err seldom enough"""
    least_kept: int | None = None
    """where no threshold is safe: so many kept rows are the fewest that prove ``alpha``, without one error"""


def risk_coverage(
    log_probs: Floats,
    y: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    coverages: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0),
) -> list[RiskRow]:
    """Error and log-loss of the surest rows, by the share that is kept.

    Parameters
    ----------
    log_probs
        (n, 3) out-of-fold log-probabilities.
    y, groups
        (n,) outcomes and groups; errors are clustered by group.
    """
    labels = checked_labels(y)
    sure, wrong = _sure_and_wrong(log_probs, labels)
    codes = group_codes(groups, len(labels))
    order = np.argsort(-sure, kind="stable")
    losses = row_losses(log_probs, labels)
    table = []
    for coverage in coverages:
        if not 0 < coverage <= 1:
            raise InputError(f"coverage {coverage}: give a share above 0 and at most 1")
        kept = order[: max(round(coverage * len(order)), 1)]
        table.append(
            RiskRow(
                float(sure[kept[-1]]),
                len(kept) / len(order),
                float(wrong[kept].mean()),
                standard_error(wrong[kept], codes[kept]),
                float(losses[kept].mean()),
            )
        )
    return table


def safe_threshold(
    log_probs: Floats,
    y: npt.ArrayLike,
    *,
    alpha: float = 0.1,
    delta: float = 0.05,
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
) -> Threshold:
    """The lowest threshold whose error is at most ``alpha`` with confidence ``1 - delta``.

    Thresholds are tested from the strictest down, each by the exact binomial test of "the error is alpha or
    more" among the rows it keeps, until one is not rejected: testing in a fixed order needs no correction
    (Angelopoulos et al. 2021, *Learn then Test*, arXiv 2110.01052). Tests start twice, each with half of
    ``delta``: where zero errors would just pass, and where half of ``alpha`` would and a tenth of the rows
    is kept, so that an early error does not end them all; where to start the outcomes do not decide. The
    guarantee is about fresh rows like these, over the draw of these: with probability ``1 - delta`` or more.

    Parameters
    ----------
    groups
        (n,) Rows of one group err together; one of each, drawn by ``seed``, goes into the test.

    Raises
    ------
    InputError
        ``alpha`` or ``delta`` is no share.
    """
    for name, value in (("alpha", alpha), ("delta", delta)):
        if not 0 < value < 1:
            raise InputError(f"{name} = {value}: give a share between 0 and 1, such as .1")
    labels = checked_labels(y)
    sure, wrong = _sure_and_wrong(log_probs, labels)
    chosen = _one_of_each(groups, len(labels), seed)
    order = np.argsort(-sure[chosen], kind="stable")
    counts = np.searchsorted(-sure[chosen][order], -_GRID, side="right")
    errors = np.concatenate([[0.0], np.cumsum(wrong[chosen][order])])[counts]
    passed = _passed(errors, counts, alpha, delta)
    found = None if passed is None else float(_GRID[passed])
    kept = sure >= found if found is not None else np.zeros(len(labels), dtype=bool)
    error = float(wrong[kept].mean()) if kept.any() else float("nan")
    rows = int(chosen.sum())
    if found is not None:
        return Threshold(found, float(kept.mean()), error, alpha, delta, rows)
    return Threshold(
        None, 0.0, error, alpha, delta, rows, _reachable(errors, counts, alpha, delta),
        _rows_needed(errors, counts, alpha, delta, rows), least_kept(alpha, delta),
    )  # fmt: skip


def least_kept(alpha: float, delta: float) -> int:
    """The fewest kept rows, none of them wrong, of which `safe_threshold` certifies ``alpha``.

    Zero errors among n have probability (1 - alpha)^n where the share of errors is alpha; each of the two
    starts has half of ``delta``.
    """
    return math.ceil(math.log(delta / _STARTS) / math.log1p(-alpha) - 1e-9)


def _reachable(errors: Floats, counts: npt.NDArray[np.int64], alpha: float, delta: float) -> float | None:
    """The least share above ``alpha`` that a threshold would keep; None where none below 1 is."""
    shares = np.arange(math.floor(alpha * 100) + 1, 100) / 100
    return next((float(share) for share in shares if _passed(errors, counts, share, delta) is not None), None)


def _rows_needed(errors: Floats, counts: npt.NDArray[np.int64], alpha: float, delta: float,
                 rows: int) -> int | None:  # fmt: skip
    """About how many rows like these would have a threshold, to two digits; None where none seems safe.

    Each part is taken to err as often as with half an error more (the mean under Jeffreys' prior): no errors
    among three rows are no proof that a hundred of them are right. A plan, no promise.
    """
    rate = (errors + 0.5) / (counts + 1)
    for factor in _FACTORS:
        more = np.ceil(counts * factor).astype(np.int64)
        if _passed(np.ceil(rate * more), more, alpha, delta) is not None:
            needed = math.ceil(rows * factor)
            step: int = 10 ** max(len(str(needed)) - 2, 0)
            return -(-needed // step) * step
    return None


def _passed(errors: Floats, counts: npt.NDArray[np.int64], alpha: float, delta: float) -> int | None:
    """The place in the grid of the lowest threshold that passes, None where none does."""
    half = delta / _STARTS
    # Thresholds that keep the same rows are one test; the lowest of them stands for all.
    last = np.flatnonzero(np.r_[np.diff(counts) > 0, True])
    errors, counts = errors[last], counts[last]
    found = None
    for share, least in ((0.0, 0.0), (0.5, _LEAST)):
        could = bdtr(np.floor(share * alpha * counts), counts, alpha) <= half
        could &= (counts > 0) & (counts >= least * counts[-1])
        tested = np.flatnonzero(np.maximum.accumulate(could))
        rejected = bdtr(errors[tested], counts[tested], alpha) <= half
        passed = len(tested) if rejected.all() else int(np.argmin(rejected))
        if passed:
            found = max(int(last[tested[passed - 1]]), -1 if found is None else found)
    return found


def _sure_and_wrong(log_probs: Floats, y: Labels) -> tuple[Floats, Floats]:
    array = np.asarray(log_probs, dtype=np.float64)
    return np.exp(array.max(axis=1)), (array.argmax(axis=1) != y).astype(np.float64)


def _one_of_each(groups: npt.ArrayLike | None, n: int, seed: int) -> npt.NDArray[np.bool_]:
    codes = group_codes(groups, n)
    order = np.random.default_rng(seed).permutation(n)
    _, first = np.unique(codes[order], return_index=True)
    chosen = np.zeros(n, dtype=bool)
    chosen[order[first]] = True
    return chosen
