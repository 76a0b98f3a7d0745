"""How many words a prompt and two answers have, and how many they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from .cutting import Classes, Cut, cut
from .patterns import WORD_CHARACTERS, WORDS_OF_ONE

Counts = npt.NDArray[np.int64]

SIDES: Final = ("p", "a", "b")
SHARED: Final = {"pa": 0b011, "pb": 0b101, "ab": 0b110}
BLOCK_ROWS: Final = 128
"""Rows whose words are held at once: their arrays stay in a cache, and a row's number has 7 bits of a key."""
_CLASSES: Final = Classes.of([WORD_CHARACTERS], WORDS_OF_ONE)
_ROW: Final = np.uint64(57)
_OPENING: Final = 5


def word_counts(low: pl.DataFrame) -> pl.DataFrame:
    """Counts of the words of each row's lowercased texts ``p_low``, ``a_low``, ``b_low``.

    Returns
    -------
    ``p_words``, ``p_vocabulary`` and the like, the words and the distinct ones; ``pa``, ``pb``, ``ab``, the
    distinct ones that two texts share; ``same_start``, whether the answers begin with the same five words.
    """
    texts = [low[f"{side}_low"] for side in SIDES]
    found = [
        _block([one[k : k + BLOCK_ROWS] for one in texts]) for k in range(0, max(len(low), 1), BLOCK_ROWS)
    ]
    names = [*(f"{side}_{what}" for what in ("words", "vocabulary") for side in SIDES), *SHARED, "same_start"]
    columns = dict(zip(names, np.concatenate(found, axis=1), strict=True))
    return pl.DataFrame(columns).cast({"same_start": pl.Boolean})


def _block(texts: Sequence[pl.Series]) -> Counts:
    """(10, n): the columns of `word_counts`."""
    n = len(texts[0])
    words = cut(pl.concat(texts), _CLASSES)
    sizes = np.diff(words.starts).reshape(3, n)
    held = _distinct(words, sizes)
    vocabulary = [held[:, [texts for texts in range(8) if texts >> k & 1]].sum(axis=1) for k in range(3)]
    shared = [
        held[:, [texts for texts in range(8) if texts & both == both]].sum(axis=1) for both in SHARED.values()
    ]
    return np.stack([*sizes, *vocabulary, *shared, _same_start(words, sizes)])


def _distinct(words: Cut, sizes: Counts) -> Counts:
    """(n, 8): of each row's distinct words, how many are in exactly those texts whose bits the column has."""
    n = sizes.shape[1]
    text = np.arange(3, dtype=np.uint64)[:, None] | (np.arange(n, dtype=np.uint64) << _ROW)
    # 55 bits of a word stand between its row and its text; polars sorts integers faster than numpy
    key = words.tokens >> np.uint64(7) & ~np.uint64(3) | np.repeat(text.ravel(), sizes.ravel())
    key = pl.Series(key).sort().to_numpy()
    key = key[_firsts(key)]
    word = key >> np.uint64(2)
    first = _firsts(word)
    if not len(first):
        return np.zeros((n, 8), dtype=np.int64)
    bits = np.left_shift(np.uint8(1), (key & np.uint64(3)).astype(np.uint8))
    cell = (key[first] >> _ROW).astype(np.int64) * 8 + np.bitwise_or.reduceat(bits, first)
    return np.bincount(cell, minlength=8 * n).reshape(n, 8)


def _same_start(words: Cut, sizes: Counts) -> npt.NDArray[np.bool_]:
    n = sizes.shape[1]
    first_a, first_b = words.starts[n : 2 * n], words.starts[2 * n : 3 * n]
    size_a, size_b = np.minimum(sizes[1:], _OPENING)
    same = np.asarray(size_a == size_b, dtype=np.bool_)
    for k in range(_OPENING):
        at = np.flatnonzero(same & (size_a > k))
        same[at] = words.tokens[first_a[at] + k] == words.tokens[first_b[at] + k]
    return same


def _firsts(key: npt.NDArray[np.uint64]) -> Counts:
    """Where each run of equal keys begins."""
    return np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if len(key) else np.arange(0)
