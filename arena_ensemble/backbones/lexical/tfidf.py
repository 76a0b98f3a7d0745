"""Texts to TF-IDF rows of words and word pairs, in polars and numpy; the vocabulary is plain data.

The weights are those of scikit-learn's ``TfidfVectorizer(sublinear_tf=True)``: ``(1 + ln tf) * idf``
with ``idf = 1 + ln((1 + n) / (1 + df))``, each row scaled to length 1. Marks count as words here
(runs of punctuation, line breaks, start and end of the text): how an answer is laid out tells as
much about its vote as what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TOKEN: Final = (
    r"[a-z0-9'\x{c0}-\x{1fff}]+|\n+|[!-&(-/:-@\[-`{-~]+|[\x{2010}-\x{206f}\x{3000}-\x{303f}]+"
    r"|[\x{2100}-\x{2fff}\x{3040}-\x{10ffff}]"
)
"""A word, a run of line breaks, a run of punctuation, or one character of a script without spaces."""

CHARACTERS: Final = (
    ((0x61, 0x7A), (0x30, 0x39), (0x27, 0x27), (0xC0, 0x1FFF)),
    ((0x0A, 0x0A),),
    ((0x21, 0x26), (0x28, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)),
    ((0x2010, 0x206F), (0x3000, 0x303F)),
)
TOKENS_OF_ONE: Final = ((0x2100, 0x2FFF), (0x3040, 0x10FFFF))
"""The code points of its kinds: predictions are cut by these, which is quicker (a test compares them)."""

START: Final = "<s>"
END: Final = "</s>"
"""They stand before the first and after the last token; no token can look like them."""

CHUNK_TEXTS: Final = 4096


@dataclass(frozen=True, eq=False)
class Tfidf:
    """A fitted vocabulary.

    Parameters
    ----------
    words
        V words, the first V columns.
    pairs
        (P, 2) int64 places in ``words``: the next P columns stand for these two words in a row.
    idf
        (V + P,) inverse document frequencies.
    """

    words: tuple[str, ...]
    pairs: Ints
    idf: Floats

    @classmethod
    def fit(cls, texts: pl.Series, *, max_features: int, min_count: int, pairs: bool) -> Self:
        """Keep the terms that occur in most texts, at least ``min_count``; ties go by the alphabet."""
        found = _document_frequency(texts, min_count).head(max_features)
        words, count = found["term"].to_list(), found["df"].to_numpy().astype(np.int64)
        kept = np.empty((0, 2), dtype=np.int64)
        if pairs and words:
            # A pair is at most as frequent as its words and stands behind them in a tie, so the
            # words of every chosen pair are chosen too, and they are the first ones.
            table = _pair_frequency(texts, words, min_count)
            count = np.concatenate([count, table["df"].to_numpy().astype(np.int64)])
            chosen = np.sort(np.argsort(-count, kind="stable")[:max_features])
            names = table["term"].to_numpy()[chosen[chosen >= len(words)] - len(words)]
            kept = np.column_stack([names // len(words), names % len(words)]).astype(np.int64)
            count, words = count[chosen], words[: int(np.sum(chosen < len(words)))]
        idf = 1 + np.log((1 + len(texts)) / (1 + count.astype(np.float64)))
        return cls(tuple(words), kept, idf)

    def transform(self, texts: pl.Series) -> sparse.csr_matrix:
        """TF-IDF rows (n, V + P), float64, sorted columns; a text without known terms is a row of zeros."""
        parts = [self._rows(texts.slice(i, CHUNK_TEXTS)) for i in range(0, len(texts), CHUNK_TEXTS)]
        if not parts:
            return sparse.csr_matrix((0, len(self.idf)))
        return sparse.csr_matrix(sparse.vstack(parts, format="csr"))

    def _rows(self, texts: pl.Series) -> sparse.csr_matrix:
        row, code = coded(texts, self.words)
        size = len(self.words)
        rows, columns = [row[code >= 0]], [code[code >= 0]]
        if len(self.pairs):
            where, pair = neighbours(row, code, size)
            names = self.pairs[:, 0] * size + self.pairs[:, 1]
            order = np.argsort(names)
            place = np.minimum(np.searchsorted(names[order], pair), len(names) - 1)
            known = names[order][place] == pair
            rows.append(where[known])
            columns.append(size + order[place[known]])
        row, column, count = _counted(np.concatenate(rows), np.concatenate(columns), len(self.idf))
        values = (1 + np.log(count.astype(np.float64))) * self.idf[column]
        total = np.bincount(row, weights=values**2, minlength=len(texts))
        values /= np.sqrt(total)[row]
        start = np.searchsorted(row, np.arange(len(texts) + 1))
        return sparse.csr_matrix((values, column, start), shape=(len(texts), len(self.idf)))


def _tokens(texts: pl.Series) -> pl.DataFrame:
    """One line per token, in order: ``row``, ``token``."""
    found = pl.DataFrame({"token": texts}).select(
        pl.int_range(pl.len(), dtype=pl.Int64).alias("row"),
        pl.concat_list(
            pl.lit(START), pl.col("token").str.to_lowercase().str.extract_all(TOKEN), pl.lit(END)
        ).alias("token"),
    )
    return found.explode("token")


def coded(texts: pl.Series, words: Sequence[str] | pl.Series) -> tuple[Ints, Ints]:
    """Every token's row and its place in ``words``, -1 for one that is not there."""
    return _places(_tokens(texts), words)


