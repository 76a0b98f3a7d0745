from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from arena_ensemble.diagnostics.contribution import keep_ledger
from arena_ensemble.diagnostics.label_leakage import best_column_order, suspicions
from arena_ensemble.predictions import Predictions, from_delta_tau


def scene(n: int = 1500, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    delta = rng.normal(size=n) * 1.5
    truth = from_delta_tau(delta, np.full(n, -0.2))
    y = (rng.random(n)[:, None] > np.exp(truth).cumsum(axis=1)[:, :2]).sum(axis=1)

    def member(noise: float, share: float) -> np.ndarray:
        return np.exp(from_delta_tau(share * (delta + rng.normal(size=n) * noise), np.full(n, -0.2)))

    return {"strong": member(0.4, 0.9), "weak": member(2.0, 0.4), "noise": member(50.0, 0.01)}, y


def test_the_ledger_knows_who_is_needed() -> None:
    members, y = scene()
    kept = keep_ledger(members, y, hours={"strong": 2.0, "noise": 8.0})
    accounts = {one.name: one for one in kept.members}
    assert accounts["strong"].without > 5 * accounts["strong"].without_se
    assert accounts["strong"].gain_per_hour == pytest.approx(accounts["strong"].without / 2)
    assert accounts["strong"].advice.startswith("keep")
    assert "stop training noise" in accounts["noise"].advice
    assert kept.greedy[0][0] == "strong"
    assert kept.pool_log_loss < accounts["strong"].log_loss + 0.005
    assert np.allclose(np.diag(kept.error_correlation), 1)
    assert np.allclose(np.diag(kept.disagreement), 0)
    json.dumps(kept.as_dict())


def test_position_bias_is_read_where_both_orders_were() -> None:
    members, y = scene(400)
    probs = members["strong"]
    leaning = np.log(probs).copy()
    leaning[:, 0] += 0.3
    leaning -= np.log(np.exp(leaning).sum(axis=1, keepdims=True))
    ids = pl.Series("id", np.arange(400))
    both = Predictions(ids, leaning, np.zeros(400), swap_log_probs=np.log(probs))
    account = keep_ledger({"both": both, "weak": members["weak"]}, y).members[0]
    assert account.position_bias == pytest.approx(0.15)
    assert keep_ledger({"weak": members["weak"]}, y).members[0].position_bias is None
    part = np.log(probs)
    part[::2] = leaning[::2]  # only every other row was read twice
    some = Predictions(ids, leaning, np.zeros(400), swap_log_probs=part)
    account = keep_ledger({"some": some, "weak": members["weak"]}, y).members[0]
    assert account.position_bias == pytest.approx(0.15)


def test_honest_members_are_not_suspected() -> None:
    for seed in range(5):
        members, y = scene(seed=seed)
        assert suspicions(members, y) == []
    assert suspicions({"alone": members["strong"]}, y) == []


def test_a_member_that_saw_the_labels_is_named_with_its_evidence() -> None:
    members, y = scene()
    rng = np.random.default_rng(1)
    told = np.full((len(y), 3), 0.05)
    told[np.arange(len(y)), y] = 0.9
    told[rng.random(len(y)) < 0.1] = 1 / 3
    found = suspicions({**members, "leak": told}, y)
    assert [one.member for one in found] == ["leak"]
    assert "errs as rarely" in found[0].reasons[0]
    assert found[0].evidence["advantage"] > 0.05
    partly = members["weak"].copy()
    partly[: len(y) // 4] = told[: len(y) // 4]
    found = suspicions({**members, "partly": partly}, y)
    assert [one.member for one in found] == ["partly"]
    assert any("row blocks" in reason for reason in found[0].reasons)
    scattered = members["weak"].copy()
    saw = rng.random(len(y)) < 0.3
    scattered[saw] = told[saw]
    found = suspicions({**members, "scattered": scattered}, y)
    assert [one.member for one in found] == ["scattered"]
    assert any("surest" in reason for reason in found[0].reasons)


def test_a_rival_that_shouts_makes_nobody_suspect() -> None:
    for seed in range(5):
        members, y = scene(seed=seed)
        loud = np.log(members["weak"]) * 4
        loud = np.exp(loud - np.log(np.exp(loud).sum(axis=1, keepdims=True)))
        assert suspicions({"strong": members["strong"], "loud": loud}, y) == []


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
