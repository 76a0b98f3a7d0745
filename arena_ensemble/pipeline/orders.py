"""Prediction with one fold's model, in one order of the answers or in both."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import polars as pl

from ..backbones.base import Backbone, Fitted, Progress
from ..battles import SWAP, Battles
from ..errors import InputError, MemberError
from ..predictions import Floats, Predictions
from ..recipes import Recipe


def predict_fold(
    backbone: Backbone,
    fitted: Fitted,
    battles: Battles,
    *,
    recipe: Recipe,
    fold: int,
    n_classes: int,
    first_order: Floats | None = None,
    on_progress: Progress | None = None,
) -> Predictions:
    """One fold model's predictions of battles, in one order or both. No outcome goes in.

    ``first_order`` is what it predicted of them earlier, in the order that they are shown in.

    Raises
    ------
    MemberError
        A prediction is no distribution: the training diverged.
    """
    unseen = battles.without_outcomes()
    rows = np.arange(0)
    if recipe.read_orders == 2:
        rows = second_order_rows(battles.ids, recipe.second_order_share)
    first = 0 if first_order is not None else len(battles)
    shown = first_order
    if shown is None:
        tell = part_of(on_progress, 0, first, first + len(rows))
        shown = backbone.predict(fitted, unseen, on_progress=tell)
    swapped: Floats | None = None
    if recipe.read_orders == 2:
        swapped = shown.copy()  # a row predicted in one order stands for both: combined, it is unchanged
        if len(rows):
            tell = part_of(on_progress, first, len(rows), first + len(rows))
            other = backbone.predict(fitted, unseen.swapped().take(rows), on_progress=tell)
            swapped[rows] = other[:, list(SWAP)]
    try:
        predictions = Predictions(battles.ids, shown, np.full(len(battles), fold), swapped)
    except InputError as error:
        raise MemberError(
            f"it diverged: {error}; lower its rate and make it anew with --retrain {recipe.name}"
        ) from None
    return predictions.without_ties() if n_classes == 2 else predictions


def part_of(on_progress: Progress | None, before: float, size: float, whole: float) -> Progress | None:
    """A callback for a part of a longer work: ``size`` of ``whole``, of which ``before`` is done by then."""
    if on_progress is None:
        return None
    return lambda done, total, text: on_progress(before + size * done / max(total, 1), whole, text)


def rows_to_predict(battles: Battles, recipe: Recipe, *, begun: bool) -> int:
    """How many rows a fold's model predicts of these battles, those of the second order counted again."""
    rows = 0 if begun else len(battles)
    return rows + (
        len(second_order_rows(battles.ids, recipe.second_order_share)) if recipe.read_orders == 2 else 0
    )


def second_order_rows(ids: pl.Series, share: float) -> npt.NDArray[np.int64]:
    """The rows that are predicted in the swapped order too, sorted: about ``share`` of them.

    A row is drawn when the hash of its id, as a number in [0, 1), lies below the share, so that the choice
    depends on the id alone: not on order, content, or which other rows there are. Choosing by a pilot or by
    closeness gained nothing that showed over this draw (docs/ablation.md).
    """
    if share >= 1:
        return np.arange(len(ids))
    hashes = [hashlib.blake2b(str(name).encode("utf-8", "replace"), digest_size=8).digest() for name in ids]
    places = np.frombuffer(b"".join(hashes), dtype=">u8") / 2.0**64
    return np.flatnonzero(places < share).astype(np.int64)
