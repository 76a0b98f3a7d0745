"""What is known of a judge: intervals by hand, excess of position, probabilities of its own, annotators."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from arena_ensemble.judgements import First, Judgements, LogProbs, Verdicts
from arena_ensemble.panels.judge_facts import facts_of, replacement_of, wilson


@given(st.integers(0, 60), st.integers(1, 60))
def test_the_interval_of_independent_rows_is_wilsons(right: int, more: int) -> None:
    n = right + more
    share = right / n
    expected = binomtest(right, n).proportion_ci(method="wilson")
    found = wilson(share, n, (share * (1 - share) / n) ** 0.5)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_rows_that_err_together_make_it_wider() -> None:
    low, high = wilson(0.7, 100, 0.1)
    narrow = wilson(0.7, 100, 0.04)
    assert high - low > narrow[1] - narrow[0]


def _facts(judgements: Judgements, y: np.ndarray) -> dict[str, Any]:
    n = len(y)
    flat = np.full((n, 3), np.log(1 / 3))
    found = facts_of(judgements, dict.fromkeys(judgements.judges, flat), np.arange(n), y, np.arange(n))
    return {one.name: one for one in found}


def test_a_judge_of_one_order_is_held_against_the_votes() -> None:
    rng = np.random.default_rng(0)
    y = rng.choice(3, 3000, p=[0.5, 0.3, 0.2])
    lean = np.where(rng.random(3000) < 0.25, 0, y)  # says A, which it saw first, in a quarter of the rows
    table = Judgements(
        pl.Series("id", np.arange(3000)),
        {"fair": Verdicts.from_codes(y, First.A), "lean": Verdicts.from_codes(lean, First.A)},
    )
    found = _facts(table, y)
    fair, leaning = found["fair"], found["lean"]
    assert fair.position_excess == 0
    # a quarter of the rows become 1, of which the votes' mean is .2
    assert leaning.position_excess == pytest.approx(0.25 * (1 - 0.2), abs=0.03)
    assert leaning.position_bias is None


def test_a_judges_own_probabilities_are_scored_as_they_are() -> None:
    rng = np.random.default_rng(1)
    probs = rng.dirichlet([2, 2, 1], 4000)
    y = (rng.random(4000)[:, None] > probs.cumsum(axis=1)[:, :2]).sum(axis=1)
    sharp = probs**3 / (probs**3).sum(axis=1, keepdims=True)
    table = Judgements(
        pl.Series("id", np.arange(4000)),
        {"honest": LogProbs.from_probs(np.log(probs)), "sharp": LogProbs.from_probs(np.log(sharp))},
    )
    found = _facts(table, y)
    honest, overconfident = found["honest"], found["sharp"]
    expected = -np.log(probs[np.arange(4000), y]).mean()
    assert honest.stated_log_loss == pytest.approx(expected, abs=0.01)
    assert honest.calibration_error < 0.03 < overconfident.calibration_error


def test_a_judge_with_too_few_rows_is_not_tested_as_an_annotator() -> None:
    rng = np.random.default_rng(2)
    y = rng.integers(0, 3, 200)
    people = np.where(rng.random((200, 3)) < 0.2, rng.integers(0, 3, (200, 3)), y[:, None])
    seldom = np.where(np.arange(200) < 20, y, -1)
    table = Judgements(
        pl.Series("id", np.arange(200)),
        {"often": Verdicts.from_codes(y), "seldom": Verdicts.from_codes(seldom)},
    )
    found = replacement_of(table, people, ("p", "q", "r"))
    assert found["seldom"] is None
    assert found["often"] is not None
    assert found["often"]["passes"]
    assert set(found["often"]["p_values"]) == {"p", "q", "r"}
