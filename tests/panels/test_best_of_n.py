"""Best of N: permutations, two answers, ties, missing scores, and who wins over the best judge."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from arena_ensemble.errors import InputError
from arena_ensemble.judgements import AnswerScores
from arena_ensemble.panels.best_of_n import BestOfN
from arena_ensemble.panels.choice_model import choice_log_probs, solve_choice, ties_score

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
    share = np.zeros(400)
    share[np.arange(200) * 2 + (1 - right)] = 1.0
    weights = solve_choice(x.reshape(400, 3), codes, share, 1.0)
    peer = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10).fit(x[:, 0] - x[:, 1], right)
    np.testing.assert_allclose(weights, peer.coef_[0], atol=1e-4)


def test_log_probabilities_need_no_order_of_items() -> None:
    utility, codes = np.array([1.0, 2.0, 0.0, 3.0]), np.array([1, 0, 1, 0])
    expected = utility - np.array([np.logaddexp(1, 0), np.logaddexp(2, 3)] * 2)
    np.testing.assert_allclose(choice_log_probs(utility, codes), expected, atol=1e-12)


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


@given(st.integers(0, 10_000))
@settings(max_examples=8)
def test_no_order_of_rows_changes_what_is_learned(seed: int) -> None:
    table, model = PERMUTED
    rows = np.random.default_rng(seed).permutation(len(table))
    other = BestOfN().fit(table.take(rows), scored(40, seed=3)[1])
    np.testing.assert_allclose(other.coef_, model.coef_, atol=1e-6)
    np.testing.assert_allclose(other.oof_log_proba_, model.oof_log_proba_[rows], atol=1e-6)
    assert other.ridge_ == model.ridge_


def test_names_of_answers_and_judges_do_not_matter() -> None:
    table, best = scored(40, seed=3)
    names = table.answers.to_list()
    renamed = AnswerScores(
        table.items,
        pl.Series("answer", [name[::-1] for name in names]),
        tuple("abc"),
        table.mean,
        table.spread,
    )
    other = BestOfN().fit(renamed, {item: name[::-1] for item, name in best.items()})
    np.testing.assert_allclose(other.oof_log_proba_, PERMUTED[1].oof_log_proba_, atol=1e-8)


def test_several_best_answers_share_the_vote_and_a_single_one_is_as_before() -> None:
    table, best = scored(80, seed=11)
    single = BestOfN().fit(table, {item: {name: 1.0} for item, name in best.items()})
    np.testing.assert_allclose(single.coef_, BestOfN().fit(table, best).coef_, atol=1e-12)
    values = table.mean[:, 0].reshape(80, 4)
    names = np.array(table.answers.to_list()).reshape(80, 4)
    two = {k: {names[k, one]: 0.5 for one in np.argsort(-values[k])[:2]} for k in range(80)}
    model = BestOfN().fit(table, two)
    rows = {row.name: row for row in model.table_}
    assert rows["good"].accuracy == 1.0
    assert rows["uniform"].accuracy == pytest.approx(0.5)
    assert np.log(2) < rows["panel"].log_loss < rows["uniform"].log_loss


def test_samples_that_differ_and_saturation_do_not_break_the_sum() -> None:
    table, best = scored(60, seed=12, missing=0.2)
    spread = np.where(np.isnan(table.mean), np.nan, np.random.default_rng(0).random(table.mean.shape))
    sampled = AnswerScores(table.items, table.answers, table.judges, table.mean, spread)
    model = BestOfN().fit(sampled, best)
    sums = np.exp(model.predict_log_proba(sampled)).reshape(60, 4).sum(axis=1)
    np.testing.assert_allclose(sums, 1, atol=1e-12)


def test_ties_are_scored_as_rewardbench_2_does() -> None:
    """By hand: one pair of prompts is perfect, the other has a wrong answer on top of its tied item."""
    items = ["ref:1"] * 2 + ["tied:1"] * 3 + ["ref:2"] * 2 + ["tied:2"] * 3
    correct = np.array([1, 0, 1, 1, 0, 1, 0, 1, 1, 0], dtype=bool)
    scores = np.array([3.0, 0.0, 4.0, 3.0, 1.0, 2.0, 1.0, 1.0, 0.0, 2.0])
    # pair 1: spread 1, margins 3 (ref) and 2 (tied); pair 2: spread 1, margins 1 and -2
    expected = 0.3 * 1.0 + 0.3 * 0.5 + 0.2 * 0.5 + 0.2 * 0.5
    expected += 0.01 * (np.tanh(2 / 1 - 1) + np.tanh(-2 / 1 - 1)) / 2
    assert ties_score(items, scores, correct) == pytest.approx(expected)
    assert ties_score(items, np.zeros(10), correct) == 0.0
    assert ties_score(["1", "1"], np.zeros(2), np.array([True, False])) is None


def test_the_table_of_ties_names_their_score() -> None:
    rng = np.random.default_rng(1)
    rows, best = [], {}
    for k in range(12):
        for kind, right in (("ref", 1), ("tied", 3)):
            item = f"{kind}:{k}"
            best[item] = {str(one): 1 / right for one in range(right)}
            rows += [(item, str(one), 3.0 * (one < right) + rng.normal() / 10) for one in range(right + 2)]
    values = np.array([[row[2]] for row in rows])
    table = AnswerScores(
        pl.Series([row[0] for row in rows]),
        pl.Series([row[1] for row in rows]),
        ("good",),
        values,
        values * 0,
    )
    found = {row.name: row.ties for row in BestOfN().fit(table, best).table_}
    assert found["uniform"] == 0.0
    assert found["panel"] is not None
    assert found["panel"] > 0.95
