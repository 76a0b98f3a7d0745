"""Judgements: a frozen table; a swap exchanges the answers and what was seen first."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.errors import InputError
from arena_ensemble.judgements import First, Judgements, LogProbs, Scores, Verdicts
from tests.helpers.judgement_cases import random_judgements


def _same(one: Judgements, other: Judgements) -> None:
    assert one.ids.equals(other.ids)
    assert one.judges == other.judges
    for name, column in one.columns.items():
        for key, array in column.arrays().items():
            np.testing.assert_array_equal(array, other.columns[name].arrays()[key])


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.3, 1.0]))
def test_swapping_twice_is_identity(seed: int, missing: float) -> None:
    table = random_judgements(12, seed=seed, missing=missing)
    _same(table.swapped().swapped(), table)
    assert table.swapped().swapped().digest() == table.digest()


@given(st.integers(0, 1000))
def test_a_swap_exchanges_verdicts_margins_and_what_was_seen_first(seed: int) -> None:
    table = random_judgements(12, seed=seed)
    for name, column in table.columns.items():
        other = table.swapped().columns[name]
        for before, after in ((column.verdicts, other.verdicts), (column.first, other.first)):
            expected = np.select([before == 0, before == 1], [1, 0], default=before)
            np.testing.assert_array_equal(after, expected)
        np.testing.assert_array_equal(other.margins, -column.margins[:, [1, 0, 2]])
        np.testing.assert_array_equal(other.missing, column.missing)


@given(st.integers(0, 1000), st.permutations(range(12)))
def test_rows_are_joined_by_id_and_absent_ones_are_missing(seed: int, order: list[int]) -> None:
    table = random_judgements(12, seed=seed)
    _same(table.take(order).aligned_to(table.ids), table)
    wider = table.aligned_to(pl.Series([3, 99]))
    assert all(column.missing[1] for column in wider.columns.values())
    _same(wider.take([0]), table.take([3]))


def test_missing_is_counted_per_judge_and_is_no_tie() -> None:
    column = Verdicts.from_codes([0, 1, 2, -1], First.A)
    table = Judgements(pl.Series([1, 2, 3, 4]), {"j": column})
    assert table.missing == {"j": 1}
    assert column.verdicts.tolist() == [0, 1, 2, -1]
    assert column.unusable.sum() == 1
    np.testing.assert_array_equal(column.margins[:, First.A], [1, -1, 0, math.nan])
    assert column.first.tolist() == [0, 0, 0, 2]
    assert table.take([3, 0]).missing == {"j": 1}


def test_two_orders_that_contradict_each_other_are_a_tie() -> None:
    a, b = Verdicts.from_codes([0, 0, 2], First.A), Verdicts.from_codes([0, 1, 0], First.B)
    both = Verdicts(a.counts + b.counts, a.unusable + b.unusable)
    assert both.verdicts.tolist() == [0, 2, 0]
    assert both.first.tolist() == [2, 2, 2]


def test_scores_and_probabilities_have_verdicts_too() -> None:
    scores = Scores.from_pairs([[1, 2], [3, 1], [2, 2], [math.nan, 1]])
    assert scores.verdicts.tolist() == [1, 0, 2, -1]
    probs = LogProbs.from_probs(np.log([[0.5, 0.2, 0.3], [0.2, 0.2, 0.6], [0.4, 0.4, 0.2]]), First.B)
    assert probs.verdicts.tolist() == [0, 2, 2]
    assert probs.first.tolist() == [1, 1, 1]
    two = LogProbs.from_probs([[math.log(0.25), math.log(0.75), -math.inf]])
    assert two.verdicts.tolist() == [1]


def test_tables_of_different_judges_are_joined_on_all_their_ids() -> None:
    one = Judgements(pl.Series([1, 2]), {"a": Verdicts.from_codes([0, 1])}, {"a": 2})
    two = Judgements(pl.Series([2, 3]), {"b": Scores.from_pairs([[1, 0], [0, 1]])})
    both = Judgements.joined([one, two])
    assert both.ids.to_list() == [1, 2, 3]
    assert both.missing == {"a": 1, "b": 1}
    assert both.costs == {"a": 2.0}
    assert both.select(["b"]).costs == {}
    with pytest.raises(InputError, match="two tables hold the judge 'a'"):
        Judgements.joined([one, one])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Verdicts.from_codes([3]), "verdict codes are 0"),
        (lambda: Verdicts(np.zeros((2, 3)), np.zeros((2, 3))), "counts has shape"),
        (lambda: Scores.from_pairs([[math.inf, 1]]), "infinity"),
        (lambda: LogProbs.from_probs([[-1.0, -1.0, -1.0]]), "do not sum to one"),
        (lambda: Judgements(pl.Series([1]), {}), "no judge"),
        (lambda: Judgements(pl.Series([1, 1]), {"j": Verdicts.from_codes([0, 0])}), "repeat the id 1"),
        (lambda: Judgements(pl.Series([1]), {"j": Verdicts.from_codes([0, 0])}), "2 rows for 1 ids"),
        (lambda: Judgements(pl.Series([1]), {"j": Verdicts.from_codes([0])}, {"k": 1}), "cost 1 of 'k'"),
        (lambda: random_judgements(3).aligned_to(pl.Series(["1"])), "judgements have whole numbers, such as"),
        (lambda: random_judgements(3).aligned_to(pl.Series([77])), "no vote is about a pair"),
        (lambda: random_judgements(3).select(["nobody"]), "no judge 'nobody'"),
    ],
)
def test_what_is_wrong_is_named(build: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()  # type: ignore[operator]


def test_a_digest_depends_on_content_alone() -> None:
    table = random_judgements(8)
    assert table.digest() == random_judgements(8).digest()
    assert table.digest() != table.swapped().digest()
    assert table.digest() != table.take([*range(1, 8), 0]).digest()
    with pytest.raises(ValueError, match="read-only"):
        table.columns["alone"].arrays()["mean"][0] = 1
