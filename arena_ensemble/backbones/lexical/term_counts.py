"""Which terms of a vocabulary each text holds and how often, in arrays of 32 bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from ...features.cutting import Classes, Hashes, cut, hashes_of
from .pair_index import PairIndex
from .tfidf import CHARACTERS, END, START, TOKENS_OF_ONE, Floats, Ints

Ints32 = npt.NDArray[np.int32]

_CLASSES: Final = Classes.of(CHARACTERS, TOKENS_OF_ONE)
_KEYS: Final = 1 << 63


@dataclass(frozen=True, eq=False)
class TermRows:
    """Terms of n rows: those of row i are ``terms[starts[i]:starts[i + 1]]``, in rising order."""

    starts: Ints
    """(n + 1,)"""
    terms: Ints32
    weights: Floats
    """``1 + ln count`` of each"""


@dataclass(frozen=True, eq=False)
class SideCounts:
    """The terms of both answers of n battles."""

    a: TermRows
    b: TermRows
    only_a: TermRows
    """those that the other answer lacks"""
    only_b: TermRows
    both: TermRows
    """those that both have, with the weights of the first"""
    both_b: Floats
    """the weights of the second"""


@dataclass(frozen=True, eq=False)
class TermIndex:
    """A vocabulary: ``size`` words, numbered as they are sorted, and after them pairs of words."""

    words: PairIndex
    """of hashes, see `hashes_of`"""
    size: int
    ends: tuple[int, int]
    """the places of `START` and `END`, -1 where they are no words of it"""
    pairs: PairIndex
    width: int
    """words and pairs"""

    @classmethod
    def of(cls, words: Sequence[str], pairs: Ints) -> TermIndex:
        """Of sorted words, and of pairs ``first * len(words) + second``, sorted."""
        place = {word: k for k, word in enumerate(words)}
        ends = place.get(START, -1), place.get(END, -1)
        index = PairIndex.of(_keys(hashes_of(words)), _KEYS)
        return cls(index, len(words), ends, PairIndex.of(pairs, len(words) ** 2), len(words) + len(pairs))

    def most_rows(self) -> int:
        """Battles whose terms can be numbered in 32 bits."""
        return max(1, np.iinfo(np.uint32).max // (2 * max(1, self.width)))

    def count(self, a: pl.Series, b: pl.Series) -> SideCounts:
        """Terms of both answers of n battles, `most_rows` at most."""
        n = len(a)
        code, starts = self._codes(pl.concat([a, b]))
        base = np.arange(2 * n, dtype=np.uint32) % np.uint32(max(n, 1)) * np.uint32(2 * self.width)
        base[n:] += np.uint32(1)
        of_token = np.repeat(base, np.diff(starts))
        known = np.flatnonzero(code >= 0)
        words = of_token[known] + code[known].astype(np.uint32) * np.uint32(2)
        both = (code[:-1] >= 0) & (code[1:] >= 0)
        both[starts[1:-1] - 1] = False  # the end of one text and the start of the next
        first = np.flatnonzero(both)
        pair = code[first].astype(self.pairs.dtype) * self.pairs.dtype.type(self.size)
        which, place = self.pairs.find(pair + code[first + 1].astype(self.pairs.dtype))
        pairs = of_token[first[which]] + (place.astype(np.uint32) + np.uint32(self.size)) * np.uint32(2)
        return self._split(np.concatenate([words, pairs]), n)

    def _codes(self, texts: pl.Series) -> tuple[Ints32, Ints]:
        """Every token's word, -1 for an unknown one, with each text's ends; and where each text begins."""
        found = cut(texts.str.to_lowercase(), _CLASSES)
        text = np.arange(len(texts))
        starts = found.starts + 2 * np.arange(len(texts) + 1)
        code = np.full(starts[-1], -1, dtype=np.int32)
        which, place = self.words.find(_keys(found.tokens))
        code[which + np.repeat(2 * text + 1, np.diff(found.starts))[which]] = place
        code[starts[:-1]], code[starts[1:] - 1] = self.ends
        return code, starts

    def _split(self, numbers: npt.NDArray[np.uint32], n: int) -> SideCounts:
        """Of one number for each term's occurrence: ``(battle * width + term) * 2 + side``."""
        # polars sorts integers faster than numpy
        key = pl.Series(numbers).sort().to_numpy()
        first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if len(key) else np.arange(0)
        count = np.diff(np.append(first, len(key)))
        log = 1 + np.log(np.arange(1, 1 + int(count.max(initial=1)), dtype=np.float64))
        weight = log[count - 1]
        key = key[first]
        cell = key >> np.uint32(1)
        row = cell // np.uint32(max(self.width, 1))
        term = (cell - row * np.uint32(self.width)).astype(np.int32)
        shared = np.flatnonzero(cell[1:] == cell[:-1])
        kind = (key & np.uint32(1)).astype(np.int8)
        in_a, in_b = np.flatnonzero(kind == 0), np.flatnonzero(kind == 1)
        kind[shared] = kind[shared + 1] = 2
        only_a, only_b = np.flatnonzero(kind == 0), np.flatnonzero(kind == 1)

        def rows(which: Ints) -> TermRows:
            starts = np.searchsorted(row[which], np.arange(n + 1, dtype=np.uint32))
            return TermRows(starts, term[which], weight[which])

        a, b, alone_a, alone_b, both = map(rows, (in_a, in_b, only_a, only_b, shared))
        return SideCounts(a, b, alone_a, alone_b, both, weight[shared + 1])


def _keys(hashes: Hashes) -> Ints:
    return (hashes >> np.uint64(1)).astype(np.int64)


def sums(rows: TermRows, weights: Floats, table: Floats) -> Floats:
    """(n, k): each row's weights times its terms' lines in a (U, k) table, added in the terms' order."""
    shape = len(rows.starts) - 1, len(table)
    return np.asarray(sparse.csr_matrix((weights, rows.terms, rows.starts), shape=shape) @ table)


def row_sums(starts: Ints, values: Floats) -> Floats:
    """(n, k): the sums of consecutive lines of a (m, k) table, added in their order; of none, zeros."""
    shape = len(starts) - 1, len(values)
    ones, lines = np.ones(len(values)), np.arange(len(values))
    return np.asarray(sparse.csr_matrix((ones, lines, starts), shape=shape) @ values)
