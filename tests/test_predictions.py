"""Laws of predictions: delta and tau, swapping, alignment by id, averages."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import softmax
from scipy.stats import gmean

from arena_ensemble.battles import SWAP
from arena_ensemble.errors import InputError
from arena_ensemble.predictions import (
    LOG_FLOOR,
    Floats,
    Predictions,
    average_folds,
    delta_tau,
    from_delta_tau,
    normalised,
)

LOGITS = hnp.arrays(np.float64, st.tuples(st.integers(1, 8), st.just(3)), elements=st.floats(-12, 12))
FINITE = st.floats(-30, 30)


def predictions(
    n: int = 6, seed: int = 0, *, both: bool = False, ids: list[Any] | None = None
) -> Predictions:
    rng = np.random.default_rng(seed)
    swap = normalised(rng.normal(size=(n, 3))) if both else None
    return Predictions(
        pl.Series(ids or list(range(n))), normalised(rng.normal(size=(n, 3))), np.arange(n) % 2, swap
    )


@given(LOGITS)
def test_delta_and_tau_say_it_all(logits: Floats) -> None:
    log_probs = normalised(logits)
    np.testing.assert_allclose(from_delta_tau(*delta_tau(log_probs)), log_probs, atol=1e-12)


@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=6))
def test_delta_and_tau_are_those_of_the_probabilities(pairs: list[tuple[float, float]]) -> None:
    delta, tau = np.array(pairs).T
    log_probs = from_delta_tau(delta, tau)
    expected = softmax(np.stack([delta / 2, -delta / 2, tau], axis=1), axis=1)  # scipy's, as the oracle
    np.testing.assert_allclose(np.exp(log_probs), expected, rtol=1e-12)
    back = delta_tau(log_probs)
    clear = (log_probs > LOG_FLOOR + 1).all(axis=1)
    np.testing.assert_allclose(back[0][clear], delta[clear], atol=1e-9)
    np.testing.assert_allclose(back[1][clear], tau[clear], atol=1e-9)


@given(LOGITS)
def test_swapping_columns_negates_delta_and_keeps_tau(logits: Floats) -> None:
    delta, tau = delta_tau(normalised(logits))
    swapped = delta_tau(normalised(logits)[:, list(SWAP)])
    np.testing.assert_allclose(swapped[0], -delta, atol=0)
    np.testing.assert_allclose(swapped[1], tau, atol=1e-12)


@given(LOGITS, st.floats(-50, 50))
def test_normalised_ignores_a_shift(logits: Floats, shift: float) -> None:
    np.testing.assert_allclose(normalised(logits + shift), normalised(logits), atol=1e-10)
    np.testing.assert_allclose(np.exp(normalised(logits)).sum(axis=1), 1, atol=1e-12)


def test_a_hard_zero_stays_finite_in_delta_and_tau() -> None:
    delta, tau = delta_tau(np.log([[1.0, 1e-300, 1e-300]]))
    assert np.isfinite([delta, tau]).all()
    with np.errstate(divide="ignore"):
        hard = np.log([[1.0, 0.0, 0.0]])
    assert np.isfinite(delta_tau(hard)).all()
    assert Predictions(pl.Series([1]), hard, np.array([0])).log_probs[0, 1] == -np.inf


@pytest.mark.parametrize("both", [False, True])
def test_swapping_twice_is_identity(both: bool) -> None:
    said = predictions(both=both)
    back = said.swapped().swapped()
    np.testing.assert_array_equal(back.log_probs, said.log_probs)
    assert (back.swap_log_probs is None) == (not both)
    if both:
        np.testing.assert_array_equal(back.swap_log_probs, said.swap_log_probs)


def test_one_reading_swapped_has_a_and_b_exchanged() -> None:
    said = predictions()
    np.testing.assert_array_equal(said.swapped().probs, said.probs[:, [1, 0, 2]])


def test_both_orders_read_are_equivariant_and_free_of_position_bias() -> None:
    said = predictions(both=True)
    combined = said.combined()
    np.testing.assert_allclose(
        said.swapped().combined().log_probs, combined.log_probs[:, [1, 0, 2]], atol=1e-13
    )
    assert said.swap_log_probs is not None
    np.testing.assert_allclose(
        combined.log_probs, normalised((said.log_probs + said.swap_log_probs) / 2), atol=1e-12
    )
    bias = said.position_bias()
    assert bias is not None
    np.testing.assert_allclose(bias, (delta_tau(said.log_probs)[0] - delta_tau(said.swap_log_probs)[0]) / 2)
    np.testing.assert_allclose(said.swapped().position_bias(), bias, atol=1e-13)  # a property of the place
    assert predictions().position_bias() is None
    assert combined.combined() is combined


@given(st.permutations(range(6)), st.lists(st.integers(0, 5), unique=True, min_size=1))
def test_alignment_is_by_id_and_never_by_place(order: list[int], wanted: list[int]) -> None:
    said = predictions(both=True)
    shuffled = said.take(np.array(order))
    for ids in (said.ids, said.ids[wanted]):
        aligned = shuffled.aligned_to(ids)
        expected = said.take(ids.to_numpy())
        assert aligned.ids.equals(ids)
        np.testing.assert_array_equal(aligned.log_probs, expected.log_probs)
        np.testing.assert_array_equal(aligned.swap_log_probs, expected.swap_log_probs)
        np.testing.assert_array_equal(aligned.fold, expected.fold)


def test_what_cannot_be_aligned_is_named() -> None:
    said = predictions()
    with pytest.raises(InputError, match="m: 2 ids are missing, the first is 9"):
        said.aligned_to(pl.Series([1, 9, 8]), name="m")
    with pytest.raises(InputError, match="ids are Int64, the battles' ids are String"):
        said.aligned_to(pl.Series(["1"]))


def test_folds_are_averaged_as_a_geometric_mean() -> None:
    parts = [predictions(seed=k) for k in range(3)]
    mean = average_folds(parts)
    pooled = gmean(np.stack([part.probs for part in parts]), axis=0)  # scipy's, as the oracle
    np.testing.assert_allclose(mean.probs, pooled / pooled.sum(axis=1, keepdims=True), atol=1e-12)
    assert (mean.fold == -1).all()
    np.testing.assert_allclose(
        average_folds([part.swapped() for part in parts]).probs, mean.probs[:, [1, 0, 2]], atol=1e-13
    )
    with pytest.raises(InputError, match="different ids or another order"):
        average_folds([parts[0], parts[1].take(np.arange(6)[::-1])])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.5, 0.3, 0.2], "expected log-probabilities"),
        ([np.nan, 0, 0], "expected log-probabilities"),
        ([np.inf, 0, 0], "expected log-probabilities"),
        ([-np.inf, -np.inf, -np.inf], "expected log-probabilities"),
        ([-1.0, -1.0, -1.0], r"log_probs of id 1 \(row 2\)"),
    ],
)
def test_what_is_no_distribution_is_refused(row: list[float], message: str) -> None:
    values = np.log(np.full((2, 3), 1 / 3))
    values[1] = row
    with pytest.raises(InputError, match=message):
        Predictions(pl.Series([0, 1]), values, np.zeros(2))


def test_shapes_and_ids_are_checked_and_values_frozen() -> None:
    good = np.log(np.full((2, 3), 1 / 3))
    with pytest.raises(InputError, match="repeat the id 5"):
        Predictions(pl.Series([5, 5]), good, np.zeros(2))
    with pytest.raises(InputError, match=r"log_probs has shape \(2, 2\)"):
        Predictions(pl.Series([0, 1]), good[:, :2], np.zeros(2))
    with pytest.raises(InputError, match="fold has shape"):
        Predictions(pl.Series([0, 1]), good, np.zeros(3))
    with pytest.raises(ValueError, match="read-only"):
        Predictions(pl.Series([0, 1]), good.copy(), np.zeros(2)).log_probs[0, 0] = 0
