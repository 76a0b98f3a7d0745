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
from .term_counts import TermIndex, row_sums, sums
from .tfidf import Ints, Tfidf

BLOCK_ROWS: Final = 512
"""Battles whose tokens are held at once: of long answers, what a cache holds."""
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
    terms: TermIndex
    squares: Floats
    """(U, F) squared inverse document frequencies, zero where a fit lacks the term"""
    linear: Floats
    """(U, 2 F) what a term of weight one adds to delta and to tau, before a text's length divides it"""

    @classmethod
    def of(cls, fits: Sequence[Fit], scales: Scales) -> Together:
        """The union of the fits' vocabularies."""
        words = sorted({word for fit in fits for word in fit.words.words})
        place = {word: k for k, word in enumerate(words)}
        renamed = [np.array([place[w] for w in fit.words.words], dtype=np.int64) for fit in fits]
        keys = [_pair_keys(new, fit.words.pairs, len(words)) for new, fit in zip(renamed, fits, strict=True)]
        pairs, width = np.unique(np.concatenate(keys)), len(fits)
        squares = np.zeros((len(words) + len(pairs), width))
        linear = np.zeros((len(words) + len(pairs), 2 * width))
        for k, fit in enumerate(fits):
            term = np.concatenate([renamed[k], len(words) + np.searchsorted(pairs, keys[k])])
            idf = fit.words.idf
            squares[term, k] = idf * idf
            linear[term, k] = idf * (fit.coefficients.odd[0] * scales.odd_words)
            linear[term, width + k] = np.abs(idf) * (fit.coefficients.even[0] * scales.even_words)
        return cls(tuple(fits), scales, TermIndex.of(words, pairs), squares, linear)

    def log_probs(self, a: pl.Series, b: pl.Series, features: Features) -> list[Floats]:
        """Each fit's log-probabilities (n, 3) of battles with these texts and features."""
        delta, tau = self._word_scores(a, b)
        found = []
        for k, fit in enumerate(self.fits):
            if fit.scaler is not None:
                more = self._feature_scores(fit, fit.scaler, features)
                delta[:, k] += more[0]
                tau[:, k] += more[1]
            found.append(from_delta_tau(delta[:, k], tau[:, k] + fit.coefficients.intercept))
        return found

    def _word_scores(self, a: pl.Series, b: pl.Series) -> tuple[Floats, Floats]:
        """What the words add to delta and to tau, (n, F) each."""
        size = min(BLOCK_ROWS, self.terms.most_rows())
        parts = [self._block_scores(a[k : k + size], b[k : k + size]) for k in range(0, len(a), size)]
        if not parts:
            return np.zeros((0, len(self.fits))), np.zeros((0, len(self.fits)))
        delta, tau = zip(*parts, strict=True)
        return np.concatenate(delta), np.concatenate(tau)

    def _block_scores(self, a: pl.Series, b: pl.Series) -> tuple[Floats, Floats]:
        """As :meth:`_word_scores`, of some rows.

        A term's value is linear in its weight, and so is its absolute difference where one answer lacks it:
        both are sums over the terms of a text, divided by the text's length. Terms of both answers are
        subtracted one by one, so that equal answers differ by nothing.
        """
        found, width = self.terms.count(a, b), len(self.fits)
        unit_a, unit_b = (
            _inverse_lengths(sums(one, one.weights**2, self.squares)) for one in (found.a, found.b)
        )
        alone_a, alone_b = (sums(one, one.weights, self.linear) for one in (found.only_a, found.only_b))
        both = found.both
        row = np.repeat(np.arange(len(a)), np.diff(both.starts))
        lead = both.weights[:, None] * unit_a[row] - found.both_b[:, None] * unit_b[row]
        values = np.concatenate([lead, np.abs(lead)], axis=1) * self.linear[both.terms]
        shared = row_sums(both.starts, values)
        delta = alone_a[:, :width] * unit_a - alone_b[:, :width] * unit_b + shared[:, :width]
        return delta, alone_a[:, width:] * unit_a + alone_b[:, width:] * unit_b + shared[:, width:]

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
    room = np.empty((_WAVE_ROWS, count))
    for start in range(0, len(odd), _WAVE_ROWS):
        rows = slice(start, min(start + _WAVE_ROWS, len(odd)))
        z, c = _padded(odd[rows]) @ p, _padded(even[rows]) @ q
        c += phase
        total = z + c
        z -= c
        lower, upper = (_cosine(one, room)[: rows.stop - start] for one in (z, total))
        yield rows, (half * (lower - upper), half * (lower + upper))


def _padded(block: Floats) -> Floats:
    """Always as many rows: a product's last bits may depend on the shape of its factors."""
    if len(block) == _WAVE_ROWS:
        return block
    whole = np.zeros((_WAVE_ROWS, block.shape[1]))
    whole[: len(block)] = block
    return whole


def _cosine(turns: Floats, room: Floats) -> npt.NDArray[np.float32]:
    """Overwrites both."""
    np.rint(turns, out=room)
    turns -= room
    angle = turns.astype(np.float32)
    angle *= _TURN
    return np.cos(angle, out=angle)


def _products(rows: npt.NDArray[np.floating], vector: Floats) -> Floats:
    """Each row times a vector, by a sum that does not depend on how many rows there are."""
    return np.asarray(np.einsum("ij,j->i", rows, vector), dtype=np.float64)


def _inverse_lengths(squares: Floats) -> Floats:
    """One over the lengths of rows; a row of zeros stays one."""
    return np.asarray(1 / np.sqrt(np.where(squares > 0, squares, 1.0)), dtype=np.float64)


def _pair_keys(new: Ints, pairs: Ints, size: int) -> Ints:
    return np.asarray(new[pairs[:, 0]] * size + new[pairs[:, 1]], dtype=np.int64)
