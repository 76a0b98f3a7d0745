"""Near-duplicate texts: MinHash signatures (Broder 1997) in bands, then the exact similarity.

Signatures of all texts are computed at once in numpy, which keeps 57,477 prompts within a second (an
object per text takes many times longer). Bands only propose pairs: each pair is checked on the sets of
5-grams themselves, so that no two texts are joined because of a hash collision.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from scipy.integrate import quad

from ..errors import InputError

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

GRAM: Final = 5
"""Characters of a shingle."""
MAX_CHARS: Final = 4000
"""Only this much of a text is compared: its first half and its last half when it is longer."""
_PERMUTATIONS: Final = 128
_CHUNK_CHARS: Final = 1 << 18
_MISS_WEIGHT: Final = 0.99
"""A missed pair is a leak, a false proposal costs microseconds: nearly all weight on not missing. A pair
whose similarity equals the threshold is then proposed with probability 0.98 to 0.99."""
_STRICTEST: Final = 0.95
"""Banding for stricter thresholds is that of this one: fewer, longer bands would miss more."""
_COMPARISONS_PER_TEXT: Final = 64
"""Most comparisons in one bucket, per text of it; after that, the other bands must find the pair."""
_CHUNK_TEXTS: Final = 4096


class Texts(Protocol):
    """Texts by their number, in memory or on a disk."""

    def __getitem__(self, number: int, /) -> str:
        """The text of this number."""
        ...


def near_duplicate_links(texts: Sequence[str], *, threshold: float) -> Ints:
    """Pairs of texts (m, 2), int64 places in ``texts``, that connect all near-duplicates found.

    The exact similarity of every pair is at least ``threshold``. Two texts that other pairs already
    connect are not compared, so m is less than the number of texts, and a thousand copies of one
    template cost about a thousand comparisons instead of half a million.

    Raises
    ------
    InputError
        The threshold lies outside (0, 1].
    """
    keys = band_keys(texts, threshold)
    return links_of_bands(keys.T, texts, threshold=threshold)


def check_threshold(threshold: float) -> None:
    """Raise InputError for a similarity outside (0, 1]."""
    if not 0 < threshold <= 1:
        raise InputError(f"near_duplicates is {threshold}, expected a similarity above 0 and up to 1")


def links_of_bands(bands: Iterable[Hashes], texts: Texts, *, threshold: float) -> Ints:
    """As `near_duplicate_links`, of texts whose keys (n,) come one band after the other, see `band_keys`.

    In memory are one band's keys with their order, 8 bytes a text for what is joined already, and 16 bytes a
    link; texts are asked for where two share a key.
    """
    links, parent = array("q"), array("q")
    for key in bands:
        parent = parent or array("q", range(len(key)))
        for bucket in _buckets(key):
            for i, j in _links_in_bucket(bucket, parent, texts, threshold):
                links.append(i)
                links.append(j)
    return np.array(links, dtype=np.int64).reshape(-1, 2)


def _links_in_bucket(
    bucket: list[int], parent: array[int], texts: Texts, threshold: float
) -> Iterator[tuple[int, int]]:
    """Compare texts of one bucket that no chain of links joins yet; yield a link for each match."""
    clusters: dict[int, list[int]] = {}
    comparisons_left = _COMPARISONS_PER_TEXT * len(bucket)
    for j in bucket:
        root = _find_root(parent, j)
        members = clusters.pop(root, [])
        for other in list(clusters):
            for i in clusters[other]:
                comparisons_left -= 1
                if similarity(texts[i], texts[j]) >= threshold:
                    yield i, j
                    parent[other] = root
                    members += clusters.pop(other)
                    break
                if comparisons_left < 0:
                    return
        clusters[root] = [*members, j]


def _find_root(parent: array[int], k: int) -> int:
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


def similarity(a: str, b: str) -> float:
    """Jaccard similarity of two texts' sets of character 5-grams, as the search above measures it."""
    grams_a, grams_b = _distinct_grams(a), _distinct_grams(b)
    shared = len(np.intersect1d(grams_a, grams_b, assume_unique=True))
    return shared / (len(grams_a) + len(grams_b) - shared)


@lru_cache(maxsize=4096)
def _distinct_grams(text: str) -> Hashes:
    return np.unique(_hashed_grams(np.frombuffer(_padded(text), dtype=np.uint32)))


