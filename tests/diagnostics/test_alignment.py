from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.diagnostics.alignment import (
    best_column_order,
    best_test_column_order,
    constant_share,
    exchanged_against,
    is_constant,
    row_order_check,
    suspicious_perfection,
)
from arena_ensemble.predictions import delta_tau, from_delta_tau

ORDERS = [(1, 0, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1), (2, 1, 0)]


def member(
    n: int, seed: int, *, a_bias: float = 0.0, share: float = 0.8
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-probabilities of a member, outcomes, and the true ln p_A - ln p_B."""
    rng = np.random.default_rng(seed)
    delta = rng.normal(size=n) * 1.5
    truth = from_delta_tau(delta, np.full(n, -0.3))
    y = (rng.random(n)[:, None] > np.exp(truth).cumsum(axis=1)[:, :2]).sum(axis=1)
    seen = share * (delta + 0.5 * rng.normal(size=n)) + a_bias
    return from_delta_tau(seen, -0.3 - 0.2 * np.abs(seen) + 0.2 * rng.normal(size=n)), y, delta


@pytest.mark.parametrize("order", ORDERS)
def test_a_wrong_column_order_is_found_by_the_outcomes(order: tuple[int, int, int]) -> None:
    log_probs, y, _ = member(300, 0)
    wrong = log_probs[:, list(order)]
    found = best_column_order(wrong, y)
    assert found is not None
    assert np.array_equal(wrong[:, list(found)], log_probs)
    assert best_column_order(log_probs, y) is None


@pytest.mark.parametrize("order", ORDERS)
def test_a_wrong_column_order_of_the_test_file_is_found_by_distribution(order: tuple[int, int, int]) -> None:
    shown, seen = member(700, 0, a_bias=0.6)[0], member(400, 1, a_bias=0.6)[0]
    wrong = seen[:, list(order)]
    found = best_test_column_order(shown, wrong)
    assert found is not None
    assert np.array_equal(wrong[:, list(found)], seen)
    assert best_test_column_order(shown, seen) is None


def test_an_exchange_of_alike_columns_cannot_be_seen_by_distribution_but_by_others() -> None:
    shown, _, delta = member(700, 0)
    seen, _, test_delta = member(400, 1)
    odd, test_odd = delta[:, None], test_delta[:, None]
    assert best_test_column_order(shown, seen[:, [1, 0, 2]]) is None
    assert exchanged_against(shown, seen[:, [1, 0, 2]], odd, test_odd)
    assert exchanged_against(shown[:, [1, 0, 2]], seen, odd, test_odd)
    assert not exchanged_against(shown, seen, odd, test_odd)
    # Exchanged in both files is a matter for the outcomes.
    assert not exchanged_against(shown[:, [1, 0, 2]], seen[:, [1, 0, 2]], odd, test_odd)
    assert not exchanged_against(shown, seen, np.zeros((700, 1)), np.zeros((400, 1)))
    assert not exchanged_against(shown, seen, np.empty((700, 0)), np.empty((400, 0)))


@given(st.integers(0, 10_000), st.floats(-0.6, 0.6), st.floats(0.5, 1.5))
def test_honest_test_predictions_are_not_refused(seed: int, a_bias: float, sharpness: float) -> None:
    """Whatever the member's bias, and though averages of folds are less sharp."""
    shown = member(600, seed, a_bias=a_bias)[0]
    delta, tau = delta_tau(member(300, seed + 1, a_bias=a_bias)[0])
    assert best_test_column_order(shown, from_delta_tau(sharpness * delta, sharpness * tau)) is None


def test_test_battles_without_the_bias_are_not_refused() -> None:
    assert best_test_column_order(member(3000, 0, a_bias=0.5)[0], member(2000, 1)[0]) is None


@given(st.integers(0, 10_000))
def test_shuffled_rows_are_told_from_honest_ones(seed: int) -> None:
    log_probs, y, _ = member(600, seed)
    assert row_order_check(log_probs, y) is None
    found = row_order_check(np.random.default_rng(seed).permutation(log_probs), y)
    assert found is not None
    assert found.gain <= 3 * found.gain_se < found.claimed


def test_the_gain_over_shuffled_rows_is_the_mean_over_all_shuffles() -> None:
    log_probs, y, _ = member(200, 3)
    wrong = np.random.default_rng(1).permutation(log_probs)
    found = row_order_check(wrong, y)
    assert found is not None
    rng = np.random.default_rng(2)
    losses = [-wrong[rng.permutation(200), y].mean() for _ in range(4000)]
    assert found.gain == pytest.approx(np.mean(losses) + wrong[np.arange(200), y].mean(), abs=0.005)


def test_over_confidence_is_no_wrong_row_order_and_calm_members_claim_nothing() -> None:
    log_probs, y, _ = member(600, 0, share=0.3)
    delta, tau = delta_tau(log_probs)
    assert row_order_check(from_delta_tau(6 * delta, 6 * tau), y) is None
    assert row_order_check(np.random.default_rng(0).permutation(from_delta_tau(0.01 * delta, tau)), y) is None
    for constant in ([1 / 3, 1 / 3, 1 / 3], [0.9, 0.05, 0.05]):
        assert row_order_check(np.log(np.tile(constant, (600, 1))), y) is None


def test_copied_groups_are_no_further_evidence() -> None:
    log_probs, y, _ = member(60, 0, share=0.25)
    wrong = np.random.default_rng(0).permutation(log_probs)
    groups = np.tile(np.arange(60), 20)
    many = np.tile(wrong, (20, 1)), np.tile(y, 20)
    assert row_order_check(*many) is not None
    assert row_order_check(*many, groups) is None
    assert suspicious_perfection(np.tile(np.log(np.eye(3)[y] + 1e-9), (20, 1)), many[1], groups) is None


def test_constant_members_are_named() -> None:
    log_probs = member(100, 0)[0]
    constant = np.tile(log_probs[:1], (100, 1))
    assert is_constant(constant)
    assert constant_share(constant) == 1
    assert not is_constant(log_probs)
    assert not is_constant(constant[:10])
    constant[:2] = log_probs[1:3]
    assert not is_constant(constant)


def test_perfection_is_suspected_where_the_rows_suffice() -> None:
    y = np.arange(300) % 3
    perfect = np.log(0.97 * np.eye(3)[y] + 0.01)
    assert suspicious_perfection(perfect, y) == 1.0
    assert suspicious_perfection(perfect[:40], y[:40]) is None
    nearly = perfect.copy()
    nearly[:3] = nearly[:3, [1, 2, 0]]
    assert suspicious_perfection(nearly, y) == pytest.approx(0.99)
    nearly[:45] = perfect[:45, [1, 2, 0]]
    assert suspicious_perfection(nearly, y) is None
    # Without ties more is possible: pairs that were chosen to be easy.
    pairs = np.arange(300) % 2
    right = np.log(0.97 * np.eye(3)[pairs] + 0.01)
    assert suspicious_perfection(right, pairs) == 1.0
    right[:10] = right[:10, [1, 0, 2]]
    assert suspicious_perfection(right, pairs) is None


def test_a_member_that_knows_nothing_has_no_wrong_order() -> None:
    rng = np.random.default_rng(0)
    guesses = np.log(rng.dirichlet([20, 20, 20], size=500))
    assert best_column_order(guesses, rng.integers(0, 3, 500)) is None
