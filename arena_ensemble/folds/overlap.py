"""Texts that lie in more than one fold, and extra battles that may not train against a fold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ..battles import Battles
from .assignment import Folds
from .groups import NEAR_DUPLICATES, grouping, prompt_keys
from .near_duplicates import near_duplicate_links, similarity

Ints = npt.NDArray[np.int64]

_SHOWN = 5


@dataclass(frozen=True)
class SharedText:
    """Two battles in different folds with the same, or nearly the same, text."""

    what: str
    """``first turn``, ``answers`` or ``near-duplicate prompt``"""
    ids: tuple[Any, Any]
    folds: tuple[int, int]
    similarity: float
    """1 for equal texts, else the Jaccard similarity of the prompts' 5-grams"""


@dataclass(frozen=True)
class FoldOverlap:
    """What :func:`fold_overlap` found; clean when no text lies in two folds."""

    rows: int
    """battles whose group has members in another fold"""
    groups: int
    """groups that lie in more than one fold"""
    near_duplicate_pairs: int
    """near-duplicate first turns in different folds, one or more for every cluster that is split"""
    near_duplicates: float | None
    examples: tuple[SharedText, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return self.rows == 0 and self.near_duplicate_pairs == 0


def fold_overlap(
    battles: Battles, fold: npt.NDArray[np.integer[Any]], *, near_duplicates: float | None = NEAR_DUPLICATES
) -> FoldOverlap:
    """Look for prompts, answers and near-duplicate prompts that lie in more than one fold.

    Groups are computed anew from the texts. The ``group`` column of a fold file is not used, since another
    tool may have made the file, or someone may have edited it.

    Parameters
    ----------
    fold
        (n,), the fold of every battle.
    """
    folds = np.asarray(fold, dtype=np.int64)
    exact = grouping(battles, near_duplicates=None).group
    spread = pl.DataFrame({"group": exact, "fold": folds, "row": np.arange(len(folds))})
    split = spread.filter(pl.col("fold").n_unique().over("group") > 1)
    prompt, texts = prompt_keys(battles)
    examples = []
    for group in split["group"].unique(maintain_order=True).head(_SHOWN):
        members = split.filter(pl.col("group") == group).unique("fold", keep="first", maintain_order=True)[
            "row"
        ]
        i, j = int(members[0]), int(members[1])
        what = "first turn" if prompt[i] == prompt[j] else "answers"
        examples.append(_shared_text(battles, folds, what, (i, j), 1.0))
    pairs = 0
    if near_duplicates is not None:
        # a prompt whose rows lie in several folds is counted above; here it has the fold of its first row
        first_row = np.unique(prompt, return_index=True)[1]
        of_prompt = folds[first_row]
        for i, j in near_duplicate_links(texts, threshold=near_duplicates).tolist():
            if of_prompt[i] != of_prompt[j]:
                pairs += 1
                if pairs <= _SHOWN:
                    rows = (int(first_row[i]), int(first_row[j]))
                    score = similarity(texts[i], texts[j])
                    examples.append(_shared_text(battles, folds, "near-duplicate prompt", rows, score))
    return FoldOverlap(split.height, split["group"].n_unique(), pairs, near_duplicates, tuple(examples))


def _shared_text(battles: Battles, folds: Ints, what: str, rows: tuple[int, int], score: float) -> SharedText:
    i, j = rows
    return SharedText(what, (battles.ids[i], battles.ids[j]), (int(folds[i]), int(folds[j])), score)


def may_train(extra: Battles, battles: Battles, folds: Folds) -> npt.NDArray[np.bool_]:
    """Which extra battles may train against which validation fold, (n_extra, n_folds).

    False where the extra battle shares a group (prompt, pair of answers, or near-duplicate prompt, by
    the folds' own threshold) with a battle of that fold. Groups are made over both sets together, so
    an extra battle that bridges two groups is kept from both of their folds.
    """
    texts = [frame.frame.select("prompt", "response_a", "response_b") for frame in (battles, extra)]
    both = pl.concat(texts).with_columns(pl.lit(None, dtype=pl.Int8).alias("outcome"))
    joined = Battles(both.with_row_index("id").with_columns(pl.col("id").cast(pl.Int64)))
    group = grouping(joined, near_duplicates=folds.near_duplicates).group
    known, new = group[: len(battles)], group[len(battles) :]
    touches = np.zeros((int(group.max()) + 1, folds.n_folds), dtype=np.bool_)
    touches[known, folds.fold] = True
    return ~touches[new]