def compared_part(text: str) -> str:
    """What of a text is compared; of that, all is."""
    if len(text) <= MAX_CHARS:
        return text
    return text[: MAX_CHARS // 2] + text[-MAX_CHARS // 2 :]


def _padded(text: str) -> bytes:
    """Code points, four bytes each, of a text with a blank at both ends and at least 5 long."""
    return f" {compared_part(text)} ".ljust(GRAM).encode("utf-32-le", "surrogatepass")


def _hashed_grams(codes: npt.NDArray[np.uint32]) -> Hashes:
    """A 64-bit hash of every window of 5 code points, (len - 4,)."""
    value = np.zeros(len(codes) - GRAM + 1, dtype=np.uint64)
    for place in range(GRAM):
        value *= _BASE
        value += codes[place : place + len(value)]
    # scatter the bits: the finaliser of splitmix64 (Steele, Lea and Flood 2014)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


_BASE: Final = np.uint64(0x9E3779B97F4A7C15)


def _signatures(texts: Sequence[str]) -> npt.NDArray[np.uint32]:
    """MinHash signatures (n, 128): the least value of each text's grams under 128 fixed hash functions."""
    rng = np.random.default_rng(20240503)
    factors = rng.integers(0, 1 << 31, size=_PERMUTATIONS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    signature = np.empty((len(texts), _PERMUTATIONS), dtype=np.uint32)
    start = 0
    while start < len(texts):
        parts: list[bytes] = []
        chars = 0
        while start + len(parts) < len(texts) and chars < _CHUNK_CHARS:
            parts.append(_padded(texts[start + len(parts)]))
            chars += len(parts[-1]) // 4
        sizes = np.array([len(part) // 4 for part in parts])
        ends = np.cumsum(sizes)
        grams = _hashed_grams(np.frombuffer(b"".join(parts), dtype=np.uint32))
        # windows that run from one text into the next are left out
        whole = np.ones(len(grams), dtype=np.bool_)
        for place in range(1, GRAM):
            whole[ends[:-1] - place] = False
        values = (grams[whole] >> np.uint64(32)).astype(np.uint32)
        begins = np.concatenate([[0], np.cumsum(sizes - GRAM + 1)[:-1]])
        scattered = np.empty_like(values)
        for k, factor in enumerate(factors):
            # an odd multiple modulo 2**32 shuffles the hashes (Dietzfelbinger et al. 1997)
            np.multiply(values, factor, out=scattered)
            signature[start : start + len(parts), k] = np.minimum.reduceat(scattered, begins)
        start += len(parts)
    return signature


@cache
def choose_banding(threshold: float) -> tuple[int, int]:
    """Number of bands and rows in each for a Jaccard threshold.

    Two texts of similarity s share at least one of b bands of r rows with probability
    1 - (1 - s^r)^b (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4.2). Of all
    b and r with b r <= 128 this takes those with the least weighted area of false proposals below the
    threshold and of misses above it, equal s being equally likely: the search of datasketch's
    ``MinHashLSH`` (Zhu, Nargesian, Pu and Miller, LSH Ensemble, arXiv:1603.07410).
    """

    def cost(banding: tuple[int, int]) -> float:
        bands, rows = banding

        def missed(s: float) -> float:
            return float((1 - s**rows) ** bands)

        proposed_below = quad(lambda s: 1 - missed(s), 0.0, threshold)[0]
        missed_above = quad(missed, threshold, 1.0)[0]
        return float(proposed_below * (1 - _MISS_WEIGHT) + missed_above * _MISS_WEIGHT)

    bandings = [(b, r) for b in range(1, _PERMUTATIONS + 1) for r in range(1, _PERMUTATIONS // b + 1)]
    return min(bandings, key=cost)


def count_bands(threshold: float) -> int:
    """How many keys a text has."""
    return choose_banding(min(threshold, _STRICTEST))[0]


def band_keys(texts: Sequence[str], threshold: float) -> Hashes:
    """A key for each band of each text's signature, (n, bands): texts with an equal key are compared.

    Raises
    ------
    InputError
        The threshold lies outside (0, 1].
    """
    check_threshold(threshold)
    bands, rows = choose_banding(min(threshold, _STRICTEST))
    keys = np.zeros((len(texts), bands), dtype=np.uint64)
    for start in range(0, len(texts), _CHUNK_TEXTS):
        signature = _signatures(texts[start : start + _CHUNK_TEXTS])
        part = keys[start : start + _CHUNK_TEXTS]
        for band in range(bands):
            key = part[:, band]
            for column in signature[:, band * rows : (band + 1) * rows].T:
                key ^= column  # a collision only proposes a pair that the comparison then rejects
                key *= _BASE
                key ^= key >> np.uint64(29)
    return keys


def _buckets(key: Hashes) -> Iterator[list[int]]:
    """Texts of equal keys, two or more at a time, in the order of the keys."""
    order = np.argsort(key, kind="stable")
    in_order = key[order]
    begins = np.flatnonzero(np.concatenate([[True], in_order[1:] != in_order[:-1]])) if len(key) else order
    ends = np.append(begins[1:], len(key))
    several = np.flatnonzero(ends - begins > 1)
    for begin, end in zip(begins[several].tolist(), ends[several].tolist(), strict=True):
        yield order[begin:end].tolist()
