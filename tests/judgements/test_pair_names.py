"""``item|b|a`` is ``item|a|b`` exchanged and joined turned, whatever the kind; other ids are left alone."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.judgements import Judgements
from arena_ensemble.judgements.pair_names import (
    exchange_note,
    exchanged_ids,
    match_pairs,
    pair_codes,
    pair_parts,
)
from tests.helpers.judgement_cases import random_judgements

NAMES = st.text(alphabet="ab|é .", min_size=1, max_size=5)


def _named(n: int, seed: int) -> Judgements:
    given_ = random_judgements(n, seed=seed)
    return Judgements(pl.Series("id", [f"q{k}|x|y" for k in range(n)]), given_.columns)


def _same(left: Judgements, right: Judgements) -> None:
    for name, column in left.columns.items():
        for field, array in column.arrays().items():
            np.testing.assert_array_equal(array, right.columns[name].arrays()[field])


@given(st.integers(0, 10_000), st.integers(1, 12))
def test_pairs_of_the_other_form_are_joined_turned(seed: int, n: int) -> None:
    table = _named(n, seed)
    turn = np.random.default_rng(seed).random(n) < 0.5
    ids = pl.Series("id", [f"q{k}|y|x" if t else f"q{k}|x|y" for k, t in enumerate(turn)])
    found, swapped = table.aligned_to(ids), table.swapped()
    for name, column in found.columns.items():
        for field, array in column.arrays().items():
            for k in range(n):
                expected = (swapped if turn[k] else table).columns[name].arrays()[field][k]
                np.testing.assert_array_equal(array[k], expected)


@given(st.integers(0, 10_000))
def test_turning_twice_is_the_identity(seed: int) -> None:
    table = _named(9, seed)
    ids = table.ids
    _same(table.aligned_to(exchanged_ids(ids)).aligned_to(ids), table)


def test_tables_of_different_judges_meet_in_the_form_that_comes_first() -> None:
    table = _named(6, 1)
    left = table.select(["verdicts", "scores"])
    right = table.select(["probs", "alone"]).aligned_to(exchanged_ids(table.ids))
    whole = Judgements.joined([left, right])
    assert whole.ids.to_list() == table.ids.to_list()
    _same(whole, table.select(["verdicts", "scores", "probs", "alone"]))


def test_both_forms_in_one_table_stay_two_pairs() -> None:
    table = _named(2, 2)
    both = Judgements(pl.Series("id", ["q0|x|y", "q0|y|x"]), table.select(["alone"]).columns)
    whole = Judgements.joined([table.select(["probs"]).take([0]), both])
    assert whole.ids.to_list() == ["q0|x|y", "q0|y|x"]
    assert pair_codes(whole.ids).tolist() == [0, 0]


@given(NAMES, NAMES, NAMES)
def test_exchanging_ids_twice_is_the_identity(item: str, a: str, b: str) -> None:
    ids = pl.Series("id", [f"{item}|{a}|{b}"])
    other = exchanged_ids(ids)
    if other[0] is not None:
        assert exchanged_ids(other).to_list() == ids.to_list()
        parts = pair_parts(ids).row(0)
        assert "|".join(parts) == ids[0]


@given(st.sets(st.tuples(st.integers(1, 12), st.integers(1, 28)), min_size=2, max_size=30))
def test_ids_of_another_meaning_are_never_exchanged(days: set[tuple[int, int]]) -> None:
    """Dates with a bar between: month and day are alike in some row, so they are no names of answers."""
    ids = pl.Series("id", [f"2024|{month:02}|{day:02}" for month, day in sorted(days | {(3, 3)})])
    wanted = pl.Series("id", [f"2024|{day:02}|{month:02}" for month, day in sorted(days)])
    rows, exchanged = match_pairs(ids, wanted)
    assert not exchanged.any()
    assert all(ids[int(row)] == one for row, one in zip(rows, wanted, strict=True) if row >= 0)
    for left, right in ((pl.concat([ids, wanted]).unique(), wanted), (wanted, ids)):
        assert not match_pairs(left, right)[1].any()


def test_an_exchange_is_told_with_an_example() -> None:
    ids = pl.Series("id", ["q|a|b", "q|a|c"])
    assert exchange_note(ids, ids) is None
    note = exchange_note(ids, pl.Series("id", ["q|a|b", "q|c|a"]))
    assert note is not None
    assert "1 of 2 pairs are joined with their answers exchanged, such as 'q|c|a' with 'q|a|c'" in note
    assert exchange_note(ids, pl.Series("id", ["q|c|a", "plain"])) is None


def test_ids_without_two_names_are_left_alone() -> None:
    plain = pl.Series("id", ["7", "a|b", "x|a|a"])
    assert exchanged_ids(plain).to_list() == [None, None, None]
    rows, exchanged = match_pairs(pl.Series("id", [1, 2]), pl.Series("id", [2, 3]))
    assert rows.tolist() == [1, -1]
    assert not exchanged.any()
