"""What a judge is like, and whether it may take people's place."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from arena_ensemble.errors import InputError
from arena_ensemble.judgements import First, Judgements, Scores, Verdicts
from arena_ensemble.panels.annotators import may_replace
from arena_ensemble.panels.judge_statistics import agreement, judge_statistics
from arena_ensemble.panels.vote_budget import vote_budget

Array = np.ndarray[Any, Any]


def people(rng: np.random.Generator, n: int, noise: float) -> tuple[Array, Array]:
    truth = rng.integers(0, 3, n)
    votes = np.where(rng.random((n, 4)) < noise, rng.integers(0, 3, (n, 4)), truth[:, None])
    return truth, votes


def test_a_judge_as_good_as_people_passes_and_a_coin_does_not() -> None:
    rng = np.random.default_rng(7)
    truth, votes = people(rng, 400, 0.3)
    good = may_replace(truth, votes)
    assert good.passes
    assert good.winning_rate == 1
    coin = may_replace(rng.integers(0, 3, 400), votes)
    assert not coin.passes
    assert coin.winning_rate == 0
    assert coin.advantage < good.advantage
    missing = np.where(np.arange(400) % 2 == 0, truth, -1)
    assert may_replace(missing, votes).passes


def test_the_test_of_replacement_needs_people() -> None:
    truth, votes = people(np.random.default_rng(8), 20, 0.3)
    with pytest.raises(InputError, match="three or more"):
        may_replace(truth, votes[:, :2])
    with pytest.raises(InputError, match="30 rows"):
        may_replace(truth, votes)
    with pytest.raises(InputError, match="shape"):
        may_replace(truth[:5], votes)


def test_a_copy_of_every_vote_wins_by_the_constant_rule() -> None:
    votes = np.zeros((40, 3), dtype=int)
    assert may_replace(np.zeros(40, dtype=int), votes).winning_rate == 1
    assert may_replace(np.ones(40, dtype=int), votes).winning_rate == 0


def judged(n: int = 2000) -> tuple[Judgements, Array, Array]:
    """Judges of known character: fair, leaning to the first shown, fond of length, half missing."""
    rng = np.random.default_rng(9)
    y = rng.integers(0, 3, n)
    length = rng.normal(size=n)
    lean = np.where(rng.random((n, 2)) < 0.3, np.array([0, 1]), y[:, None])  # says what it saw first
    long = np.where(rng.random(n) < 0.25, np.where(length > 0, 0, 1), y)

    def of_orders(first_a: Array, first_b: Array) -> Verdicts:
        counts = np.zeros((n, 3, 3), dtype=np.int64)
        counts[np.arange(n), int(First.A), first_a] = 1
        counts[np.arange(n), int(First.B), first_b] = 1
        return Verdicts(counts, np.zeros((n, 3), dtype=np.int64))

    columns = {
        "fair": of_orders(y, y),
        "first": of_orders(lean[:, 0], lean[:, 1]),
        "long": of_orders(long, long),
        "half": Verdicts.from_codes(np.where(np.arange(n) % 2 == 0, y, -1), First.UNKNOWN),
        "silent": Verdicts.from_codes(np.full(n, -1), First.UNKNOWN),
    }
    return Judgements(pl.Series("id", np.arange(n)), columns), y, length


def test_the_character_of_a_judge_is_found() -> None:
    judgements, y, length = judged()
    found = {one.name: one for one in judge_statistics(judgements, y, length_difference=length)}
    fair, first, long = found["fair"], found["first"], found["long"]
    assert fair.accuracy == fair.kappa == 1
    assert fair.flip_rate == fair.position_bias == fair.length_bias == 0
    assert first.position_bias == pytest.approx(0.3 * (1 - 0), abs=0.06)
    assert first.flip_rate > 0.2
    assert abs(first.length_bias) < 3 * first.length_bias_se
    assert long.length_bias > 5 * long.length_bias_se
    assert long.position_bias == pytest.approx(0, abs=1e-12)
    assert found["half"].missing == 0.5
    assert found["half"].accuracy == 1
    assert np.isnan(found["half"].position_bias)
    assert found["silent"].rows == 0
    assert fair.base_rate == pytest.approx(np.bincount(y).max() / len(y))
    table = agreement(judgements)
    assert table[0, 0] == 1
    assert np.isnan(table[4, 0])
    assert table[0, 2] == table[2, 0] < 1


def test_kappa_is_that_of_scikit_learn_and_swapping_exchanges_shares() -> None:
    from sklearn.metrics import cohen_kappa_score

    judgements, y, length = judged(300)
    plain = {one.name: one for one in judge_statistics(judgements, y, length_difference=length)}
    swapped = judge_statistics(judgements.swapped(), np.array([1, 0, 2])[y], length_difference=-length)
    verdicts = np.asarray(judgements.columns["long"].verdicts)
    assert plain["long"].kappa == pytest.approx(cohen_kappa_score(y, verdicts))
    for one in swapped[:3]:
        before = plain[one.name]
        assert one.accuracy == before.accuracy
        assert one.position_bias == pytest.approx(before.position_bias)
        assert one.length_bias == pytest.approx(before.length_bias)
        assert one.shares == (before.shares[1], before.shares[0], before.shares[2])


class Smoothed:
    """The quickest panel: the frequencies of votes, whatever was judged."""

    def fit(self, judgements: Judgements, y: Array) -> Smoothed:
        self.log_probs = np.log((np.bincount(y, minlength=3) + 1) / (len(y) + 3))
        return self

    def predict_log_proba(self, judgements: Judgements) -> Array:
        return np.tile(self.log_probs, (len(judgements), 1))


def test_more_votes_help_less_and_less() -> None:
    n = 3000
    y = np.random.default_rng(10).choice(3, n, p=[0.6, 0.3, 0.1])
    column = Scores.from_pairs(np.zeros((n, 2)))
    judgements = Judgements(pl.Series("id", np.arange(n)), {"one": column})
    rows = vote_budget(Smoothed, judgements, y, sizes=[10, 30, 100, 2400], repeats=20)
    assert [row.measured for row in rows] == [True] * 4 + [False] * 2
    losses = [row.log_loss for row in rows]
    assert losses[0] > losses[1] > losses[3]
    assert rows[-1].votes == 4 * n
    assert losses[-1] <= losses[3] + 2e-3
    with pytest.raises(InputError, match="four fifths"):
        vote_budget(Smoothed, judgements, y, sizes=[2900])
    with pytest.raises(InputError, match="at least 40"):
        vote_budget(Smoothed, judgements.take(np.arange(20)), y[:20])
