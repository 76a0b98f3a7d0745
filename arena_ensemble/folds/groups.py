"""Which battles belong together: those that ask the same thing, or repeat the same answers.

Judges and models answer the same prompt many times, so a fold that splits a prompt lets a model
recognise it. The key is the first turn alone, since later turns depend on the answers.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..battles import Battles
from .near_duplicates import (
    Hashes,
    band_keys,
    check_threshold,
    compared_part,
    count_bands,
    links_of_bands,
)

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


def grouping(
    battles: Battles,
    *,
    near_duplicates: float | None = NEAR_DUPLICATES,
    store: PromptStore | None = None,
) -> Grouping:
    """Join battles that share a prompt.

    Two battles are in one group when their normalised first turns are equal, when they show the same
    pair of answers (in either order, 40 characters or more together), or when their first turns are
    near-duplicates; and when a chain of such pairs leads from one to the other.

    Parameters
    ----------
    near_duplicates
        Jaccard similarity in (0, 1] of the first turns' character 5-grams; None: equal prompts only.
    store
        Where prompts wait until all were seen; None: in memory.
    """
    builder = GroupBuilder(near_duplicates=near_duplicates, store=store)
    for part in battles.parts():
        builder.add(part)
    return builder.finish()


def prompt_keys(battles: Battles) -> tuple[Ints, list[str]]:
    """The number of each row's normalised first turn, (n,), and those turns in order of their numbers."""
    numbers: dict[str, int] = {}
    first = battles.frame["prompt"].list.first().to_list()
    keys = [numbers.setdefault(normalised_text(text), len(numbers)) for text in first]
    return np.array(keys, dtype=np.int64), list(numbers)


class PromptStore(Protocol):
    """Where prompts wait until all battles were seen: in memory, or on a disk."""

    def add(self, texts: Sequence[str], keys: Hashes) -> None:
        """Append texts, and their keys (k, bands) of `near_duplicates.band_keys`."""
        ...

    def text(self, place: int) -> str:
        """The text that was added at this place."""
        ...

    def band(self, number: int) -> Hashes:
        """One band's keys of all texts, in the order in which they were added."""
        ...


