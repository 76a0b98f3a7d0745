"""``--hours``, both orders: rows of the second order are lost first, then fold models, then members."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble import build_ensemble, cli, read_battles, sample, train_members
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.deadline import Deadline
from arena_ensemble.errors import OutOfTime
from arena_ensemble.io import check_submission
from arena_ensemble.pipeline import tasks, workflow
from arena_ensemble.pipeline.combining import EnsemblePrediction
from arena_ensemble.pipeline.ensemble import Ensemble
from arena_ensemble.pipeline.second_orders import CAUTION, STEP, affordable
from arena_ensemble.pipeline.standing import StandingSubmission
from arena_ensemble.pipeline.submission import load_begun

MEMBERS = ("some", "more")
FOLDS = 3
RECIPE = (
    'backbone = "lexical"\nread_orders = 2\n[lexical]\nmax_features = {}\ninteractions = 0\ninner_folds = 0\n'
)


class Work:
    """A clock that goes on only with the rows that are predicted: one second each."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    for name, text in sample.files(60, 20, seed=3).items():
        (folder / name).write_text(text)
    for k, name in enumerate(MEMBERS):
        recipe = folder / "w" / "models" / name / "recipe.toml"
        recipe.parent.mkdir(parents=True)
        recipe.write_text(RECIPE.format(40 + 40 * k))
    run = train_members(folder / "train.csv", list(MEMBERS), workspace=folder / "w", n_folds=FOLDS, jobs=1)
    build_ensemble(run)
    return folder


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work()
    backbone = tasks.backbones.get("lexical")
    original = backbone.predict

    def predict(fitted, battles, *, on_progress=None):  # type: ignore[no-untyped-def]
        work.now += len(battles)
        biased = np.add(original(fitted, battles, on_progress=on_progress), [0.4, 0.0, 0.0])
        return biased - np.logaddexp.reduce(biased, axis=1, keepdims=True)

    monkeypatch.setattr(backbone, "predict", predict)
    return work


def predicted(
    whole: Path, tmp_path: Path, clock: Work, seconds: float | None, *, anew: bool = True
) -> EnsemblePrediction:
    place = tmp_path / "w"
    if anew:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole / "w" / "models", place / "models")
        shutil.copytree(whole / "w" / "oof" / "ensemble", place / "oof" / "ensemble")
    hours = None if seconds is None else Deadline(clock.now + seconds, clock)
    return workflow.predict(
        Ensemble.load(place), whole / "test.csv", workspace=place, jobs=1, early=place / "s.csv", hours=hours
    )


@given(st.floats(-10, 1e6), st.floats(0, 1e6))
def test_a_share_fits_and_is_the_whole_where_time_suffices(remaining: float, work: float) -> None:
    share = affordable(remaining, work)
    assert 0 <= share <= 1
    assert share == 1 or share * work <= max(0.0, CAUTION * remaining) * (1 + 1e-6) + 1e-9
    assert share == pytest.approx(round(share / STEP) * STEP)
    if remaining > 0 and work <= CAUTION * remaining:
        assert share == 1
    assert affordable(remaining + 1, work) >= share


def test_what_is_lost_first_is_the_second_order_then_folds_then_members(
    whole: Path, tmp_path: Path, clock: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = read_battles(whole / "test.csv").ids
    original = StandingSubmission._put

    def put(self: StandingSubmission, *given: object) -> None:
        original(self, *given)  # type: ignore[arg-type]
        check_submission(self.path, ids)

    monkeypatch.setattr(StandingSubmission, "_put", put)
    rows, models = len(ids), FOLDS * len(MEMBERS)
    states = []
    for seconds in np.array([0.5, 1.5, 2.5, 6.2, 8.0, 11.0, 15.0]) * rows:
        try:
            found = predicted(whole, tmp_path, clock, float(seconds))
        except OutOfTime:
            check_submission(tmp_path / "w" / "s.csv", ids)
            states.append((0, 0, 0.0))
            continue
        members = set(MEMBERS) - set(found.left_out)
        folds = sum(int(found.fewer_folds.get(name, f"{FOLDS} of").split()[0]) for name in members)
        shares = {found.second_order.get(name, 1.0) for name in members} if folds == models else {0.0}
        assert len(shares) == 1, "all members have the same share of the second order"
        share = shares.pop()
        assert bool(found.late) == ((folds, share) != (models, 1.0))
        states.append((len(members), folds, share))
    assert states == sorted(states)
    assert states[-1] == (2, models, 1.0)
    assert any(0 < share < 1 for _, _, share in states)
    assert {(1, 1, 0.0), (2, 2, 0.0), (2, models, 0.0)} <= set(states)


def test_nothing_is_lost_where_time_suffices_and_a_later_session_goes_on(
    whole: Path, tmp_path: Path, clock: Work, capsys: pytest.CaptureFixture[str]
) -> None:
    models = FOLDS * len(MEMBERS)
    plain = predicted(whole, tmp_path, clock, None)
    enough = predicted(whole, tmp_path, clock, 20 * models * 3)
    assert (enough.late, enough.second_order) == ({}, {})
    np.testing.assert_array_equal(enough.log_probs, plain.log_probs)
    cut = predicted(whole, tmp_path, clock, 20 * models * 1.5)
    assert set(cut.second_order) == set(MEMBERS)
    assert all(0.3 < share < 0.5 for share in cut.second_order.values())
    battles = read_battles(whole / "test.csv")
    (part, *_), count = load_begun(Workspace(tmp_path / "w"), "some", battles, 3)
    assert count == FOLDS
    assert part.swap_log_probs is not None
    moved = (part.swap_log_probs != part.log_probs).any(axis=1)
    assert 0 < moved.mean() < 1
    before = clock.now
    rest = predicted(whole, tmp_path, clock, None, anew=False)
    assert clock.now - before == 20 * models, "the first order is not predicted again"
    np.testing.assert_array_equal(rest.log_probs, plain.log_probs)


def test_the_command_names_the_share(
    whole: Path, tmp_path: Path, clock: Work, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    predicted(whole, tmp_path, clock, None)
    shutil.rmtree(tmp_path / "w" / "oof" / "some")
    shutil.rmtree(tmp_path / "w" / "oof" / "more")
    seconds = 20 * FOLDS * len(MEMBERS) * 1.5
    monkeypatch.setattr(workflow, "deadline_of", lambda hours: Deadline(clock.now + seconds, clock))
    command = ["predict", "--test", str(whole / "test.csv"), "--workspace", str(tmp_path / "w")]
    assert cli.run([*command, "--jobs", "1", "--hours", "1"]) == 5
    assert "of its rows predicted in the second order in time" in capsys.readouterr().out
