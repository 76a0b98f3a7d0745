"""Verdicts that may be trusted: thresholds that hold, and cascades of judges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.errors import InputError
from arena_ensemble.panels.cascade import Step, simulate
from arena_ensemble.panels.selective import least_kept, risk_coverage, safe_threshold
from arena_ensemble.predictions import from_delta_tau

Array = np.ndarray[Any, Any]


def drawn(rng: np.random.Generator, n: int, sharpness: float = 1.5) -> tuple[Array, Array]:
    """Calibrated log-probabilities (n, 3) and outcomes drawn from them."""
    log_probs = from_delta_tau(rng.normal(size=n) * sharpness * 2, np.full(n, -1.0))
    y = (rng.random(n)[:, None] > np.exp(log_probs).cumsum(axis=1)[:, :2]).sum(axis=1)
    return log_probs, y


def test_the_error_among_the_kept_is_above_alpha_no_oftener_than_delta() -> None:
    """5,000 draws of 300 rows; the true error at a threshold is known to 1e-3 from 400,000 rows."""
    rng = np.random.default_rng(0)
    log_probs, y = drawn(rng, 400_000)
    log_probs = log_probs * 1.6  # overconfident, so that confidence alone promises too much
    log_probs -= np.log(np.exp(log_probs).sum(axis=1, keepdims=True))
    sure, wrong = np.exp(log_probs.max(axis=1)), log_probs.argmax(axis=1) != y
    order = np.argsort(-sure)
    running = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    alpha, delta, draws, broken, none = 0.15, 0.1, 5000, 0, 0
    for _ in range(draws):
        rows = rng.integers(0, len(y), 300)
        found = safe_threshold(log_probs[rows], y[rows], alpha=alpha, delta=delta)
        if found.threshold is None:
            none += 1
            continue
        kept = int(np.searchsorted(-sure[order], -found.threshold, side="right"))
        broken += running[kept - 1] > alpha
    assert none < draws / 2  # the guarantee is not kept by keeping silent
    assert broken / draws <= delta + 3 * np.sqrt(delta * (1 - delta) / draws)


def test_a_threshold_asks_for_more_where_more_is_promised_and_none_is_an_answer() -> None:
    log_probs, y = drawn(np.random.default_rng(1), 4000)
    lax, strict = (safe_threshold(log_probs, y, alpha=alpha) for alpha in (0.3, 0.1))
    assert lax.threshold is not None
    assert strict.threshold is not None
    assert lax.threshold <= strict.threshold
    assert lax.coverage >= strict.coverage > 0
    assert strict.error <= 0.1
    nothing = safe_threshold(log_probs[:20], y[:20], alpha=0.01)
    assert nothing.threshold is None
    assert nothing.coverage == 0
    grouped = safe_threshold(log_probs, y, groups=np.arange(4000) // 4)
    assert grouped.rows == 1000
    with pytest.raises(InputError, match="alpha"):
        safe_threshold(log_probs, y, alpha=1.0)


def test_where_no_threshold_is_safe_it_says_what_would_be() -> None:
    log_probs, y = drawn(np.random.default_rng(11), 300)
    found = safe_threshold(log_probs, y, alpha=0.03)
    assert found.threshold is None
    assert found.reachable is not None
    assert safe_threshold(log_probs, y, alpha=found.reachable).threshold is not None
    assert (
        found.reachable <= 0.04
        or safe_threshold(log_probs, y, alpha=found.reachable - 0.01).threshold is None
    )
    met = []
    for seed in range(10):
        few = safe_threshold(*drawn(np.random.default_rng(seed), 300), alpha=0.1)
        if few.rows_needed is not None:
            assert few.rows_needed > 300
            more = drawn(np.random.default_rng(seed + 100), few.rows_needed)
            met.append(safe_threshold(*more, alpha=0.1).threshold is not None)
    assert len(met) >= 3
    assert np.mean(met) >= 0.5
    coin = np.log(np.tile([0.5, 0.5 - 1e-9, 1e-9], (400, 1)))
    hopeless = safe_threshold(coin, np.arange(400) % 2, alpha=0.1)
    assert hopeless.rows_needed is None
    assert hopeless.reachable == pytest.approx(0.56, abs=0.02)
    assert safe_threshold(log_probs, y, alpha=found.reachable).reachable is None


@pytest.mark.parametrize(("alpha", "delta"), [(0.1, 0.05), (0.03, 0.1), (0.3, 0.2)])
def test_fewer_rows_than_the_least_prove_nothing(alpha: float, delta: float) -> None:
    """However right and sure they are; and so many without an error are enough."""
    least = least_kept(alpha, delta)
    for rows in (least - 1, least):
        sure = np.log(np.tile([0.9989, 1e-3, 1e-4], (rows, 1)))
        found = safe_threshold(sure, np.zeros(rows, dtype=int), alpha=alpha, delta=delta)
        assert (found.threshold is None) == (rows < least)
        assert found.least_kept == (least if rows < least else None)


def test_risk_falls_with_coverage_and_ends_at_the_whole() -> None:
    log_probs, y = drawn(np.random.default_rng(2), 6000)
    table = risk_coverage(log_probs, y)
    errors = [row.error for row in table]
    assert errors == sorted(errors)
    assert table[-1].coverage == 1
    assert table[-1].error == pytest.approx(float((log_probs.argmax(axis=1) != y).mean()))


def test_a_cascade_runs_from_the_first_judge_alone_to_all_and_pays_where_it_helps() -> None:
    rng = np.random.default_rng(3)
    n = 3000
    delta = rng.normal(size=n) * 3
    truth = from_delta_tau(delta, np.full(n, -1.0))
    y = (rng.random(n)[:, None] > np.exp(truth).cumsum(axis=1)[:, :2]).sum(axis=1)
    weak = from_delta_tau(0.4 * (delta + rng.normal(size=n) * 2), np.full(n, -1.0))
    rows = simulate([Step("cheap", 1.0, weak), Step("dear", 10.0, truth)], y, rng.integers(0, 5, n))
    assert rows[0].asked == (1.0, 0.0)
    assert rows[0].price == 1.0
    assert rows[-1].asked == (1.0, 1.0)
    assert rows[-1].price == 11.0
    prices = [row.price for row in rows]
    assert prices == sorted(prices)
    half = min(rows, key=lambda row: abs(row.asked[1] - 0.5))
    line = rows[0].log_loss + half.asked[1] * (rows[-1].log_loss - rows[0].log_loss)
    assert half.log_loss < line - 0.01  # better than asking the dear one about a random half
    with pytest.raises(InputError, match="two judges or more"):
        simulate([Step("one", 1.0, weak)], y, np.zeros(n))
    with pytest.raises(InputError, match="must be positive"):
        simulate([Step("a", 1.0, weak), Step("b", 0.0, truth)], y, rng.integers(0, 5, n))


@given(st.integers(0, 1000))
def test_selective_prediction_is_indifferent_to_a_swap(seed: int) -> None:
    log_probs, y = drawn(np.random.default_rng(seed), 200)
    other = safe_threshold(log_probs[:, [1, 0, 2]], np.array([1, 0, 2])[y], alpha=0.25)
    assert other == pytest.approx(safe_threshold(log_probs, y, alpha=0.25)) or other.threshold is None
