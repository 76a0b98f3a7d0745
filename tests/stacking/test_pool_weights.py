from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from arena_ensemble.metrics import log_loss
from arena_ensemble.predictions import delta_tau, from_delta_tau, normalised
from arena_ensemble.stacking.pool_weights import (
    geometric_weights,
    greedy_path,
    greedy_weights,
    linear_pool,
    linear_weights,
    true_class_probs,
)

SEEDS = st.integers(0, 10_000)


def members(seed: int, count: int = 3, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities (count, n, 3) that know something of the outcomes (n,)."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, 3))
    y = (rng.random(n)[:, None] > np.exp(normalised(truth)).cumsum(axis=1)[:, :2]).sum(axis=1)
    noisy = [normalised(truth + rng.normal(size=(n, 3)) * rng.uniform(0.3, 2)) for _ in range(count)]
    return np.stack(noisy), y


def split(log_probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pairs = [delta_tau(one) for one in log_probs]
    return np.stack([p[0] for p in pairs], axis=1), np.stack([p[1] for p in pairs], axis=1)


@given(SEEDS)
def test_the_linear_pool_meets_its_optimality_conditions(seed: int) -> None:
    log_probs, y = members(seed)
    true = true_class_probs(log_probs, y)
    weights = linear_weights(true)
    assert weights.sum() == pytest.approx(1)
    slope = (true / (true @ weights)[:, None]).mean(axis=0)
    assert slope.max() <= 1 + 1e-6
    assert np.abs(slope[weights > 1e-6] - 1).max() <= 1e-6


@given(SEEDS)
def test_the_geometric_pool_is_the_minimum_that_scipy_finds(seed: int) -> None:
    log_probs, y = members(seed)
    delta, tau = split(log_probs)

    def objective(w: np.ndarray) -> float:
        return log_loss(from_delta_tau(delta @ w, tau @ w), y)

    best = minimize(objective, np.full(3, 0.3), bounds=[(0, None)] * 3, options={"ftol": 1e-13})
    assert objective(geometric_weights(delta, tau, y)) <= best.fun + 1e-8


@given(SEEDS)
def test_a_duplicate_changes_neither_pool(seed: int) -> None:
    log_probs, y = members(seed)
    doubled = np.concatenate([log_probs, log_probs[:1]])
    one = linear_pool(log_probs, linear_weights(true_class_probs(log_probs, y)))
    two = linear_pool(doubled, linear_weights(true_class_probs(doubled, y)))
    assert np.abs(np.exp(one) - np.exp(two)).max() < 1e-6
    (d1, t1), (d2, t2) = split(log_probs), split(doubled)
    w1, w2 = geometric_weights(d1, t1, y), geometric_weights(d2, t2, y)
    first, second = from_delta_tau(d1 @ w1, t1 @ w1), from_delta_tau(d2 @ w2, t2 @ w2)
    assert np.abs(np.exp(first) - np.exp(second)).max() < 1e-6


@given(SEEDS)
def test_permuting_rows_or_members_changes_no_pool(seed: int) -> None:
    log_probs, y = members(seed)
    rng = np.random.default_rng(seed)
    rows, order = rng.permutation(len(y)), rng.permutation(3)
    delta, tau = split(log_probs)
    moved = geometric_weights(delta[rows][:, order], tau[rows][:, order], y[rows])
    assert np.abs(moved - geometric_weights(delta, tau, y)[order]).max() < 1e-6
    true = true_class_probs(log_probs, y)
    assert np.abs(linear_weights(true[rows][:, order]) - linear_weights(true)[order]).max() < 1e-6
    assert np.allclose(greedy_weights(true[rows][:, order]), greedy_weights(true)[order])


@given(SEEDS, st.integers(1, 40))
def test_greedy_selection_is_the_plain_loop(seed: int, n: int) -> None:
    log_probs, y = members(seed, n=n)
    true = true_class_probs(log_probs, y)
    total, path = np.zeros(n), []
    for count in range(1, 11):
        losses = [-np.log((total + true[:, m]) / count).mean() for m in range(3)]
        path.append(int(np.argmin(losses)))
        total += true[:, path[-1]]
    assert greedy_path(true, 10) == path


def test_greedy_of_equals_keeps_who_is_already_in() -> None:
    log_probs, y = members(0)
    twins = np.stack([log_probs[0], log_probs[0], log_probs[0]])
    assert greedy_weights(true_class_probs(twins, y)).tolist() == [1, 0, 0]
    assert set(greedy_path(true_class_probs(twins, y))) == {0}


def test_pools_of_fifty_members_and_of_one() -> None:
    log_probs, y = members(1, count=50, n=200)
    assert linear_weights(true_class_probs(log_probs, y)).sum() == pytest.approx(1)
    assert (geometric_weights(*split(log_probs), y) >= 0).all()
    alone = log_probs[:1]
    assert linear_weights(true_class_probs(alone, y)).tolist() == [1.0]
    assert greedy_weights(true_class_probs(alone, y)).tolist() == [1.0]
