from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from arena_ensemble.diagnostics.contribution import member_contributions
from arena_ensemble.diagnostics.label_leakage import best_column_order, leakage_suspicions
from arena_ensemble.predictions import Predictions, from_delta_tau


def scene(n: int = 1500, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    delta = rng.normal(size=n) * 1.5
    truth = from_delta_tau(delta, np.full(n, -0.2))
    y = (rng.random(n)[:, None] > np.exp(truth).cumsum(axis=1)[:, :2]).sum(axis=1)

    def member(noise: float, share: float) -> np.ndarray:
        return np.exp(from_delta_tau(share * (delta + rng.normal(size=n) * noise), np.full(n, -0.2)))

    return {"strong": member(0.4, 0.9), "weak": member(2.0, 0.4), "noise": member(50.0, 0.01)}, y


def test_contributions_tell_who_is_needed() -> None:
    members, y = scene()
    table = member_contributions(members, y, hours={"strong": 2.0, "noise": 8.0})
    rows = {one.name: one for one in table.members}
    assert rows["strong"].leave_one_out_gain > 5 * rows["strong"].leave_one_out_gain_se
    assert rows["strong"].gain_per_hour == pytest.approx(rows["strong"].leave_one_out_gain / 2)
    assert rows["strong"].advice.startswith("keep")
    assert "stop training noise" in rows["noise"].advice
    assert table.greedy[0][0] == "strong"
    assert table.pool_log_loss < rows["strong"].log_loss + 0.005
    assert np.allclose(np.diag(table.error_correlation), 1)
    assert np.allclose(np.diag(table.disagreement), 0)
    json.dumps(table.as_dict())


def test_position_bias_is_reported_where_both_orders_were_predicted() -> None:
    members, y = scene(400)
    probs = members["strong"]
    leaning = np.log(probs).copy()
    leaning[:, 0] += 0.3
    leaning -= np.log(np.exp(leaning).sum(axis=1, keepdims=True))
    ids = pl.Series("id", np.arange(400))
    both = Predictions(ids, leaning, np.zeros(400), swap_log_probs=np.log(probs))
    row = member_contributions({"both": both, "weak": members["weak"]}, y).members[0]
    assert row.position_bias == pytest.approx(0.15)
    assert member_contributions({"weak": members["weak"]}, y).members[0].position_bias is None
    part = np.log(probs)
    part[::2] = leaning[::2]  # only every other row was predicted in both orders
    some = Predictions(ids, leaning, np.zeros(400), swap_log_probs=part)
    row = member_contributions({"some": some, "weak": members["weak"]}, y).members[0]
    assert row.position_bias == pytest.approx(0.15)


def test_honest_members_are_not_suspected() -> None:
    for seed in range(5):
        members, y = scene(seed=seed)
        assert leakage_suspicions(members, y) == []
    assert leakage_suspicions({"alone": members["strong"]}, y) == []


def test_a_member_that_saw_the_labels_is_named_with_its_evidence() -> None:
    members, y = scene()
    rng = np.random.default_rng(1)
    sees_labels = np.full((len(y), 3), 0.05)
    sees_labels[np.arange(len(y)), y] = 0.9
    sees_labels[rng.random(len(y)) < 0.1] = 1 / 3
    found = leakage_suspicions({**members, "leak": sees_labels}, y)
    assert [one.member for one in found] == ["leak"]
    assert "errs as rarely" in found[0].reasons[0]
    assert found[0].evidence["advantage"] > 0.05
    partly = members["weak"].copy()
    partly[: len(y) // 4] = sees_labels[: len(y) // 4]
    found = leakage_suspicions({**members, "partly": partly}, y)
    assert [one.member for one in found] == ["partly"]
    assert any("row blocks" in reason for reason in found[0].reasons)
    scattered = members["weak"].copy()
    saw = rng.random(len(y)) < 0.3
    scattered[saw] = sees_labels[saw]
    found = leakage_suspicions({**members, "scattered": scattered}, y)
    assert [one.member for one in found] == ["scattered"]
    assert any("surest" in reason for reason in found[0].reasons)


def test_an_over_confident_other_member_makes_nobody_suspect() -> None:
    for seed in range(5):
        members, y = scene(seed=seed)
        loud = np.log(members["weak"]) * 4
        loud = np.exp(loud - np.log(np.exp(loud).sum(axis=1, keepdims=True)))
        assert leakage_suspicions({"strong": members["strong"], "loud": loud}, y) == []


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 0, 1), (0, 2, 1)])
def test_swapped_columns_are_found(order: tuple[int, int, int]) -> None:
    members, y = scene()
    right = np.log(members["strong"])
    found = best_column_order(right[:, list(order)], y)
    assert found is not None
    assert np.array_equal(right[:, list(order)][:, list(found)], right)
    assert best_column_order(right, y) is None


def test_a_member_that_knows_nothing_has_no_wrong_order() -> None:
    rng = np.random.default_rng(0)
    guesses = np.log(rng.dirichlet([20, 20, 20], size=500))
    assert best_column_order(guesses, rng.integers(0, 3, 500)) is None
