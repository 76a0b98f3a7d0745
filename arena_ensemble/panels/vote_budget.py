"""How many more votes would help: the panel's loss on fewer votes, and where the curve leads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..judgements import Judgements
from ..losses import Floats, group_codes, row_losses
from ..metrics import Labels, checked_labels

_LEAST: Final = 40
"""votes of a draw, unless told: fewer may lack an outcome"""


class Fitted(Protocol):
    """What predicts judgements: a `Panel`, or anything with its two methods."""

    def fit(self, judgements: Judgements, y: npt.NDArray[Any]) -> Any:
        """Learn from votes."""

    def predict_log_proba(self, judgements: Judgements) -> Floats:
        """(n, 3) log-probabilities."""


@dataclass(frozen=True)
class BudgetRow:
    """The loss of a panel fitted on ``votes`` votes, on rows that it did not see."""

    votes: int
    log_loss: float
    log_loss_se: float
    """over repeats of the draw, of the line too"""
    measured: bool
    """False: read off the fitted line, not measured"""


def vote_budget(
    panel: Callable[[], Fitted],
    judgements: Judgements,
    y: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    sizes: Sequence[int] | None = None,
    repeats: int = 5,
    seed: int = 0,
) -> list[BudgetRow]:
    """Losses at several numbers of votes, and the line ``a + b / votes`` at twice and four times as many.

    The line is fitted to each draw by itself, so that its standard error is known.

    Whole groups are drawn for fitting; a fifth of the rows, never fitted on, is scored. That a loss falls
    with the inverse number of votes is what a model of fixed size does once it is past its first few.

    Raises
    ------
    InputError
        Fewer than 40 rows, or a size that leaves no rows to score.
    """
    labels: Labels = checked_labels(y)
    n = len(labels)
    if n < 40:
        raise InputError(f"{n} votes: give at least 40, to fit on some and score on others")
    most = int(n * 0.8)
    wanted = sorted(sizes or {max(part * most // 4, min(_LEAST, most)) for part in (1, 2, 3, 4)})
    if not wanted or wanted[0] < 10 or wanted[-1] > most:
        raise InputError(f"sizes {wanted}: give numbers from 10 to {most}, four fifths of the votes")
    codes = group_codes(groups, n)
    losses = np.full((repeats, len(wanted)), np.nan)
    for repeat in range(repeats):
        order = np.random.default_rng([seed, repeat]).permutation(int(codes.max()) + 1)[codes]
        rows = np.argsort(order, kind="stable")
        scored, free = rows[most:], rows[:most]
        scored = scored[~np.isin(codes[scored], codes[free])]
        if not len(scored):
            raise InputError("one group holds most rows: no rows are left to score; give finer groups")
        for k, size in enumerate(wanted):
            fitted = panel().fit(judgements.take(free[:size]), labels[free[:size]])
            log_probs = fitted.predict_log_proba(judgements.take(scored))
            losses[repeat, k] = row_losses(log_probs, labels[scored]).mean()
    means, spread = _means(losses)
    found = [
        BudgetRow(size, float(mean), float(se), True)
        for size, mean, se in zip(wanted, means, spread, strict=True)
    ]
    if len(wanted) > 1:
        slope, level = np.polyfit(1 / np.array(wanted), losses.T, 1, w=np.sqrt(wanted))
        ahead = np.array([2 * n, 4 * n])
        later, spread = _means(level[:, None] + np.maximum(slope, 0)[:, None] / ahead)
        found += [
            BudgetRow(int(votes), float(mean), float(se), False)
            for votes, mean, se in zip(ahead, later, spread, strict=True)
        ]
    return found


def _means(table: Floats) -> tuple[Floats, Floats]:
    """(k,) means of (repeats, k) and their standard errors, NaN of a single one."""
    if len(table) < 2:
        return table.mean(axis=0), np.full(table.shape[1], np.nan)
    return table.mean(axis=0), table.std(axis=0, ddof=1) / np.sqrt(len(table))
