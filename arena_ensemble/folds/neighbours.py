"""Near-duplicate texts: MinHash signatures (Broder 1997) in bands, then the exact similarity.

Signatures of all texts are made at once in numpy, which is what keeps 57,477 prompts within seconds;
datasketch chooses the banding for a threshold (and is the tests' oracle). Bands only propose pairs:
each is checked on the sets of 5-grams themselves, so no text is joined by an unlucky hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
from datasketch import MinHashLSH

from ..errors import InputError

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

GRAM: Final = 5
"""Characters of a shingle."""
MAX_CHARS: Final = 4000
"""Only this much of a text is compared: its first half and its last half when it is longer."""
_PERMUTATIONS: Final = 128
_CHUNK_GRAMS: Final = 1 << 20
_MISS_WEIGHT: Final = 0.99
"""A missed pair is a leak, a proposed pair costs microseconds: nearly all weight on not missing. A pair
exactly as alike as the threshold is then proposed with probability 0.98 to 0.99."""
_STRICTEST: Final = 0.95
"""Banding for stricter thresholds is that of this one: fewer, longer bands would miss more."""
_TRIES_PER_TEXT: Final = 64
"""Comparisons in one bucket, per text of it, before the rest is left to the other bands."""


def near_duplicate_links(texts: Sequence[str], *, threshold: float) -> Ints:
    """Pairs of texts (m, 2) whose chains join all near-duplicates that were found.

    Every pair is at least ``threshold`` alike, by the exact similarity. Pairs that other links already
    join are not looked for, so m is less than the number of texts, and a thousand copies of one
    template cost a thousand comparisons and not half a million.

    Raises
    ------
    InputError
        The threshold lies outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise InputError(f"near_duplicates is {threshold}, expected a similarity above 0 and up to 1")
    links: list[tuple[int, int]] = []
    if len(texts) > 1:
        grams, ends = _grams(texts)
        parent = list(range(len(texts)))
        for bucket in _buckets(_signatures(grams, ends), threshold):
            links.extend(_joined(bucket, parent, grams, ends, threshold))
    return np.array(links, dtype=np.int64).reshape(-1, 2)


def _joined(
    bucket: list[int], parent: list[int], grams: Hashes, ends: Ints, threshold: float
) -> Iterator[tuple[int, int]]:
    """Compare the texts of one bucket that no chain joins yet, and join those alike."""
    clusters: dict[int, list[int]] = {}
    tries = _TRIES_PER_TEXT * len(bucket)
    for j in bucket:
        mine = _root(parent, j)
        members = clusters.pop(mine, [])
        for other in list(clusters):
            for i in clusters[other]:
                tries -= 1
                if _jaccard(grams[ends[i] : ends[i + 1]], grams[ends[j] : ends[j + 1]]) >= threshold:
                    yield i, j
                    parent[other] = mine
                    members += clusters.pop(other)
                    break
                if tries < 0:
                    return
        clusters[mine] = [*members, j]


def _root(parent: list[int], k: int) -> int:
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


def similarity(a: str, b: str) -> float:
    """Jaccard similarity of two texts' sets of character 5-grams, as the search above measures it."""
    grams, ends = _grams([a, b])
    return _jaccard(grams[: ends[1]], grams[ends[1] :])


def _grams(texts: Sequence[str]) -> tuple[Hashes, Ints]:
    """Sorted distinct hashed 5-grams of every text, end to end, and where each text's begin, (n + 1,)."""
    parts: list[Hashes] = []
    ends = np.zeros(len(texts) + 1, dtype=np.int64)
    for k, whole in enumerate(texts):
        text = whole if len(whole) <= MAX_CHARS else whole[: MAX_CHARS // 2] + whole[-MAX_CHARS // 2 :]
        codes = np.frombuffer(f" {text} ".ljust(GRAM).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        value = np.zeros(len(codes) - GRAM + 1, dtype=np.uint64)
        for place in range(GRAM):
            value = value * _BASE + codes[place : place + len(value)]
        parts.append(np.unique(_mixed(value)))
        ends[k + 1] = ends[k] + len(parts[-1])
    return np.concatenate(parts), ends


_BASE: Final = np.uint64(0x9E3779B97F4A7C15)


def _mixed(value: Hashes) -> Hashes:
    """Scatter the bits (the finaliser of splitmix64, Steele, Lea and Flood 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _signatures(grams: Hashes, ends: Ints) -> npt.NDArray[np.uint32]:
    """MinHash signatures (n, 128): the least value of each text's grams under 128 fixed hash functions."""
    rng = np.random.default_rng(20240503)
    factors = rng.integers(0, 1 << 63, size=_PERMUTATIONS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    n = len(ends) - 1
    signature = np.empty((n, _PERMUTATIONS), dtype=np.uint32)
    start = 0
    while start < n:
        stop = max(start + 1, int(np.searchsorted(ends, ends[start] + _CHUNK_GRAMS, side="right")) - 1)
        part = grams[ends[start] : ends[stop]]
        places = ends[start:stop] - ends[start]
        for k, factor in enumerate(factors):
            # multiply and shift: the upper half of an odd multiple (Dietzfelbinger et al. 1997)
            values = ((part * factor) >> np.uint64(32)).astype(np.uint32)
            signature[start:stop, k] = np.minimum.reduceat(values, places)
        start = stop
    return signature


@cache
def _banding(threshold: float) -> tuple[int, int]:
    """Number of bands and rows in each, by datasketch's search over both kinds of error."""
    chosen = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS, weights=(1 - _MISS_WEIGHT, _MISS_WEIGHT))
    return int(chosen.b), int(chosen.r)


def _buckets(signature: npt.NDArray[np.uint32], threshold: float) -> Iterator[list[int]]:
    """Texts that agree in a whole band of their signatures, two or more at a time, in a fixed order."""
    bands, rows = _banding(min(threshold, _STRICTEST))
    for band in range(bands):
        part = np.ascontiguousarray(signature[:, band * rows : (band + 1) * rows])
        key = part.view([("", part.dtype)] * rows).ravel()
        _, inverse, count = np.unique(key, return_inverse=True, return_counts=True)
        shared = np.flatnonzero(count[inverse] > 1)
        order = shared[np.argsort(inverse[shared], kind="stable")]
        cuts = np.flatnonzero(np.diff(inverse[order])) + 1
        for bucket in np.split(order, cuts):
            if len(bucket):
                yield bucket.tolist()


def _jaccard(a: Hashes, b: Hashes) -> float:
    if min(len(a), len(b)) == 0:
        return float(len(a) == len(b))
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)
