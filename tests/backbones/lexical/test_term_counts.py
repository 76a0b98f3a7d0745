"""Terms of both answers, counted in arrays, against Python's own regular expressions and counters."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.backbones.lexical.term_counts import TermIndex, TermRows, row_sums, sums
from arena_ensemble.backbones.lexical.tfidf import END, START, TOKEN

WORDS = sorted([START, END, "a", "b", "it's", "\n", "\n\n", "...", "漢", "é"])
PAIRS = [
    (START, "a"),
    ("a", "a"),
    ("a", "b"),
    ("b", END),
    (START, END),
    ("漢", "漢"),
    ("...", "\n"),
    (END, START),
]
PATTERN = re.compile(re.sub(r"\\x\{([0-9a-f]+)\}", lambda found: chr(int(found[1], 16)), TOKEN))

texts = st.lists(
    st.sampled_from(["a", "b", "A ", "it's", "...", "\n", "漢", "É", " ", "zz", ""]), max_size=9
).map("".join)


def index_of(words: list[str]) -> TermIndex:
    place = {word: k for k, word in enumerate(words)}
    keys = [place[x] * len(words) + place[y] for x, y in PAIRS if x in place and y in place]
    return TermIndex.of(words, np.array(sorted(keys), dtype=np.int64))


def counted(text: str, words: list[str]) -> Counter[int]:
    """Term → how often it occurs, by the definition."""
    place = {word: k for k, word in enumerate(words)}
    pairs = sorted(place[x] * len(words) + place[y] for x, y in PAIRS if x in place and y in place)
    tokens = [START, *PATTERN.findall(text.lower()), END]
    found = Counter(place[token] for token in tokens if token in place)
    for x, y in pairwise(tokens):
        if x in place and y in place and (key := place[x] * len(words) + place[y]) in pairs:
            found[len(words) + pairs.index(key)] += 1
    return found


def shown(rows: TermRows, row: int) -> dict[int, float]:
    span = slice(rows.starts[row], rows.starts[row + 1])
    terms = rows.terms[span].tolist()
    assert terms == sorted(set(terms))
    return dict(zip(terms, rows.weights[span].tolist(), strict=True))


@given(st.lists(st.tuples(texts, texts), max_size=6), st.booleans())
def test_counts_are_those_of_the_definition(battles: list[tuple[str, str]], ends: bool) -> None:
    words = WORDS if ends else [word for word in WORDS if word not in (START, END)]
    a, b = (pl.Series([one[k] for one in battles], dtype=pl.String) for k in (0, 1))
    found = index_of(words).count(a, b)
    for row, (one, other) in enumerate(battles):
        left, right = (
            {term: 1 + float(np.log(count)) for term, count in counted(text, words).items()}
            for text in (one, other)
        )
        assert shown(found.a, row) == left
        assert shown(found.b, row) == right
        assert shown(found.only_a, row) == {term: left[term] for term in left.keys() - right.keys()}
        assert shown(found.only_b, row) == {term: right[term] for term in right.keys() - left.keys()}
        assert shown(found.both, row) == {term: left[term] for term in left.keys() & right.keys()}
        span = slice(found.both.starts[row], found.both.starts[row + 1])
        terms = found.both.terms[span].tolist()
        assert found.both_b[span].tolist() == [right[term] for term in terms]


def test_a_vocabulary_of_nothing_counts_nothing() -> None:
    found = TermIndex.of([], np.array([], dtype=np.int64)).count(pl.Series(["a", ""]), pl.Series(["b", "c"]))
    assert len(found.a.terms) == len(found.b.terms) == len(found.both.terms) == 0
    assert sums(found.a, found.a.weights, np.zeros((0, 2))).tolist() == [[0, 0], [0, 0]]


@given(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=5), st.integers(1, 3))
def test_sums_are_those_of_loops(rows: list[list[int]], width: int) -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(4, width))
    terms = np.array([term for row in rows for term in row], dtype=np.int32)
    starts = np.cumsum([0, *map(len, rows)])
    weights = rng.normal(size=len(terms))
    expected, plain, at = np.zeros((len(rows), width)), np.zeros((len(rows), width)), 0
    for row, one in enumerate(rows):
        for term in one:
            expected[row] += weights[at] * table[term]
            plain[row] += table[term]
            at += 1
    found = sums(TermRows(starts, terms, weights), weights, table)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(row_sums(starts, table[terms]), plain, rtol=0, atol=1e-14)