def _places(tokens: pl.DataFrame, words: Sequence[str] | pl.Series) -> tuple[Ints, Ints]:
    known = pl.Enum(pl.Series(words, dtype=pl.String))
    code = tokens["token"].cast(known, strict=False).to_physical().cast(pl.Int64).fill_null(-1)
    return tokens["row"].to_numpy(), code.to_numpy()


def neighbours(row: Ints, code: Ints, size: int) -> tuple[Ints, Ints]:
    """Known words that follow one another in one text: their row, and ``first * size + second``."""
    both = (row[:-1] == row[1:]) & (code[:-1] >= 0) & (code[1:] >= 0)
    return row[:-1][both], code[:-1][both] * size + code[1:][both]


def _counted(row: Ints, column: Ints, width: int) -> tuple[Ints, Ints, Ints]:
    """Distinct (row, column), in order, and how often each occurs. Sorting one integer is quickest."""
    key = np.sort(row * width + column)
    first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if len(key) else key
    count = np.diff(np.concatenate([first, [len(key)]]))
    return key[first] // width, key[first] % width, count


def _document_frequency(texts: pl.Series, min_count: int) -> pl.DataFrame:
    """``term`` (a word) and ``df``, most frequent first, then by the alphabet."""
    parts: list[pl.DataFrame] = []
    for i in range(0, len(texts), CHUNK_TEXTS):
        tokens = _tokens(texts.slice(i, CHUNK_TEXTS))
        words = tokens["token"].unique()
        _, column, _ = _counted(*_places(tokens, words), len(words))
        parts.append(pl.DataFrame({"term": words, "df": np.bincount(column, minlength=len(words))}))
    return _summed(parts, pl.String, min_count)


def _pair_frequency(texts: pl.Series, words: Sequence[str], min_count: int) -> pl.DataFrame:
    """``term`` (``first * len(words) + second``) and ``df``, most frequent first, then by the words."""
    parts: list[pl.DataFrame] = []
    for i in range(0, len(texts), CHUNK_TEXTS):
        row, pair = neighbours(*coded(texts.slice(i, CHUNK_TEXTS), words), len(words))
        names, place = np.unique(pair, return_inverse=True)
        _, column, _ = _counted(row, place.astype(np.int64), max(len(names), 1))
        parts.append(pl.DataFrame({"term": names, "df": np.bincount(column, minlength=len(names))}))
    return _summed(parts, pl.Int64, min_count)


def _summed(parts: list[pl.DataFrame], kind: type[pl.DataType], min_count: int) -> pl.DataFrame:
    """Frequencies of all chunks together."""
    table = pl.concat(parts) if parts else pl.DataFrame(schema={"term": kind, "df": pl.Int64})
    table = table.group_by("term").agg(pl.col("df").sum()).filter(pl.col("df") >= min_count)
    return table.sort("df", "term", descending=[True, False])
