"""Which rows meet in which batch: token budgets, length-sorted inside shuffled windows. NumPy only.

Sorting everything by length would leave no padding but also no randomness; a window of some dozen
optimizer steps keeps both. An epoch's plan is a function of (seed, epoch), so a resumed run sees the
same batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Index = npt.NDArray[np.int64]


def split_by_tokens(order: Index, lengths: Index, budget: int) -> list[Index]:
    """Cut an ordered run of rows into micro-batches of at most ``budget`` tokens, padding included.

    A row longer than the budget is a micro-batch of its own.
    """
    batches: list[Index] = []
    start, longest = 0, 0
    for place, length in enumerate(lengths[order].tolist()):
        widest = max(longest, length)
        if place > start and widest * (place - start + 1) > budget:
            batches.append(order[start:place])
            start, widest = place, length
        longest = widest
    if start < len(order):
        batches.append(order[start:])
    return batches


def plan_epoch(
    lengths: Index, *, batch_rows: int, batch_tokens: int, window: int, seed: int, epoch: int
) -> list[list[Index]]:
    """The optimizer steps of one epoch, each a list of micro-batches of row numbers.

    Every row appears exactly once. Rows are shuffled, cut into windows of ``window`` steps, sorted by
    length inside a window, cut into steps of ``batch_rows`` rows, and the steps of a window shuffled.
    """
    rng = np.random.default_rng([seed, epoch])
    shuffled = rng.permutation(len(lengths))
    steps: list[list[Index]] = []
    for start in range(0, len(shuffled), window * batch_rows):
        rows = shuffled[start : start + window * batch_rows]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        parts = [rows[k : k + batch_rows] for k in range(0, len(rows), batch_rows)]
        steps += [split_by_tokens(parts[k], lengths, batch_tokens) for k in rng.permutation(len(parts))]
    return steps


def plan_prediction(lengths: Index, batch_tokens: int) -> list[Index]:
    """Micro-batches of prediction: every row once, longest first, so that too little memory shows at once."""
    return split_by_tokens(np.argsort(-lengths, kind="stable"), lengths, batch_tokens)


def padding_share(batches: Sequence[Index], lengths: Index) -> float:
    """Share of computed tokens that are padding."""
    padded = sum(int(lengths[rows].max()) * len(rows) for rows in batches)
    real = sum(int(lengths[rows].sum()) for rows in batches)
    return 1 - real / padded if padded else 0.0


@dataclass(frozen=True, eq=False)
class PaddedBatch:
    """One micro-batch as arrays (rows, longest)."""

    tokens: Index
    segments: Index
    mask: Index
    last: Index
    """(rows,) place of each row's last real token"""


def pad(
    tokens: npt.NDArray[np.int32],
    segments: npt.NDArray[np.int8],
    starts: Index,
    lengths: Index,
    *,
    pad_id: int,
    left: bool = False,
) -> PaddedBatch:
    """Gather rows that start at ``starts`` into a padded rectangle, without a Python loop."""
    width = int(lengths.max())
    place = np.arange(width)[None, :]
    if left:
        place = place - (width - lengths)[:, None]
    mask = (place >= 0) & (place < lengths[:, None])
    source = np.where(mask, starts[:, None] + place, 0)
    last = np.full(len(lengths), width - 1) if left else lengths - 1
    return PaddedBatch(
        tokens=np.where(mask, tokens[source], pad_id).astype(np.int64),
        segments=np.where(mask, segments[source], 0).astype(np.int64),
        mask=mask.astype(np.int64),
        last=last.astype(np.int64),
    )
