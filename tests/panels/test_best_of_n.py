"""Best of N: permutations, two answers, ties, missing scores, and who wins over the best judge."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from arena_ensemble.errors import InputError
from arena_ensemble.judgements import AnswerScores
from arena_ensemble.panels.best_of_n import BestOfN, _log_probs, _solve

Array = np.ndarray[Any, Any]


def scored(
    items: int, n: int = 4, seed: int = 0, missing: float = 0.0
) -> tuple[AnswerScores, dict[int, str]]:
    """Answers of known utility, the best drawn by it, and three judges: good, weak, noise on other scales."""
    rng = np.random.default_rng(seed)
    utility = rng.normal(size=(items, n)) * 2
    best = (utility + rng.gumbel(size=(items, n))).argmax(axis=1)
    judges = np.stack(
        [
            utility + rng.normal(size=(items, n)),
            10 * utility + 40 * rng.normal(size=(items, n)),
            rng.normal(size=(items, n)),
        ],
        axis=2,
    ).reshape(items * n, 3)
    judges[rng.random(judges.shape) < missing] = np.nan
    names = pl.Series("answer", [f"answer {k}" for _ in range(items) for k in range(n)])
    table = AnswerScores(
        pl.Series("item", np.repeat(np.arange(items), n)),
        names,
        ("good", "weak", "noise"),
        judges,
        np.where(np.isnan(judges), np.nan, 0.0),
    )
    return table, {item: f"answer {k}" for item, k in enumerate(best.tolist())}


@pytest.fixture(scope="module")
def fitted() -> tuple[AnswerScores, BestOfN]:
    table, best = scored(300)
    return table, BestOfN().fit(table, best)


def test_the_panel_beats_its_best_judge_and_the_uniform_choice(fitted: tuple[AnswerScores, BestOfN]) -> None:
    rows = {row.name: row for row in fitted[1].table_}
    assert rows["uniform"].log_loss == pytest.approx(np.log(4))
    assert rows["uniform"].accuracy == pytest.approx(0.25)  # four answers tie for the top
    assert rows["panel"].log_loss < rows["good"].log_loss < rows["uniform"].log_loss
    assert rows["good"].difference > 0
    assert abs(fitted[1].weights_["noise"][0]) < 0.3 * fitted[1].weights_["good"][0]


def test_probabilities_sum_to_one_in_an_item(fitted: tuple[AnswerScores, BestOfN]) -> None:
    table, model = fitted
    probs = model.predict_proba(table)
    sums = pl.DataFrame({"item": table.items, "p": probs}).group_by("item").agg(pl.col("p").sum())["p"]
    np.testing.assert_allclose(sums.to_numpy(), 1, atol=1e-12)
    out = np.exp(model.oof_log_proba_).reshape(-1, 4).sum(axis=1)
    np.testing.assert_allclose(out, 1, atol=1e-12)


@given(st.integers(0, 10_000))
def test_exchanging_answers_exchanges_probabilities(seed: int) -> None:
    table, model = PERMUTED
    rows = np.random.default_rng(seed).permutation(len(table))
    np.testing.assert_allclose(
        model.predict_log_proba(table.take(rows)), model.predict_log_proba(table)[rows], atol=1e-12
    )


PERMUTED = (scored(40, seed=3)[0], BestOfN().fit(*scored(40, seed=3)))


def test_two_answers_are_a_logistic_regression() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(200, 2, 3))
    right = (rng.random(200) < 1 / (1 + np.exp((x[:, 1] - x[:, 0]) @ [1.0, 0.5, 0.0]))).astype(int)
    codes = np.repeat(np.arange(200), 2)
    where = np.arange(200) * 2 + (1 - right)
    weights = _solve(x.reshape(400, 3), codes, where, 1.0)
    peer = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10).fit(x[:, 0] - x[:, 1], right)
    np.testing.assert_allclose(weights, peer.coef_[0], atol=1e-4)


def test_log_probabilities_need_no_order_of_items() -> None:
    utility, codes = np.array([1.0, 2.0, 0.0, 3.0]), np.array([1, 0, 1, 0])
    expected = utility - np.array([np.logaddexp(1, 0), np.logaddexp(2, 3)] * 2)
    np.testing.assert_allclose(_log_probs(utility, codes), expected, atol=1e-12)


def test_missing_scores_and_items_of_several_sizes_are_taken() -> None:
    table, best = scored(120, seed=6, missing=0.3)
    rows = np.flatnonzero(
        (np.arange(len(table)) % 7 != 0) | np.isin(np.arange(len(table)), _best_rows(table, best))
    )
    model = BestOfN().fit(table.take(rows), best)
    panel, uniform = model.table_[-1], model.table_[0]
    assert panel.log_loss < uniform.log_loss
    assert np.isfinite(model.predict_log_proba(table)).all()


def _best_rows(table: AnswerScores, best: dict[int, str]) -> Array:
    names = [best[item] for item in table.items.to_list()]
    return np.flatnonzero(np.array(names) == np.array(table.answers.to_list()))


def test_an_item_without_a_best_answer_is_left_out_and_predicted() -> None:
    table, best = scored(60, seed=7)
    del best[3]
    model = BestOfN().fit(table, best)
    assert np.isnan(model.oof_log_proba_[12:16]).all()
    assert np.isfinite(np.delete(model.oof_log_proba_, range(12, 16))).all()


def test_what_is_wrong_is_said() -> None:
    table, best = scored(30, seed=8)
    with pytest.raises(InputError, match="none of its answers; name one"):
        BestOfN().fit(table, {**best, 2: "no such"})
    with pytest.raises(InputError, match="items with a best answer"):
        BestOfN().fit(table, {0: best[0]})
    with pytest.raises(NotFittedError):
        BestOfN().predict_proba(table)
    model = BestOfN().fit(table, best)
    other = AnswerScores(table.items, table.answers, ("x", "y", "z"), table.mean, table.spread)
    with pytest.raises(InputError, match="give the same in this order"):
        model.predict_proba(other)


def test_a_group_of_items_stays_in_one_fold() -> None:
    """Every item copied: with groups, the copy is never learned from when the other is scored."""
    table, best = scored(40, seed=9)
    twice = AnswerScores(
        pl.Series("item", np.repeat(np.arange(80), 4)),
        pl.concat([table.answers, table.answers]),
        table.judges,
        np.concatenate([table.mean] * 2),
        np.concatenate([table.spread] * 2),
    )
    both = {**best, **{item + 40: name for item, name in best.items()}}
    model = BestOfN().fit(twice, both, groups={item: item % 40 for item in range(80)})
    half = model.oof_log_proba_.reshape(2, -1)
    np.testing.assert_allclose(half[0], half[1], atol=1e-9)
