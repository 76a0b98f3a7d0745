"""Which battles belong together: those that ask the same thing, or repeat the same answers.

Judges and models answer the same prompt many times, so a fold that splits a prompt lets a model
recognise it. The key is the first turn alone, since later turns depend on the answers.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..battles import Battles
from .near_duplicates import near_duplicate_links

Ints = npt.NDArray[np.int64]

NEAR_DUPLICATES: Final = 0.7
"""Default similarity (Jaccard of character 5-grams) from which two first turns count as one prompt."""
_SHORT_ANSWERS: Final = 40
"""characters; a pair of answers shorter than this ("Yes." and "No.") says nothing about the prompt"""


@dataclass(frozen=True, eq=False)
class Grouping:
    """The groups of some battles, and how they came about.

    ``group`` is (n,), numbered from 0 in order of first appearance.
    """

    group: Ints
    prompts: int
    """different first turns, normalised"""
    joined_by_answers: int
    """groups saved by joining rows with the same pair of answers"""
    joined_by_similarity: int
    """groups saved by joining near-duplicate prompts"""
    near_duplicates: float | None
    """the similarity threshold, or None where only equal prompts are joined"""

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return int(self.group.max()) + 1 if len(self.group) else 0

    @property
    def largest(self) -> int:
        """Rows of the largest group."""
        return int(np.bincount(self.group).max()) if len(self.group) else 0


def normalised_text(text: str | None) -> str:
    """NFKC, case folded, runs of white space made one blank; empty for None."""
    if not text:
        return ""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def group_keys(battles: Battles, *, near_duplicates: float | None = NEAR_DUPLICATES) -> Ints:
    """The group of every battle, (n,) int64; see :func:`grouping`."""
    return grouping(battles, near_duplicates=near_duplicates).group


def grouping(battles: Battles, *, near_duplicates: float | None = NEAR_DUPLICATES) -> Grouping:
    """Join battles that share a prompt.

    Two battles are in one group when their normalised first turns are equal, when they show the same
    pair of answers (in either order, 40 characters or more together), or when their first turns are
    near-duplicates; and when a chain of such pairs leads from one to the other.

    Parameters
    ----------
    near_duplicates
        Jaccard similarity in (0, 1] of the first turns' character 5-grams; None: equal prompts only.
    """
    prompt, texts = prompt_keys(battles)
    links = [_answer_links(battles)]
    before = _components(len(battles), prompt, links)
    after = before
    if near_duplicates is not None:
        first_row = np.unique(prompt, return_index=True)[1]
        similar = near_duplicate_links(texts, threshold=near_duplicates)
        links.append(first_row[similar])
        after = _components(len(battles), prompt, links)
    count = [int(group.max()) + 1 if len(group) else 0 for group in (before, after)]
    return Grouping(after, len(texts), len(texts) - count[0], count[0] - count[1], near_duplicates)


def prompt_keys(battles: Battles) -> tuple[Ints, list[str]]:
    """The number of each row's normalised first turn, (n,), and those turns in order of their numbers."""
    numbers: dict[str, int] = {}
    first = battles.frame["prompt"].list.first().to_list()
    keys = [numbers.setdefault(normalised_text(text), len(numbers)) for text in first]
    return np.array(keys, dtype=np.int64), list(numbers)


def _answer_links(battles: Battles) -> Ints:
    """Pairs of rows (m, 2) that show the same two answers, each row linked to the first such row."""
    sides = battles.frame.select(
        pl.col(name).list.join("\n", ignore_nulls=True).str.strip_chars().alias(name)
        for name in ("response_a", "response_b")
    )
    # two 64-bit hashes stand for the two texts: equal by accident once in 10^27 pairs of rows
    hashes = sides.select(
        pl.int_range(pl.len()).alias("row"),
        pl.sum_horizontal(pl.all().str.len_chars()).alias("chars"),
        *(pl.col(name).hash(seed=7).alias(name) for name in sides.columns),
    )
    pairs = hashes.filter(pl.col("chars") >= _SHORT_ANSWERS).select(
        "row",
        low=pl.min_horizontal("response_a", "response_b"),
        high=pl.max_horizontal("response_a", "response_b"),
    )
    linked = pairs.select("row", first=pl.col("row").min().over("low", "high"))
    return linked.filter(pl.col("row") != pl.col("first")).select("first", "row").to_numpy().astype(np.int64)


def _components(n: int, key: Ints, links: list[Ints]) -> Ints:
    """Connected components (n,) of rows with equal keys and of the links, numbered as they appear."""
    if not n:
        return np.zeros(0, dtype=np.int64)
    first_row = np.unique(key, return_index=True)[1]
    edges = np.concatenate([np.stack([np.arange(n), first_row[key]], axis=1), *links])
    ones = np.ones(len(edges), dtype=np.int8)
    graph = coo_array((ones, (edges[:, 0], edges[:, 1])), shape=(n, n))
    label = connected_components(graph, directed=False)[1]
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    order = np.empty(len(first), dtype=np.int64)
    order[np.argsort(first)] = np.arange(len(first))
    return np.asarray(order[inverse], dtype=np.int64)
