"""Battles, votes and teachers as the training set of a language model."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...battles import SWAP, Battles
from ...predictions import Floats
from ..base import labels_of
from .encoder import PromptEncoder
from .sequences import TrainingSet


def training_set_of(
    encoder: PromptEncoder,
    train: Battles,
    *,
    rows: npt.NDArray[np.int64] | None = None,
    soft_targets: Floats | None = None,
    weights: Floats | None = None,
) -> tuple[TrainingSet, dict[str, Any]]:
    """The examples of some rows, in one order or, where the recipe's ``swap`` asks for it, in both.

    Parameters
    ----------
    train
        Battles (n) with outcomes or soft targets.
    rows
        Which of them; None takes all.
    soft_targets, weights
        (n, 3) natural-log probabilities of a teacher, NaN where there is none; (n,) weights.

    Returns
    -------
    tuple
        The training set, and how much was cut, for the card.
    """
    recipe = encoder.recipe
    kept = np.arange(len(train)) if rows is None else rows
    n = len(kept)
    chosen = train.take(kept)
    both = recipe.swap != "none" and not encoder.head.swap_equivariant
    encoded = encoder.encode(chosen)
    cut = encoded[0].facts()
    teacher = None if soft_targets is None else np.asarray(soft_targets, dtype=np.float64)[kept]
    labels, voted = labels_of(chosen, teacher)
    weight = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)[kept]
    names = chosen.ids.to_list()
    units = np.arange(n)[:, None]
    if both:
        encoded += encoder.encode(chosen.swapped())
        order = np.asarray(SWAP)
        labels = np.concatenate([labels, order[labels]])
        weight, voted = np.concatenate([weight, weight]), np.concatenate([voted, voted])
        teacher = None if teacher is None else np.concatenate([teacher, teacher[:, order]])
        names = names * 2
        units = np.arange(2 * n).reshape(2, n).T if recipe.swap == "paired" else np.arange(2 * n)[:, None]
    return TrainingSet(encoder.joined(encoded), labels, weight, units, names, teacher, voted), cut
