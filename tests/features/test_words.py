"""Tokens cut on bytes are those of the regular expressions; words that are counted are those of sets."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.backbones.lexical.tfidf import CHARACTERS, TOKEN, TOKENS_OF_ONE
from arena_ensemble.features import cutting, words
from arena_ensemble.features.cutting import Classes, cut, hashes_of
from arena_ensemble.features.patterns import WORD, WORD_CHARACTERS, WORDS_OF_ONE
from arena_ensemble.features.words import word_counts

KINDS = {
    "words": (Classes.of([WORD_CHARACTERS], WORDS_OF_ONE), WORD),
    "tokens": (Classes.of(CHARACTERS, TOKENS_OF_ONE), TOKEN),
}
EDGES = (
    "azAZ09' \n\t\r.!&(-/:@[`{~\x00\x7f\x80\xbf\xc0\xff\u0100\u07ff\u0800\u1fff\u2000\u200f\u2010\u206f\u2070"
)
EDGES += (
    "\u20ff\u2100\u2bff\u2c00\u2fff\u3000\u303f\u3040\ud7ff\ue000\ufdff\ufe00\uff0f\uff10\uffff\U00010000"
)
EDGES += "😀\U0010ffff"
PIECES = ("word", "abcdefgh", "abcdefghi", "x" * 63, "x" * 64, "x" * 65, "é" * 33, "漢字", *EDGES)
texts = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_character_has_the_class_that_the_pattern_gives_it(kind: str) -> None:
    classes, pattern = KINDS[kind]
    codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    alone = pl.Series([chr(code) for code in codes])
    np.testing.assert_array_equal(classes.of_code[codes] > 0, alone.str.contains(pattern).to_numpy())
    twice = (alone + alone).str.count_matches(pattern).to_numpy()
    np.testing.assert_array_equal(classes.of_code[codes] == 255, twice == 2)


@pytest.mark.parametrize("kind", KINDS)
@given(given=st.lists(texts, max_size=8), block=st.sampled_from([1, 3, 256]))
def test_tokens_are_those_of_the_pattern(kind: str, given: list[str], block: int) -> None:
    classes, pattern = KINDS[kind]
    series = pl.Series(given, dtype=pl.String)
    expected = series.str.extract_all(pattern).to_list()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "BLOCK_TEXTS", block)
        found = cut(series, classes)
    assert np.diff(found.starts).tolist() == [len(one) for one in expected]
    flat = [token for one in expected for token in one]
    np.testing.assert_array_equal(found.tokens, hashes_of(flat))
    assert len(set(found.tokens.tolist())) == len(set(flat))


def test_tokens_that_differ_a_little_have_other_numbers() -> None:
    made = {"a" * size for size in range(1, 200)} | {"a" * size + "b" for size in range(200)}
    made |= {"b" + "a" * size for size in range(200)} | {f"{k}" for k in range(50_000)}
    assert len(set(hashes_of(sorted(made)).tolist())) == len(made)
    assert hashes_of([]).tolist() == []


@given(rows=st.lists(st.tuples(texts, texts, texts), max_size=5), block=st.sampled_from([1, 2, 128]))
def test_words_are_counted_as_sets_count_them(rows: list[tuple[str, str, str]], block: int) -> None:
    low = pl.DataFrame(
        {f"{side}_low": pl.Series([row[k] for row in rows], dtype=pl.String) for k, side in enumerate("pab")}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "BLOCK_ROWS", block)
        found = word_counts(low)
    lists = {side: low[f"{side}_low"].str.extract_all(WORD).to_list() for side in "pab"}
    assert found.height == len(rows)
    for row, shown in enumerate(found.iter_rows(named=True)):
        sets = {side: set(lists[side][row]) for side in "pab"}
        for side in "pab":
            assert shown[f"{side}_words"] == len(lists[side][row])
            assert shown[f"{side}_vocabulary"] == len(sets[side])
        for x, y in ("pa", "pb", "ab"):
            assert shown[x + y] == len(sets[x] & sets[y])
        assert shown["same_start"] == (lists["a"][row][:5] == lists["b"][row][:5])
