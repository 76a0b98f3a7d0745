"""Which of many keys a key is: a table of hashes, many times faster than a search for each token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .tfidf import Ints

Keys = npt.NDArray[Any]
"""(n,) uint32, or int64 where a key needs more"""


@dataclass(frozen=True, eq=False)
class PairIndex:
    """Keys → their places."""

    slots: Keys
    """the key in each slot of the table; where one is free, the largest number of its type"""
    places: npt.NDArray[np.int32]

    @classmethod
    def of(cls, keys: Ints, limit: int) -> PairIndex:
        """Unique keys from 0 to under ``limit``, as all that are asked for; in 32 bits where they fit."""
        kind: type[np.integer[Any]] = np.uint32 if limit <= np.iinfo(np.uint32).max else np.int64
        kept = keys.astype(kind)
        count = 1 << max(4, (8 * len(keys)).bit_length())
        free = np.iinfo(kind).max
        index = cls(np.full(count, free, dtype=kind), np.zeros(count, dtype=np.int32))
        left = np.arange(len(kept))
        slot = index._slot(kept)
        while len(left):
            empty = np.flatnonzero(index.slots[slot] == free)
            put = empty[np.unique(slot[empty], return_index=True)[1]]
            index.slots[slot[put]], index.places[slot[put]] = kept[left[put]], left[put]
            again = np.ones(len(left), dtype=np.bool_)
            again[put] = False
            left, slot = left[again], (slot[again] + 1) & (count - 1)
        return index

    @property
    def dtype(self) -> Any:
        """Of the keys that are asked for."""
        return self.slots.dtype

    def find(self, wanted: Keys) -> tuple[Ints, npt.NDArray[np.int32]]:
        """Which of the wanted keys are there, in order, and the place of each of these."""
        slot = self._slot(wanted)
        there = self.slots[slot]
        hit = there == wanted
        left = np.flatnonzero(~hit & (there != np.iinfo(self.dtype).max))
        while len(left):
            slot[left] = (slot[left] + 1) & (len(self.slots) - 1)
            there = self.slots[slot[left]]
            found = there == wanted[left]
            hit[left[found]] = True
            left = left[~found & (there != np.iinfo(self.dtype).max)]
        which = np.flatnonzero(hit)
        return which, self.places[slot[which]]

    def _slot(self, keys: Keys) -> npt.NDArray[np.int64]:
        # the upper bits of a multiple (Knuth's multiplicative hashing)
        bits = len(self.slots).bit_length() - 1
        if self.dtype == np.uint32:
            return ((keys * np.uint32(0x9E3779B1)) >> np.uint32(32 - bits)).astype(np.int64)
        mixed = keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        return (mixed >> np.uint64(64 - bits)).astype(np.int64)
