"""A part of some battles held out by whole groups, for early stopping."""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np

from ..battles import Battles
from ..errors import RecipeError
from .groups import NEAR_DUPLICATES, Ints, group_keys, normalised_text

SHARE: Final = 0.125


def holdout_by_group(
    battles: Battles,
    *,
    seed: int,
    share: float = SHARE,
    near_duplicates: float | None = NEAR_DUPLICATES,
) -> tuple[Ints, Ints]:
    """Rows to learn from and rows held out, each ascending; no group is on both sides.

    Groups are those of the fold file (:func:`~arena_ensemble.folds.group_keys`): equal or near-duplicate
    first turns, or the same pair of answers. A group is held out by a hash of the seed and of its first
    prompt in alphabetical order, so the order of the rows does not matter. A row without an outcome is never
    among those held out, nor is it learned from where its group is held out.

    Parameters
    ----------
    seed
        Another seed holds out other groups.
    share
        Expected share of the groups.
    near_duplicates
        As for the folds; None: equal prompts only.

    Raises
    ------
    RecipeError
        There are too few groups to hold any out.
    """
    group = group_keys(battles, near_duplicates=near_duplicates)
    first = [normalised_text(text) for text in battles.frame["prompt"].list.first().to_list()]
    name: dict[int, str] = {}
    for number, text in zip(group.tolist(), first, strict=True):
        name[number] = min(text, name.get(number, text))
    held_group = np.array([_draw(seed, name[k]) < share for k in range(len(name))], dtype=bool)
    held = held_group[group]
    if not held.any() or held.all():
        raise RecipeError("train.early_stopping: too few different prompts to hold any out; set it to 0")
    voted = battles.frame["outcome"].is_not_null().to_numpy()
    return np.flatnonzero(~held), np.flatnonzero(held & voted)


def _draw(seed: int, text: str) -> float:
    """A number in [0, 1) from seed and text."""
    mark = hashlib.blake2b(f"{seed}|{text}".encode("utf-8", "replace"), digest_size=8).digest()
    return float(int.from_bytes(mark, "big") / 2**64)
