"""Fits side by side predict what each predicts alone, to the bit, whatever rows come with a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.backbones.lexical import model as lexical
from arena_ensemble.backbones.lexical import together
from arena_ensemble.backbones.lexical.pair_index import PairIndex
from arena_ensemble.backbones.lexical.term_counts import TermIndex
from arena_ensemble.battles import Battles
from arena_ensemble.features import extract
from arena_ensemble.recipes import Recipe, recipe_from
from arena_ensemble.sample import make_arena


@pytest.fixture(scope="module")
def battles() -> Battles:
    return make_arena(260, seed=5).battles


@pytest.fixture(scope="module")
def fits(battles: Battles, tmp_path_factory: pytest.TempPathFactory) -> list[lexical.Lexical]:
    def recipe(**settings: int | bool) -> Recipe:
        return recipe_from({"backbone": "lexical", "lexical": {"inner_folds": 0, **settings}}, name="one")

    settings: list[dict[str, int | bool]] = [
        {"interactions": 16},
        {"interactions": 16, "max_features": 90},
        {"interactions": 0, "word_ngram_max": 1},
        {"length": False},
    ]
    found = []
    for k, one in enumerate(settings):
        folder = tmp_path_factory.mktemp(f"fit{k}")
        rows = np.arange(len(battles))
        found.append(
            lexical.fit(battles.take(rows[rows % 4 != k]), recipe=recipe(**one), folder=folder, cache=Path())
        )
    return found


def test_the_numbers_are_those_of_the_matrices_that_were_fitted(
    battles: Battles, fits: list[lexical.Lexical]
) -> None:
    features = extract(battles)
    for fit, found in zip(fits, lexical.predict_together(fits, battles), strict=True):
        design = lexical._design(battles, features, fit.words, fit.scaler, fit.fourier, len(battles))
        # waves are taken in 32 bits; all else rounds in another order
        tolerance = 1e-12 if fit.fourier is None else 1e-6
        np.testing.assert_allclose(found, fit.coefficients.log_probs(design), rtol=0, atol=tolerance)
        assert found.std() > 0.01


def test_alone_and_together_are_the_same_to_the_bit(battles: Battles, fits: list[lexical.Lexical]) -> None:
    for fit, found in zip(fits, lexical.predict_together(fits, battles), strict=True):
        np.testing.assert_array_equal(lexical.predict(fit, battles), found)


@given(start=st.integers(0, 258), count=st.integers(1, 200))
def test_a_row_does_not_depend_on_the_rows_beside_it(
    battles: Battles, fits: list[lexical.Lexical], start: int, count: int
) -> None:
    rows = np.arange(start, min(start + count, len(battles)))
    whole, part = (lexical.predict_together(fits, some) for some in (battles, battles.take(rows)))
    for one, other in zip(whole, part, strict=True):
        np.testing.assert_array_equal(one[rows], other)


def test_no_battles_are_no_rows(battles: Battles, fits: list[lexical.Lexical]) -> None:
    none = battles.take(np.arange(0))
    assert [one.shape for one in lexical.predict_together(fits, none)] == [(0, 3)] * len(fits)


@given(
    keys=st.lists(st.integers(0, 2**40), unique=True, max_size=300),
    others=st.lists(st.integers(0, 2**40), max_size=300),
    bits=st.sampled_from([4, 31, 32, 40]),
)
def test_the_index_of_pairs_finds_what_is_there_and_nothing_else(
    keys: list[int], others: list[int], bits: int
) -> None:
    limit = 2**bits + 1
    keys, others = list(dict.fromkeys(key % limit for key in keys)), [key % limit for key in others]
    known = np.sort(np.array(keys, dtype=np.int64))
    index = PairIndex.of(known, limit)
    assert index.dtype == (np.uint32 if bits < 32 else np.int64)
    wanted = np.array([*keys, *others], dtype=index.dtype)
    place = {key: k for k, key in enumerate(known.tolist())}
    which, found = index.find(wanted)
    expected = {k: place[key] for k, key in enumerate(wanted.tolist()) if key in place}
    assert dict(zip(which.tolist(), found.tolist(), strict=True)) == expected


def test_blocks_and_vocabularies_of_any_size_give_the_same_bits(
    battles: Battles, fits: list[lexical.Lexical], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lexical.predict_together(fits, battles)
    monkeypatch.setattr(together, "BLOCK_ROWS", 7)
    for one, other in zip(whole, lexical.predict_together(fits, battles), strict=True):
        np.testing.assert_array_equal(one, other)
    monkeypatch.setattr(TermIndex, "most_rows", lambda self: 3)
    for one, other in zip(whole, lexical.predict_together(fits, battles), strict=True):
        np.testing.assert_array_equal(one, other)


def test_texts_of_one_word_and_of_none(battles: Battles, fits: list[lexical.Lexical]) -> None:
    frame = battles.frame.head(3).with_columns(
        response_a=pl.Series([[""], [None], ["the"]], dtype=pl.List(pl.String)),
        response_b=pl.Series([[""], ["the"], [None]], dtype=pl.List(pl.String)),
    )
    found = lexical.predict_together(fits, Battles(frame))
    assert all(np.isfinite(one).all() for one in found)
    # equal answers: nothing but the order tells them apart, and that counts for nothing
    assert all(one[0, 0] == one[0, 1] for one in found)
