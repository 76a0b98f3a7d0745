"""Members with hardly anything to learn from: hard verdicts, constants, copies, one value for every row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena_ensemble.metrics import log_loss
from arena_ensemble.stacking import Stacker, boosting, make_design, selection
from arena_ensemble.stacking.base import at_index
from arena_ensemble.stacking.boosting import BoostingCandidate, BoostingParams
from arena_ensemble.stacking.nested_cv import in_row_order

SWAP = [1, 0, 2]
OUTCOMES = {"model_a": 0, "model_b": 1, "tie": 2, "tie (bothbad)": 2}


def near_one_hot(verdicts: np.ndarray, rest: float = 0.02) -> np.ndarray:
    """Probabilities (n, 3) of hard verdicts (n,): nearly all on the verdict."""
    probs = np.full((len(verdicts), 3), rest / 2)
    probs[np.arange(len(verdicts)), verdicts] = 1 - rest
    return probs


def hard_verdicts(n: int, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Three judges who say the outcome in 60, 50 and 40 rows of a hundred, and anything else otherwise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, size=n)
    members = {}
    for share in (0.6, 0.5, 0.4):
        verdicts = np.where(rng.random(n) < share, y, rng.integers(0, 3, size=n))
        members[f"judge{share:.0%}"] = near_one_hot(verdicts)
    return members, y


def check_stacker(stacker: Stacker, members: dict[str, np.ndarray]) -> None:
    """What holds whatever the members are: finite, normalised, equivariant, the same after a restore."""
    shown = stacker.predict_log_proba(members)
    for log_probs in (shown, stacker.oof_log_proba_):
        assert np.isfinite(log_probs).all()
        assert np.allclose(np.exp(log_probs).sum(axis=1), 1)
    swapped = stacker.predict_log_proba({name: probs[:, SWAP] for name, probs in members.items()})
    assert np.abs(np.exp(shown)[:, SWAP] - np.exp(swapped)).max() < 1e-10
    restored = Stacker.restore(stacker.dump())
    assert np.array_equal(restored.predict_log_proba(members), shown)


def test_the_last_point_of_a_path_stands_for_later_ones() -> None:
    path = np.arange(12.0).reshape(2, 3, 2)
    assert np.array_equal(at_index(path, (7, 0)), np.stack([path[1, :, 0], path[0, :, 1]], axis=1))
    folds = np.array([0, 1, 0, 1, 0])
    joined = in_row_order({0: path, 1: path[:1, :2]}, folds, [0, 1])
    assert joined.shape == (2, 5, 2)
    assert np.array_equal(joined[:, folds == 0], path)
    assert np.array_equal(joined[1, folds == 1], path[0, :2])


@pytest.mark.parametrize("honest", [True, False])
def test_fits_on_more_rows_may_have_fewer_rounds(honest: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past MANY_ROWS fewer rounds are tried, so that fits without one fold and without two may differ."""

    def last_index(path: np.ndarray, *_: object, **__: object) -> tuple[int, int]:
        return (len(path) - 1, len(path) - 1)

    monkeypatch.setattr(boosting, "MANY_ROWS", 350)
    monkeypatch.setattr(boosting, "ROUNDS", (0, 5, 10))
    monkeypatch.setattr(selection, "best_index", last_index)
    members, y = hard_verdicts(500)
    folds = np.minimum(np.arange(500) // 50, 6)  # without the last fold 300 rows are left, else 450
    check_stacker(Stacker(honest=honest).fit(members, y, folds=folds), members)


def test_a_booster_that_stops_at_once_predicts_its_start_at_every_round() -> None:
    y = np.arange(90) % 3
    design = make_design({"constant": np.full((90, 3), 1 / 3)}, None)
    params = BoostingParams(rounds=(0, 5, 300), min_leaf=50)
    path = BoostingCandidate("trees", features=False, params=params).fit(design, y, 0).predict_path(design)
    assert path.shape == (3, 90, 2)
    assert np.abs(path - path[0]).max() < 0.1
    assert np.array_equal(path[1], path[2])


@pytest.mark.slow
@pytest.mark.parametrize("honest", [True, False])
def test_three_hard_judges_of_many_real_battles(shared_data: Path, honest: bool) -> None:
    path = shared_data / "judges" / "arena3_26919.csv"
    if not path.is_file():
        pytest.skip("the file of judges is not there")
    frame = pl.read_csv(path).head(26_919 if honest else 24_500)
    y = frame["winner"].replace_strict(OUTCOMES).to_numpy()
    judges = frame.columns[-3:]
    members = {
        name: near_one_hot(frame[name].replace_strict(OUTCOMES, default=2).to_numpy()) for name in judges
    }
    stacker = Stacker(honest=honest).fit(members, y, groups=frame["question_id"].to_numpy())
    check_stacker(stacker, members)
    assert log_loss(stacker.oof_log_proba_, y) < min(row.log_loss for row in stacker.table_[:7])


KINDS: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "constant": lambda rng, y: np.tile(rng.dirichlet([1, 1, 1]), (len(y), 1)),
    "uniform": lambda rng, y: np.full((len(y), 3), 1 / 3),
    "one verdict": lambda rng, y: np.tile(np.eye(3)[rng.integers(3)], (len(y), 1)),
    "one-hot": lambda rng, y: np.eye(3)[np.where(rng.random(len(y)) < 0.5, y, rng.integers(0, 3, len(y)))],
    "always right": lambda rng, y: np.eye(3)[y],
    "always wrong": lambda rng, y: np.eye(3)[(y + 1) % 3],
    "two values": lambda rng, y: np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])[rng.integers(0, 2, len(y))],
    "noise": lambda rng, y: rng.dirichlet([2, 2, 2], size=len(y)),
}


@settings(max_examples=12)
@given(
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
    duplicate=st.booleans(),
    rows=st.sampled_from([60, 310]),
    honest=st.booleans(),
    few_outcomes=st.booleans(),
)
def test_degenerate_members_cost_no_law(
    kinds: list[str], seed: int, duplicate: bool, rows: int, honest: bool, few_outcomes: bool
) -> None:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2 if few_outcomes else 3, size=rows)
    members = {f"{place} {kind}": KINDS[kind](rng, y) for place, kind in enumerate(kinds)}
    if duplicate:
        members["copy"] = members[next(iter(members))]
    check_stacker(Stacker(honest=honest).fit(members, y), members)
