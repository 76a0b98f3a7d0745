"""Where no tie can be voted, a temperature leaves nothing to one, however small its beta."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from arena_ensemble.calibration import fit_temperature
from arena_ensemble.diagnostics.collapse import collapse_warnings
from arena_ensemble.losses import NO_TIE, best_beta, tie_aside
from arena_ensemble.pipeline.fallback import Pool, fit_pool
from arena_ensemble.predictions import Predictions, without_ties
from arena_ensemble.stacking import Stacker

N = 500


def too_sure(true_beta: float, seed: int = 0) -> tuple[Predictions, Any, Any]:
    """A member whose margins want so small a beta, the outcomes, and the margins."""
    rng = np.random.default_rng(seed)
    margins = 6 * rng.normal(size=N)
    y = (rng.random(N) > 1 / (1 + np.exp(-true_beta * margins))).astype(np.int64)
    log_probs = without_ties(np.column_stack([margins, np.zeros((N, 2))]))
    return Predictions(pl.Series("id", np.arange(N)), log_probs, np.zeros(N, dtype=np.int64)), y, margins


def least(y: Any, margins: Any) -> tuple[float, float]:
    """beta of least log-loss of two outcomes, and that loss, by scipy."""
    signed = np.where(y == 0, margins, -margins)
    found = minimize_scalar(lambda b: np.logaddexp(0, -b * signed).mean(), bounds=(1e-3, 5), method="bounded")
    return float(found.x), float(found.fun)


@pytest.mark.parametrize("true_beta", [0.05, 0.1, 0.3, 1.0])
def test_the_temperature_is_that_of_two_outcomes(true_beta: float) -> None:
    member, y, margins = too_sure(true_beta)
    beta, loss = least(y, margins)
    assert best_beta(member.log_probs, y) == pytest.approx(beta, rel=1e-4)
    aside = tie_aside(member.log_probs, y)
    tempered = fit_temperature(aside, y).apply(aside)
    assert -tempered[np.arange(N), y].mean() == pytest.approx(loss, abs=1e-7)
    assert np.exp(tempered[:, 2]).max() == 0


def test_a_member_that_is_too_sure_is_mended_by_its_temperature() -> None:
    member, y, margins = too_sure(0.1)
    _, loss = least(y, margins)
    stacker = Stacker(honest=False, threads=1).fit({"m": member}, y)
    rows = {row.name: row.log_loss for row in stacker.table_}
    for name in ("m, temperature", "best member, temperature"):
        assert loss - 0.005 < rows[name] < loss + 0.01, name
    found = stacker.predict_log_proba({"m": member})
    assert np.exp(found[:, 2]).max() < 1e-12
    one = stacker.predict_log_proba({"m": member.take(np.arange(1))})
    np.testing.assert_allclose(one, found[:1], atol=1e-12)
    swapped = stacker.predict_log_proba({"m": member.swapped()})
    np.testing.assert_allclose(swapped[:, [1, 0, 2]], found, atol=1e-9)
    files = stacker.dump()
    again = Stacker.restore(files).predict_log_proba({"m": member})
    np.testing.assert_array_equal(again, found)
    state = json.loads(files["stacker.json"])
    assert state.pop("ties") is False
    earlier = Stacker.restore({**files, "stacker.json": json.dumps(state).encode()})
    assert earlier.fitted_.ties, "what was written before knew of no such tasks"


def test_the_pool_that_is_kept_beside_the_stacker_is_of_two_outcomes_too() -> None:
    one, y, margins = too_sure(0.1)
    _, loss = least(y, margins)
    pool = fit_pool({"m": one}, y)
    assert pool.log_loss == pytest.approx(loss, abs=1e-3)
    assert np.exp(pool.log_probs({"m": one})[:, 2]).max() == 0
    earlier = Pool.model_validate(pool.model_dump(exclude={"ties"}))
    assert earlier.ties


def test_it_is_no_alarm_that_a_temperature_mends() -> None:
    member, y, _ = too_sure(0.1, seed=3)
    report = collapse_warnings(member.log_probs, y, groups=np.arange(N))
    assert report.alarms == []
    assert any("for being too sure of itself: at temperature" in note for note in report.notes)


def test_a_tie_that_somebody_votes_or_predicts_stays() -> None:
    member, y, _ = too_sure(0.3)
    voted = np.where(np.arange(N) == 7, 2, y)
    np.testing.assert_array_equal(tie_aside(member.log_probs, voted), member.log_probs)
    given_one = member.log_probs.copy()
    given_one[7] = np.log([0.4, 0.4, 0.2])
    np.testing.assert_array_equal(tie_aside(given_one, y), given_one)
    assert (tie_aside(member.log_probs, y)[:, 2] == NO_TIE).all()
    hard = Predictions(member.ids, member.log_probs, member.fold)
    three = Stacker(honest=False, threads=1).fit({"m": hard}, voted)
    assert three.fitted_.ties


@given(st.lists(st.tuples(st.floats(-30, 30), st.integers(0, 1)), min_size=2, max_size=30))
def test_a_temperature_never_changes_who_is_likelier(rows: list[tuple[float, int]]) -> None:
    margins = np.array([margin for margin, _ in rows])
    y = np.array([label for _, label in rows])
    log_probs = tie_aside(without_ties(np.column_stack([margins, np.zeros((len(rows), 2))])), y)
    tempered = fit_temperature(log_probs, y).apply(log_probs)
    assert ((tempered[:, 0] - tempered[:, 1]) * margins >= -1e-9).all()
    assert np.exp(tempered[:, 2]).max() == 0
