"""How much there is to compute: token counts of battles, and the engine's own batches over them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from ..backbones import head_of
from ..backbones.language.batching import plan_epoch, plan_prediction
from ..prompts import template_of
from ..recipes import Recipe
from .flops import BatchTotals
from .lengths import BYTES_PER_TOKEN, Lengths

TEXT_SHARES: Final = (0.12, 0.47, 0.41)
"""prompt, response A, response B in a battle's tokens: the first 100 rows of Kaggle's train.csv"""
LENGTH_SPREAD: Final = 1.0
"""standard deviation of the logarithm of a battle's tokens: 0.8 to 1.2 on three files of real votes"""
TRAIN_UTILISATION: Final = 0.40
READ_UTILISATION: Final = 0.50
_MOST_ROWS: Final = 6000


@dataclass(frozen=True)
class Workload:
    """How much there is to do, and how fast a GPU is assumed to be.

    Parameters
    ----------
    lengths
        (n, 3) tokens of a sample of battles.
    rows
        Battles in all.
    train_utilisation, read_utilisation
        Share of the GPU's dense peak that the operations performed reach (recomputation included).
    """

    lengths: Lengths = field(repr=False)
    rows: int
    folds: int = 5
    train_utilisation: float = TRAIN_UTILISATION
    read_utilisation: float = READ_UTILISATION


def typical_lengths(mean_tokens: float, count: int = 2000) -> Lengths:
    """Token counts (count, 3) of battles with this mean: log-normal, as votes in the wild nearly are."""
    from scipy.stats import norm

    places = (np.arange(count) + 0.5) / count
    draws = np.exp(LENGTH_SPREAD * norm.ppf(places))
    total = draws * mean_tokens / draws.mean()
    order = np.random.default_rng(0).permutation(count)
    return np.asarray(total[order, None] * np.asarray(TEXT_SHARES))


def batch_totals(recipe: Recipe, workload: Workload) -> tuple[BatchTotals, BatchTotals]:
    """What training one fold and predicting its held-out rows compute, from the engine's own batches."""
    lengths = workload.lengths[:: max(1, -(-len(workload.lengths) // _MOST_ROWS))]
    row_tokens = _example_lengths(recipe, lengths)
    head = head_of(recipe.backbone)
    swaps = not head.swap_equivariant
    train = recipe.train
    together = 2 if recipe.swap == "paired" and swaps else 1
    orders = 2 if recipe.swap != "none" and swaps else 1
    steps = plan_epoch(
        row_tokens.max(axis=1) * row_tokens.shape[1] * together,
        batch_rows=train.batch_rows,
        batch_tokens=train.batch_tokens,
        window=train.window,
        seed=recipe.seed,
        epoch=0,
    )
    share = workload.rows / len(lengths)
    fitted = _padded_sum([micro for step in steps for micro in step], row_tokens, together)
    # a paired unit already holds both orders
    # a frozen base is read once, whatever the epochs
    epochs = 1 if recipe.adapter.kind == "frozen" else max(train.epochs, 1)
    fitted = fitted.times(share * (workload.folds - 1) / workload.folds * epochs * orders / together)
    read_share = 1.0 if not swaps or recipe.read_orders == 1 else 1 + recipe.second_order_share
    batches = plan_prediction(row_tokens.max(axis=1) * row_tokens.shape[1], recipe.predict.tokens)
    return fitted, _padded_sum(batches, row_tokens, 1).times(share / workload.folds * read_share)


def _example_lengths(recipe: Recipe, lengths: Lengths) -> npt.NDArray[np.int64]:
    """(n, k) tokens of an example's sequences after the cut; k = 2 where each response has its own."""
    template = template_of(recipe.prompt)
    literals = [template.opening, template.before_a, template.before_b, template.cue]
    fixed = sum(map(len, literals)) / BYTES_PER_TOKEN + 2
    if head_of(recipe.backbone).sequences_per_battle == 2:
        sums = np.stack([lengths[:, 0] + lengths[:, 1], lengths[:, 0] + lengths[:, 2]], axis=1)
    else:
        sums = lengths.sum(axis=1, keepdims=True)
    return np.asarray(np.minimum(np.ceil(sums + fixed), recipe.prompt.max_tokens), dtype=np.int64)


def _padded_sum(
    batches: list[npt.NDArray[np.int64]], row_tokens: npt.NDArray[np.int64], together: int
) -> BatchTotals:
    tokens = squares = rows = real = 0.0
    for batch in batches:
        count, width = together * row_tokens.shape[1] * len(batch), float(row_tokens[batch].max())
        tokens, squares, rows = tokens + count * width, squares + count * width**2, rows + count
        real += together * float(row_tokens[batch].sum())
    return BatchTotals(tokens, squares, rows, float(len(batches)), real)
