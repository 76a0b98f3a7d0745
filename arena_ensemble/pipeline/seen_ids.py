"""Ids that were met before, at 8 bytes a row: numbers as they are, texts by a hash of 64 bits."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

Keys = npt.NDArray[np.uint64]

_SEED: Final = 20261126


def id_keys(ids: pl.Series) -> Keys:
    """(n,) a key for each id: equal ids have equal keys, and other integers other ones."""
    keys = ids.cast(pl.Int64).reinterpret(signed=False) if ids.dtype == pl.Int64 else ids.hash(seed=_SEED)
    return keys.to_numpy()


class SeenIds:
    """Keys in sorted arrays, each at least twice as long as the next: a search in each finds a key."""

    def __init__(self) -> None:
        self._sorted: list[Keys] = []

    def add(self, keys: Keys) -> npt.NDArray[np.int64]:
        """Add keys that are unique among themselves; returns the places of those that were met before."""
        met = np.zeros(len(keys), dtype=np.bool_)
        for known in self._sorted:
            place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
            met |= known[place] == keys
        added = np.sort(keys)
        while self._sorted and len(self._sorted[-1]) < 2 * len(added):
            # two sorted runs: the stable sort merges them in one pass
            added = np.sort(np.concatenate([self._sorted.pop(), added]), kind="stable")
        if len(added):
            self._sorted.append(added)
        return np.flatnonzero(met)

    def __len__(self) -> int:
        return sum(map(len, self._sorted))
