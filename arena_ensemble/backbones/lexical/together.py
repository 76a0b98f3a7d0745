"""Several fits of the lexical member on the same battles: texts are cut into words once for all of them.

The folds of one member hold nearly the same words. Tokens are counted over the union of their
vocabularies; each fit then weighs the counts by its own numbers, which is a few passes over arrays. A
fit's prediction is the same to the bit whichever fits it shares the pass with, and whichever battles: the
terms of a row are added in the order of the alphabet, one by one, and matrices are multiplied in blocks
of one size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from ...features import Features
from ...predictions import Floats, from_delta_tau
from .equivariant_linear import Coefficients, RandomFourierFeatures, Scaler
from .tfidf import Ints, Tfidf, coded, neighbours

BLOCK_ROWS: Final = 2048
"""Battles whose tokens are held at once."""
_WAVE_ROWS: Final = 32  # padded to: of 256 a single battle took 17 ms a fold, and 4,096 took longer too
_TURN: Final = np.float32(2 * np.pi)


class Fit(Protocol):
    """What is needed of a fitted member, see `model.Lexical`."""

    @property
    def words(self) -> Tfidf:
        """Its vocabulary."""
        ...

    @property
    def scaler(self) -> Scaler | None:
        """Scales of the features, or None without."""
        ...

    @property
    def fourier(self) -> RandomFourierFeatures | None:
        """Random waves over the features, or None without."""
        ...

    @property
    def coefficients(self) -> Coefficients:
        """What is multiplied by words, features and waves, on columns of scale one."""
        ...


@dataclass(frozen=True)
class Scales:
    """What the columns of each block were multiplied by when the coefficients were fitted."""

    odd_words: float
    even_words: float
    features: float
    waves: float


@dataclass(frozen=True, eq=False)
class Together:
    """F fits over the union of their U terms: words in the order of the alphabet, then pairs of them."""

    fits: tuple[Fit, ...]
    scales: Scales
    words: pl.Series
    pairs: PairIndex
    idf: Floats
    """(F, U), zero where a fit lacks the term"""
    odd: Floats
    even: Floats
    """(F, U) coefficients of delta and tau"""

    @classmethod
    def of(cls, fits: Sequence[Fit], scales: Scales) -> Together:
        """The union of the fits' vocabularies."""
        words = pl.Series(sorted({word for fit in fits for word in fit.words.words}), dtype=pl.String)
        place = {word: k for k, word in enumerate(words)}
        renamed = [np.array([place[w] for w in fit.words.words], dtype=np.int64) for fit in fits]
        keys = [_pair_keys(new, fit.words.pairs, len(words)) for new, fit in zip(renamed, fits, strict=True)]
        pairs = np.unique(np.concatenate(keys))
        shape = len(fits), len(words) + len(pairs)
        idf, odd, even = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        for k, fit in enumerate(fits):
            column = np.concatenate([renamed[k], len(words) + np.searchsorted(pairs, keys[k])])
            idf[k, column] = fit.words.idf
            odd[k, column] = fit.coefficients.odd[0] * scales.odd_words
            even[k, column] = fit.coefficients.even[0] * scales.even_words
        return cls(tuple(fits), scales, words, PairIndex.of(pairs), idf, odd, even)

    def log_probs(self, a: pl.Series, b: pl.Series, features: Features) -> list[Floats]:
        """Each fit's log-probabilities (n, 3) of battles with these texts and features."""
        delta, tau = self._word_scores(a, b)
        found = []
        for k, fit in enumerate(self.fits):
            if fit.scaler is not None:
                more = self._feature_scores(fit, fit.scaler, features)
                delta[k] += more[0]
                tau[k] += more[1]
            found.append(from_delta_tau(delta[k], tau[k] + fit.coefficients.intercept))
        return found

    def _word_scores(self, a: pl.Series, b: pl.Series) -> tuple[Floats, Floats]:
        """What the words add to delta and to tau, (F, n) each."""
        delta, tau = np.zeros((len(self.fits), len(a))), np.zeros((len(self.fits), len(a)))
        for start in range(0, len(a), BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, len(a))
            row, column, ours, theirs = self._counts(a[start:stop], b[start:stop])
            for k in range(len(self.fits)):
                idf = self.idf[k][column]
                lead = _unit(ours * idf, row, stop - start) - _unit(theirs * idf, row, stop - start)
                delta[k, start:stop] = _sums(row, lead * self.odd[k][column], stop - start)
                tau[k, start:stop] = _sums(row, np.abs(lead) * self.even[k][column], stop - start)
        return delta, tau

    def _counts(self, a: pl.Series, b: pl.Series) -> tuple[Ints, Ints, Floats, Floats]:
        """Row, term, and ``1 + ln count`` (0 for none) in either answer, of every term of every battle."""
        n, size, width = len(a), len(self.words), self.idf.shape[1]
        text, code = coded(pl.concat([a, b]), self.words)
        known = code >= 0
        where, pair = neighbours(text, code, size)
        place = self.pairs.find(pair)
        paired = place >= 0
        text = np.concatenate([text[known], where[paired]])
        term = np.concatenate([code[known], size + place[paired]])
        # one sorted list of (battle, term, side); polars sorts integers five times faster than numpy
        key = pl.Series(((text % n) * width + term) * 2 + text // n).sort().to_numpy()
        first = _firsts(key)
        count = np.diff(np.append(first, len(key)))
        key, side = key[first] >> 1, key[first] & 1
        cell = _firsts(key)
        entry = np.cumsum(np.concatenate([[True], key[1:] != key[:-1]])) - 1 if len(key) else key
        weight = 1 + np.log(count.astype(np.float64))
        sides = np.zeros((2, len(cell)))
        sides[side, entry] = weight
        return key[cell] // width, key[cell] % width, sides[0], sides[1]

    def _feature_scores(self, fit: Fit, scaler: Scaler, features: Features) -> tuple[Floats, Floats]:
        """What features and waves add to delta and to tau, (n,) each."""
        odd, even = scaler.apply(features)
        known, scales = fit.coefficients, self.scales
        delta = _products(odd, known.odd[1] * scales.features)
        tau = _products(even, known.even[1] * scales.features)
        if fit.fourier is not None:
            for rows, waves in _waves(fit.fourier, odd, even):
                delta[rows] += _products(waves[0], known.odd[2] * scales.waves)
                tau[rows] += _products(waves[1], known.even[2] * scales.waves)
        return delta, tau


def _waves(
    fourier: RandomFourierFeatures, odd: Floats, even: Floats
) -> Iterator[tuple[slice, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]]:
    """The odd and even waves of :meth:`RandomFourierFeatures.apply`, some rows at a time.

    sin z sin c and cos z cos c are half the difference and half the sum of cos(z - c) and cos(z + c): two
    cosines in place of four. They are taken in float32, 30 times faster, of angles that were brought into
    half a turn in float64, so that each is right to 1e-7.
    """
    count = len(fourier.phase)
    p, q, phase = (part / (2 * np.pi) for part in (fourier.p, fourier.q, fourier.phase))
    half = np.float32(np.sqrt(2 / max(count, 1)) / 2)
    for start in range(0, len(odd), _WAVE_ROWS):
        rows = slice(start, min(start + _WAVE_ROWS, len(odd)))
        z, c = _padded(odd[rows]) @ p, _padded(even[rows]) @ q + phase
        lower, upper = _cosine(z - c)[: rows.stop - start], _cosine(z + c)[: rows.stop - start]
        yield rows, (half * (lower - upper), half * (lower + upper))


def _padded(block: Floats) -> Floats:
    """Always as many rows: a product's last bits may depend on the shape of its factors."""
    if len(block) == _WAVE_ROWS:
        return block
    whole = np.zeros((_WAVE_ROWS, block.shape[1]))
    whole[: len(block)] = block
    return whole


def _cosine(turns: Floats) -> npt.NDArray[np.float32]:
    angle = (turns - np.rint(turns)).astype(np.float32)
    return np.asarray(np.cos(angle * _TURN), dtype=np.float32)


def _products(rows: npt.NDArray[np.floating], vector: Floats) -> Floats:
    """Each row times a vector, by a sum that does not depend on how many rows there are."""
    return np.asarray(np.einsum("ij,j->i", rows, vector), dtype=np.float64)


def _sums(row: Ints, values: Floats, n: int) -> Floats:
    return np.asarray(np.bincount(row, weights=values, minlength=n), dtype=np.float64)


def _unit(values: Floats, row: Ints, n: int) -> Floats:
    """Values divided by the length of their row; a row of zeros stays one."""
    length = np.sqrt(_sums(row, values * values, n))
    return np.asarray(values / np.where(length > 0, length, 1.0)[row], dtype=np.float64)


def _firsts(key: Ints) -> Ints:
    """Where each run of equal keys begins."""
    return np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if len(key) else key


def _pair_keys(new: Ints, pairs: Ints, size: int) -> Ints:
    return np.asarray(new[pairs[:, 0]] * size + new[pairs[:, 1]], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class PairIndex:
    """Sorted keys → their places, by a table of hashes: many times faster than a search for each token."""

    keys: Ints
    """(slots,) -1 where a slot is free"""
    places: Ints

    @classmethod
    def of(cls, keys: Ints) -> PairIndex:
        """Keys 0 and above, unique."""
        slots = 1 << max(4, (8 * len(keys)).bit_length())
        index = cls(np.full(slots, -1, dtype=np.int64), np.zeros(slots, dtype=np.int64))
        left = np.arange(len(keys))
        slot = index._slot(keys)
        while len(left):
            free = np.flatnonzero(index.keys[slot] < 0)
            put = free[np.unique(slot[free], return_index=True)[1]]
            index.keys[slot[put]], index.places[slot[put]] = keys[left[put]], left[put]
            kept = np.ones(len(left), dtype=np.bool_)
            kept[put] = False
            left, slot = left[kept], (slot[kept] + 1) & (slots - 1)
        return index

    def find(self, wanted: Ints) -> Ints:
        """The place of each key, -1 where it is not there."""
        slot = self._slot(wanted)
        there = self.keys[slot]
        place = np.where(there == wanted, self.places[slot], -1)
        left = np.flatnonzero((there != wanted) & (there >= 0))
        while len(left):
            slot[left] = (slot[left] + 1) & (len(self.keys) - 1)
            there = self.keys[slot[left]]
            hit = there == wanted[left]
            place[left[hit]] = self.places[slot[left[hit]]]
            left = left[~hit & (there >= 0)]
        return place

    def _slot(self, keys: Ints) -> Ints:
        # the upper bits of a multiple (Knuth's multiplicative hashing)
        bits = np.uint64(64 - (len(self.keys).bit_length() - 1))
        return ((keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> bits).astype(np.int64)
