"""Laws of choosing rows for a second reading."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble import metrics
from arena_ensemble.pipeline import second_reading
from arena_ensemble.predictions import Floats, delta_tau, from_delta_tau


def member(n: int, seed: int, *, noisy_when: str = "always") -> tuple[pl.Series, Floats, Floats, Floats]:
    """Ids, both orders' log-probabilities, and the truth that both see through noise of their own."""
    rng = np.random.default_rng(seed)
    delta, tau = rng.normal(size=n) * 1.5, rng.normal(size=n) * 0.3 - 0.5
    close = np.abs(delta) < np.median(np.abs(delta))
    wide = {"always": np.ones(n), "close": np.where(close, 1.5, 0.05), "sure": np.where(close, 0.05, 1.5)}
    noise = rng.normal(size=(2, n)) * wide[noisy_when]
    shown, other = (from_delta_tau(delta + part, tau) for part in noise)
    return pl.Series([f"row {k}" for k in range(n)]), shown, other, from_delta_tau(delta, tau)


@given(st.integers(1, 300), st.floats(0, 1), st.integers(0, 5))
def test_so_many_rows_and_none_twice(n: int, share: float, seed: int) -> None:
    ids, shown, other, _ = member(n, seed)
    pilot = second_reading.pilot_rows(ids, share)
    rest = second_reading.remaining_rows(shown, other, pilot, share)
    chosen = np.concatenate([pilot, rest])
    assert len(np.unique(chosen)) == len(chosen) == math.ceil(share * n)
    assert (np.diff(pilot) > 0).all()
    assert (np.diff(rest) > 0).all()


@given(st.integers(0, 2**32))
def test_the_choice_depends_on_no_order_and_on_no_unread_row(seed: int) -> None:
    ids, shown, other, _ = member(120, 3)
    order = np.random.default_rng(seed).permutation(120)
    pilot = second_reading.pilot_rows(ids, 0.4)
    again = second_reading.pilot_rows(ids[order], 0.4)
    assert set(ids[pilot]) == set(ids[order][again])
    hidden = np.full_like(other, np.nan)
    hidden[pilot] = other[pilot]
    rest = second_reading.remaining_rows(shown, hidden, pilot, 0.4)
    np.testing.assert_array_equal(rest, second_reading.remaining_rows(shown, other, pilot, 0.4))
    moved = second_reading.remaining_rows(shown[order], other[order], again, 0.4)
    assert set(ids[order][moved]) == set(ids[rest])


@pytest.mark.parametrize(("noisy_when", "sure"), [("close", False), ("sure", True)])
def test_it_goes_where_the_second_reading_changes_most(noisy_when: str, sure: bool) -> None:
    ids, shown, other, _ = member(2000, 0, noisy_when=noisy_when)
    pilot = second_reading.pilot_rows(ids, 0.4)
    rest = second_reading.remaining_rows(shown, other, pilot, 0.4)
    size = np.abs(delta_tau(shown)[0])
    assert (np.median(size[rest]) > np.median(size)) == sure


def test_the_pilot_tells_what_the_unread_rows_cost() -> None:
    """Its estimate against the truth, over many members: unbiased within its own error."""
    away = []
    for seed in range(60):
        ids, shown, other, truth = member(800, seed)
        y = (np.random.default_rng(seed).random((800, 1)) > np.exp(truth).cumsum(axis=1)[:, :2]).sum(axis=1)
        both = second_reading.combined(shown, other)
        losses = metrics.row_losses(shown, y), metrics.row_losses(both, y)
        pilot = second_reading.pilot_rows(ids, 0.3)
        rest = second_reading.remaining_rows(shown, other, pilot, 0.3)
        read = np.union1d(pilot, rest)
        unread = np.setdiff1d(np.arange(800), read)
        cost = second_reading.cost(ids, shown, other, 0.3, losses)
        told = second_reading.facts([(800, len(read), cost)])
        true = (losses[0] - losses[1])[unread].sum() / 800
        away.append((told["log_loss_above_reading_all_twice"] - true, told["standard_error"]))
        assert told["rows_read_twice"] == 240
        assert told["pilot_rows"] == len(pilot) == 60
    difference, error = np.asarray(away).T
    assert abs(difference.mean()) < 3 * difference.std(ddof=1) / np.sqrt(60)
    assert 0.5 < difference.std() / error.mean() < 2


def test_nothing_is_lost_when_everything_is_read() -> None:
    ids, shown, other, _ = member(50, 1)
    y = np.arange(50) % 3
    both = second_reading.combined(shown, other)
    cost = second_reading.cost(
        ids, shown, other, 1.0, (metrics.row_losses(shown, y), metrics.row_losses(both, y))
    )
    assert (cost == 0).all()
    assert second_reading.facts([(0, 0, cost[:0])])["log_loss_above_reading_all_twice"] is None


def test_a_hard_zero_is_no_trouble() -> None:
    """A task without ties: P(tie) is 0 in both readings."""
    ids, shown, other, _ = member(40, 2)
    shown, other = shown.copy(), other.copy()
    for part in (shown, other):
        part[:, 2] = -np.inf
        part[:] -= np.logaddexp(part[:, 0], part[:, 1])[:, None]
    pilot = second_reading.pilot_rows(ids, 0.5)
    assert np.isfinite(second_reading.expected_change(shown, other, pilot)).all()