class InMemory:
    """Prompts in memory: their texts, and some 200 bytes each for their keys."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._keys: list[Hashes] = []

    def add(self, texts: Sequence[str], keys: Hashes) -> None:
        """See `PromptStore`."""
        self._texts += texts
        self._keys.append(keys)

    def text(self, place: int) -> str:
        """See `PromptStore`."""
        return self._texts[place]

    def band(self, number: int) -> Hashes:
        """See `PromptStore`."""
        return np.concatenate([keys[:, number] for keys in self._keys])


class GroupBuilder:
    """As `grouping`, of battles seen some at a time: the same groups to the bit, however they are cut.

    In memory are 32 bytes a row, and 16 for each prompt in the ``store``, which holds the prompts themselves;
    about as much again when the groups are made. A prompt is known by a hash of 128 bits, and so is a pair of
    answers: equal by accident once in 10^27 pairs.
    """

    def __init__(
        self, *, near_duplicates: float | None = NEAR_DUPLICATES, store: PromptStore | None = None
    ) -> None:
        if near_duplicates is not None:
            check_threshold(near_duplicates)
        self._threshold = near_duplicates
        self._store = InMemory() if store is None else store
        self._rows = 0
        self._place = array("q")
        """of each row, the place of its prompt in the store"""
        self._hashes = array("Q"), array("Q")
        """of each prompt in the store"""
        self._answers = array("q"), array("Q"), array("Q")
        """rows, and the hashes of their two answers, the lesser one first"""

    def add(self, battles: Battles) -> None:
        """Further battles, in the order of their rows."""
        own, texts = prompt_keys(battles)
        _extend(self._place, own + len(self._hashes[0]))
        column = pl.Series(texts, dtype=pl.String)
        for seed, kept in enumerate(self._hashes, start=11):
            _extend(kept, column.hash(seed=seed).to_numpy())
        if self._threshold is not None:
            compared = [compared_part(text) for text in texts]
            self._store.add(compared, band_keys(compared, self._threshold))
        for found, answers in zip(_answer_hashes(battles, self._rows), self._answers, strict=True):
            _extend(answers, found)
        self._rows += len(battles)

    def finish(self) -> Grouping:
        """The groups of all battles that were added."""
        if not self._rows:
            return Grouping(np.zeros(0, dtype=np.int64), 0, 0, 0, self._threshold)
        number, first = _numbered(*map(np.asarray, self._hashes))
        prompt = number[np.asarray(self._place)]
        del number
        links = [prompt[_answer_links(*map(np.asarray, self._answers))]]
        before = after = _joined(len(first), links)
        if self._threshold is not None and len(first) > 1:
            keys = (self._store.band(k)[first] for k in range(count_bands(self._threshold)))
            prompts = _Prompts(self._store, first)
            links.append(links_of_bands(keys, prompts, threshold=self._threshold))
            after = _joined(len(first), links)
        groups = [int(label.max()) + 1 for label in (before, after)]
        saved = len(first) - groups[0], groups[0] - groups[1]
        return Grouping(after[prompt], len(first), *saved, self._threshold)


def _extend(kept: array[int], values: npt.NDArray[Any]) -> None:
    kept.frombytes(values.tobytes())


class _Prompts:
    """The different prompts by their number: the text of the first of equal ones."""

    def __init__(self, store: PromptStore, first: Ints) -> None:
        self._store, self._first = store, first

    def __getitem__(self, number: int, /) -> str:
        return self._store.text(int(self._first[number]))


def _answer_hashes(battles: Battles, before: int) -> tuple[Ints, Hashes, Hashes]:
    """Rows whose answers are long enough to compare, counted from ``before``, and two hashes, (k,) each."""
    sides = battles.frame.select(
        pl.col(name).list.join("\n", ignore_nulls=True).str.strip_chars().alias(name)
        for name in ("response_a", "response_b")
    )
    hashes = sides.select(
        pl.int_range(before, before + pl.len(), dtype=pl.Int64).alias("row"),
        pl.sum_horizontal(pl.all().str.len_chars()).alias("chars"),
        *(pl.col(name).hash(seed=7).alias(name) for name in sides.columns),
    )
    pairs = hashes.filter(pl.col("chars") >= _SHORT_ANSWERS).select(
        "row",
        low=pl.min_horizontal("response_a", "response_b"),
        high=pl.max_horizontal("response_a", "response_b"),
    )
    return pairs["row"].to_numpy(), pairs["low"].to_numpy(), pairs["high"].to_numpy()


def _answer_links(row: Ints, low: Hashes, high: Hashes) -> Ints:
    """Pairs of rows (m, 2) that show the same two answers, each row linked to the first such row."""
    order, new = _runs(low, high)
    ordered = row[order]
    first = ordered[new][np.cumsum(new) - 1]
    return np.stack([first[~new], ordered[~new]], axis=1)


def _runs(*keys: npt.NDArray[Any]) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """An order (n,) that puts equal keys together, the first of them first, and where a new one begins."""
    order = np.lexsort(keys[::-1])
    new = np.zeros(len(order), dtype=np.bool_)
    new[:1] = True
    for key in keys:
        ordered = key[order]
        new[1:] |= ordered[1:] != ordered[:-1]
    return order, new


def _numbered(*keys: npt.NDArray[Any]) -> tuple[Ints, Ints]:
    """Keys as numbers (n,) in order of their first appearance, and where each number first appears."""
    order, new = _runs(*keys)
    first = order[new]
    by_place = np.argsort(first)
    rank = np.empty(len(first), dtype=np.int64)
    rank[by_place] = np.arange(len(first))
    number = np.empty(len(order), dtype=np.int64)
    number[order] = rank[np.cumsum(new) - 1]
    return number, first[by_place]


def _joined(count: int, links: list[Ints]) -> Ints:
    """Connected components (count,) of the links, numbered as they appear."""
    edges = np.concatenate(links)
    ones = np.ones(len(edges), dtype=np.int8)
    graph = coo_array((ones, (edges[:, 0], edges[:, 1])), shape=(count, count))
    return _numbered(connected_components(graph, directed=False)[1])[0]
