"""Texts cut into tokens by the classes of their characters, on bytes: a token is a number of 64 bits.

What a regular expression of character classes finds, several times faster: neighbours of one class are a
token, or each character is one where its class says so. Equal tokens have equal numbers; that two others
share one happens by chance once in 2**64 pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

Bytes = npt.NDArray[np.uint8]
Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
Ranges = Sequence[tuple[int, int]]

BLOCK_TEXTS: Final = 256
"""Texts cut at once: their arrays stay in a cache."""
_SINGLE: Final = 255
_WIDTH: Final = 8
_LONG: Final = 64
"""bytes from which a token is hashed by itself"""
_MASKS: Final = np.array([(1 << 8 * size) - 1 for size in range(_WIDTH + 1)], dtype=np.uint64)
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_HALF: Final = np.uint64(32)


@dataclass(frozen=True, eq=False)
class Classes:
    """The class of every code point: 0 in no token, others make tokens of neighbours, 255 stands alone."""

    of_code: Bytes
    of_ascii: bytes
    """of each byte: 0 from 128 on"""

    @classmethod
    def of(cls, runs: Sequence[Ranges], single: Ranges) -> Classes:
        """Of ranges of code points, ends included: those of each kind of run, and those that stand alone."""
        table = np.zeros(0x110000, dtype=np.uint8)
        for number, ranges in enumerate(runs, start=1):
            for first, last in ranges:
                table[first : last + 1] = number
        for first, last in single:
            table[first : last + 1] = _SINGLE
        return cls(table, table[:128].tobytes() + bytes(128))


@dataclass(frozen=True, eq=False)
class Cut:
    """The tokens of n texts: those of text i are ``tokens[starts[i]:starts[i + 1]]``."""

    starts: Places
    tokens: Hashes


def cut(texts: pl.Series, classes: Classes) -> Cut:
    """The tokens of texts without nulls, in order."""
    parts = [_cut(texts[k : k + BLOCK_TEXTS], classes) for k in range(0, len(texts), BLOCK_TEXTS)]
    sizes = [np.diff(one.starts) for one in parts]
    starts = np.cumsum(np.concatenate([[0], *sizes]), dtype=np.int64)
    return Cut(starts, np.concatenate([np.empty(0, dtype=np.uint64), *(one.tokens for one in parts)]))


def _cut(texts: pl.Series, classes: Classes) -> Cut:
    content = b"\0".join([b"", *texts.cast(pl.Binary).to_list(), bytes(_WIDTH)])
    ends = np.cumsum(texts.str.len_bytes().to_numpy().astype(np.int64) + 1)
    first, last = _bounds(content, classes)
    starts = np.concatenate([[0], np.searchsorted(first, ends)])
    return Cut(starts, _hashes(content, first, last - first))


def hashes_of(tokens: Sequence[str]) -> Hashes:
    """The number of each token, given whole."""
    parts = [token.encode("utf-8", "surrogatepass") for token in tokens]
    size = np.array([len(part) for part in parts], dtype=np.int64)
    content = b"".join([*parts, bytes(_WIDTH)])
    return _hashes(content, np.cumsum(size) - size, size)


def _bounds(content: bytes, classes: Classes) -> tuple[Places, Places]:
    """Where each token begins and ends."""
    kind = np.frombuffer(bytearray(content).translate(classes.of_ascii), dtype=np.uint8)
    found = np.frombuffer(content, dtype=np.uint8)
    wide = np.flatnonzero(found >= 0xC0)
    change = np.empty(len(content), dtype=np.bool_)
    if len(wide):
        _classify_wide(found, wide, kind, classes)
    change[0] = True
    np.not_equal(kind[1:], kind[:-1], out=change[1:])
    # each character of its own, not each run of them
    if (kind == _SINGLE).any():
        change |= (kind == _SINGLE) & ((found < 0x80) | (found >= 0xC0))
    bound = np.flatnonzero(change)
    inside = np.flatnonzero(kind[bound[:-1]])
    return bound[inside], bound[inside + 1]


def _classify_wide(content: Bytes, wide: Places, kind: Bytes, classes: Classes) -> None:
    """Give the bytes of each character beyond ASCII its class; ``wide``: where their first bytes are."""
    lead = content[wide].astype(np.int32)
    second = content[wide + 1].astype(np.int32) & 0x3F
    three, four = lead >= 0xE0, lead >= 0xF0
    code = ((lead & 0x1F) << 6) | second
    at = wide[three]
    third = content[at + 2].astype(np.int32) & 0x3F
    code[three] = ((lead[three] & 0x0F) << 12) | (second[three] << 6) | third
    if four.any():
        at = wide[four]
        third, fourth = (content[at + k].astype(np.int32) & 0x3F for k in (2, 3))
        code[four] = ((lead[four] & 0x07) << 18) | (second[four] << 12) | (third << 6) | fourth
    found = classes.of_code[code]
    kind[wide] = kind[wide + 1] = found
    kind[wide[three] + 2] = found[three]
    kind[wide[four] + 3] = found[four]


def _hashes(content: bytes, first: Places, size: Places) -> Hashes:
    """Hashes of pieces of ``content``, behind which lie some further bytes."""
    # bytes of no type have no alignment: eight of them may begin anywhere
    windows = np.ndarray(max(len(content) - _WIDTH + 1, 0), dtype="V8", buffer=content, strides=(1,))

    def window(place: Places, left: Places) -> Hashes:
        value = windows[place].view("<u8")
        return np.asarray(value & _MASKS[np.minimum(left, _WIDTH)], dtype=np.uint64)

    state = _mixed(window(first, size) ^ (size.astype(np.uint64) << np.uint64(56)))
    left = np.flatnonzero(size > _WIDTH)
    for start in range(_WIDTH, _LONG, _WIDTH):
        if not len(left):
            break
        state[left] = _mixed(state[left] ^ window(first[left] + start, size[left] - start))
        left = left[size[left] > start + _WIDTH]
    for one in left.tolist():
        piece = content[first[one] : first[one] + size[one]]
        state[one] = int.from_bytes(blake2b(piece, digest_size=8).digest(), "little")
    return state


def _mixed(state: Hashes) -> Hashes:
    state = state * _ODD
    return np.asarray(state ^ (state >> _HALF), dtype=np.uint64)
