"""The collapse alarm: laws, named situations, and how often it is right on simulated members."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arena_ensemble.diagnostics.collapse import CollapseReport, collapse_warnings, prediction_summary
from arena_ensemble.metrics import prior_log_probs
from arena_ensemble.predictions import normalised

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def simulated() -> Any:
    if not (BENCHMARKS / "collapse.py").is_file():
        pytest.skip("benchmarks/ is not part of this copy")
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("collapse_benchmark", BENCHMARKS / "collapse.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


def report(log_probs: Any, y: Any, **options: Any) -> CollapseReport:
    return collapse_warnings(log_probs, y, prior_log_probs(y, np.arange(len(y)) % 5), **options)


def saying(shares: list[float], rows: int) -> Any:
    return np.log(np.tile(shares, (rows, 1)))


def test_500_honest_members_raise_no_alarm() -> None:
    simulate = simulated()
    checked = 0
    for rows, seeds in ((100, 30), (300, 30), (732, 20), (2874, 4)):
        for seed in range(seeds):
            for kind, log_probs, y in simulate.honest(rows, 1000 + seed):
                assert report(log_probs, y).alarms == [], (kind, rows, seed)
                checked += 1
    assert checked >= 500


@pytest.mark.parametrize("rows", [100, 300, 732, 2874])
def test_members_stuck_on_one_class_are_found_at_every_size(rows: int) -> None:
    simulate = simulated()
    for seed in range(10):
        for kind, log_probs, y in simulate.broken(rows, seed):
            found = report(log_probs, y).alarms
            if "one class" in kind or "constant" in kind:
                assert found, (kind, rows, seed)
            if rows >= 732 and kind in ("A and B exchanged", "rows shuffled"):
                assert any("no temperature mends it" in alarm for alarm in found), (kind, rows, seed)


def test_a_pretrained_model_that_says_a_in_all_of_300_rows() -> None:
    """The complaint that the alarm was made for: log-loss 4.4 against a prior of 1.09, and no word."""
    y = np.arange(300) % 3
    found = report(saying([0.9983, 0.0014, 0.0003], 300), y)
    loss = prediction_summary(saying([0.9983, 0.0014, 0.0003], 300), y)["log_loss"]
    assert 4 < loss < 5.5
    assert len(found.alarms) == 2
    assert "the same probabilities" in found.alarms[0]
    assert "worse than the class prior" in found.alarms[1]
    assert found.notes == []


def test_one_class_is_an_alarm_where_the_votes_differ_and_only_there() -> None:
    y = np.arange(300) % 3
    rng = np.random.default_rng(0)
    jitter = rng.normal(size=(300, 3)) * 0.01
    mostly = normalised(np.where(np.arange(300)[:, None] < 285, [0.5, 0, 0], [0, 0.5, 0]) + jitter)
    [alarm] = [a for a in report(mostly, y).alarms if "gives the class A to 95.0%" in a]
    assert "33.3% of the votes" in alarm
    twenty = np.array([0] * 18 + [1, 2])
    said = normalised(np.tile([2.0, 0.0, 0.0], (20, 1)) + jitter[:20])
    assert report(said, twenty).alarms == [], "18 of the 20 votes are A"
    assert report(said, np.arange(20) % 3).alarms
    assert report(said[:3], np.array([0, 1, 2])).alarms == [], "three rows say nothing"
    together = report(said, np.arange(20) % 3, groups=np.repeat([0, 1], 10))
    assert together.alarms == [], "twenty rows of two prompts are two observations"


def test_no_better_than_the_prior_is_a_note() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 60)
    weak = normalised(rng.normal(size=(60, 3)) * 0.05)
    found = report(weak, y)
    assert found.alarms == []
    assert "too few rows to tell" in found.notes[0]


def test_near_the_prior_for_want_of_rows_is_a_note_and_with_more_rows_an_alarm() -> None:
    """A small member whose likeliest class is always the same, by little."""
    rng = np.random.default_rng(4)
    for rows, alarms in ((40, 0), (3000, 1)):
        y = rng.integers(0, 3, rows)
        faint = normalised([0.12, 0, 0] + rng.normal(size=(rows, 3)) * 0.03)
        found = report(faint, y)
        assert len(found.alarms) == alarms
        assert any("gives the class A" in text for text in (*found.alarms, *found.notes))


def test_too_sure_of_itself_is_a_note_if_it_knows_something() -> None:
    rng = np.random.default_rng(2)
    y = rng.integers(0, 3, 3000)
    signal = np.eye(3)[y] * 0.6 + rng.normal(size=(3000, 3)) * 0.6
    assert report(normalised(signal), y) == CollapseReport()
    found = report(normalised(12 * signal), y)
    assert found.alarms == []
    assert "too sure of itself: at temperature" in found.notes[0]


def test_one_class_with_a_clear_signal_is_a_note() -> None:
    """Where one outcome is common, its probability may lead in every row and still follow the votes."""
    rng = np.random.default_rng(3)
    p = np.where(rng.random(3000) < 0.5, 0.52, 0.9)
    y = np.where(rng.random(3000) < p, 0, 1)
    honest = np.log(np.stack([p * 0.999, (1 - p) * 0.999, np.full(3000, 0.001)], axis=1))
    found = report(honest, y)
    assert found.alarms == []
    assert "follow the votes" in found.notes[0]


def test_causes_fit_who_made_the_predictions() -> None:
    y = np.arange(300) % 3
    exchanged = np.log(np.full((300, 3), 0.05) + 0.85 * np.eye(3)[y])[:, [1, 0, 2]]
    [ours] = report(exchanged, y).alarms
    [theirs] = report(exchanged, y, external=True).alarms
    assert "over-fitting" in ours
    assert "another order than the ids" in theirs
    assert "columns exchanged" in theirs


@given(st.integers(1, 400), st.integers(0, 10**6), st.floats(0, 6))
@example(9, 287, 0.0)
def test_laws(rows: int, seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, rows)
    log_probs = normalised(rng.normal(size=(rows, 3)) * scale)
    groups = rng.integers(0, rows, rows)
    prior = prior_log_probs(y, np.arange(rows) % 5)
    found = collapse_warnings(log_probs, y, prior, groups)
    order = rng.permutation(rows)
    again = collapse_warnings(log_probs[order], y[order], prior[order], groups[order])
    assert len(again.alarms) == len(found.alarms), "the order of the rows says nothing"
    swap = [1, 0, 2]
    swapped = collapse_warnings(log_probs[:, swap], np.array(swap)[y], prior[:, swap], groups)
    assert len(swapped.alarms) == len(found.alarms), "nor does the order of the responses"
    assert collapse_warnings(prior, y, prior, groups).alarms == [] or rows > 5
    sure = normalised(np.eye(3)[y] * 5)
    assert collapse_warnings(sure, y, prior, groups).alarms == [], "who is right is not collapsed"
    assert not any("\n" in text for text in (*found.alarms, *found.notes))


@given(st.integers(12, 300), st.integers(0, 2), st.floats(0.4, 0.999))
def test_whatever_class_it_is_stuck_on_it_is_found(rows: int, stuck: int, share: float) -> None:
    probs = np.full(3, (1 - share) / 2)
    probs[stuck] = share
    assert report(np.log(np.tile(probs, (rows, 1))), np.arange(rows) % 3).alarms


def test_hard_zeros_and_no_rows() -> None:
    y = np.arange(30) % 3
    with np.errstate(divide="ignore"):
        hard = np.log(np.eye(3)[np.zeros(30, dtype=int)])
    assert len(report(hard, y).alarms) == 2
    assert collapse_warnings(np.empty((0, 3)), np.empty(0, dtype=np.int64)) == CollapseReport()


def test_a_summary_is_plain_json() -> None:
    y = np.arange(6) % 3
    facts = prediction_summary(np.log(np.full((6, 3), 0.05) + 0.85 * np.eye(3)[y]), y)
    assert facts["predicted_shares"] == {"A": 0.3333, "B": 0.3333, "tie": 0.3333}
    assert facts["accuracy"] == 1.0
    assert facts["log_loss"] == pytest.approx(-np.log(0.9))
    assert facts["prior_log_loss"] == pytest.approx(np.log(3))
    assert 0 < facts["mean_entropy"] < np.log(3)


def test_it_needs_numpy_alone() -> None:
    banned = "polars pydantic scipy sklearn lightgbm joblib datasketch zstandard rich torch"
    code = f"import sys\nfor name in {banned!r}.split(): sys.modules[name] = None\n"
    code += "import arena_ensemble.diagnostics.collapse"
    subprocess.run([sys.executable, "-c", code], check=True)
