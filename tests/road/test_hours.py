"""``--hours``: at every moment a valid file stands, and the same command goes on to the same bytes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arena_ensemble import build_ensemble, cli, read_battles, sample, train_members, write_submission
from arena_ensemble.deadline import Deadline
from arena_ensemble.errors import InputError, OutOfTime
from arena_ensemble.io import check_submission
from arena_ensemble.pipeline import run_inputs, workflow
from arena_ensemble.pipeline.arguments import deadline_of
from arena_ensemble.pipeline.combining import EnsemblePrediction
from arena_ensemble.pipeline.ensemble import Ensemble
from arena_ensemble.pipeline.standing import StandingSubmission
from arena_ensemble.pipeline.workflow import TrainingRun, predict_test
from tests.helpers.ticking import Ticking

RECIPE = 'backbone = "lexical"\n[lexical]\nmax_features = {}\ninteractions = 0\ninner_folds = 0\n'
MEMBERS = ("some", "more")
FOLDS = 3


def seconds(count: float) -> Deadline:
    return Deadline.after(count / 3600, clock=Ticking())


def files(folder: Path) -> Path:
    for name, text in sample.files(60, 25, seed=3).items():
        (folder / name).write_text(text)
    for k, name in enumerate(MEMBERS):
        recipe = folder / "w" / "models" / name / "recipe.toml"
        recipe.parent.mkdir(parents=True)
        recipe.write_text(RECIPE.format(40 + 40 * k))
    return folder


def train(folder: Path, deadline: Deadline | None) -> TrainingRun:
    return train_members(
        folder / "train.csv", list(MEMBERS), workspace=folder / "w", test=folder / "test.csv", n_folds=FOLDS,
        jobs=1, early=folder / "s.csv", hours=deadline,
    )  # fmt: skip


def finish(folder: Path, run: TrainingRun) -> bytes:
    write_submission(folder / "s.csv", predict_test(run, build_ensemble(run)), workspace=folder / "w")
    return (folder / "s.csv").read_bytes()


@pytest.fixture(autouse=True)
def checked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The members of every early write; each is checked as soon as it is on disk."""
    seen: list[list[str]] = []
    original = StandingSubmission._put

    def put(self: StandingSubmission, prediction: Any, members: Any) -> None:
        original(self, prediction, members)
        check_submission(self.path, self.test.ids)
        seen.append(list(members))

    monkeypatch.setattr(StandingSubmission, "_put", put)
    return seen


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """What one run without a limit comes to."""
    folder = files(tmp_path_factory.mktemp("whole"))
    return folder, finish(folder, train(folder, None))


def test_three_sessions_come_to_what_one_run_does(
    whole: tuple[Path, bytes], tmp_path: Path, checked: list[list[str]]
) -> None:
    folder = files(tmp_path)
    ids = read_battles(folder / "test.csv").ids
    late = []
    for count in (3, 3):
        run = train(folder, seconds(count))
        late.append(sorted(run.result.late))
        assert not run.result.failed
        check_submission(folder / "s.csv", ids)
    assert late == [["more", "some"], ["more"]]
    run = train(folder, seconds(1000))
    assert (run.result.late, run.result.finished) == ({}, list(MEMBERS))
    assert [len(members) for members in checked] == [0, 1, 2]
    assert finish(folder, run) == whole[1]


@pytest.fixture
def carried(whole: tuple[Path, bytes], tmp_path: Path) -> Path:
    shutil.copytree(whole[0] / "w" / "models", tmp_path / "w" / "models")
    shutil.copytree(whole[0] / "w" / "oof" / "ensemble", tmp_path / "w" / "oof" / "ensemble")
    return tmp_path / "w"


def predicted(whole: tuple[Path, bytes], workspace: Path, deadline: Deadline | None) -> EnsemblePrediction:
    return workflow.predict(
        Ensemble.load(workspace), whole[0] / "test.csv", workspace=workspace, jobs=1,
        early=workspace / "s.csv", hours=deadline,
    )  # fmt: skip


def test_at_every_moment_a_valid_file_and_folds_go_before_members(
    whole: tuple[Path, bytes], carried: Path, checked: list[list[str]]
) -> None:
    ids = read_battles(whole[0] / "test.csv").ids
    states = []
    for count in range(1, 25):
        shutil.rmtree(carried / "oof" / "some", ignore_errors=True)
        shutil.rmtree(carried / "oof" / "more", ignore_errors=True)
        for name in ("s.csv", "oof/submission.json"):
            (carried / name).unlink(missing_ok=True)
        checked.clear()
        try:
            found = predicted(whole, carried, seconds(count))
        except OutOfTime:
            check_submission(carried / "s.csv", ids)  # the prior
            states.append((0, 0))
            continue
        check_submission(carried / "s.csv", ids)
        assert [len(members) for members in checked] == sorted({len(members) for members in checked})
        members = set(MEMBERS) - set(found.left_out)
        folds = sum(int(found.fewer_folds.get(name, f"{FOLDS} of").split()[0]) for name in members)
        states.append((len(members), folds))
        assert bool(found.late) == (states[-1] != (2, 6))
    assert states == sorted(states)
    # one fold of one member, one of each, and only then second folds; nothing is left out where time suffices
    assert {(0, 0), (1, 1), (2, 2), (2, 3), (2, 5), (2, 6)} <= set(states)
    full = predicted(whole, carried, seconds(1000))
    assert not full.left_out
    assert not full.fewer_folds
    without = predicted(whole, carried, None)
    np.testing.assert_array_equal(full.log_probs, without.log_probs)


def test_a_prediction_goes_on_in_the_next_session(whole: tuple[Path, bytes], carried: Path) -> None:
    first = predicted(whole, carried, seconds(3))
    assert first.late
    rest = predicted(whole, carried, seconds(1000))
    assert not rest.late
    write_submission(carried / "s.csv", rest, workspace=carried)
    assert (carried / "s.csv").read_bytes() == whole[1]


def test_exit_code_and_words_of_the_command(
    whole: tuple[Path, bytes], carried: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for place in (run_inputs, workflow):  # training reads its hours in one, prediction in the other
        monkeypatch.setattr(place, "deadline_of", lambda hours: hours and seconds(3))
    folder = files(tmp_path / "new") if (tmp_path / "new").mkdir() is None else tmp_path
    command = [
        "--data", str(folder / "train.csv"), "--workspace", str(folder / "w"), "--models", ",".join(MEMBERS),
        "--folds", "3", "--jobs", "1",
    ]  # fmt: skip
    submission = ["submission", *command, "--test", str(folder / "test.csv")]
    for verb in (["oof", *command], ["stack", *command], submission):
        assert cli.run([*verb, "--hours", "1"]) == 5
        assert "more is not finished" in capsys.readouterr().out
        shutil.rmtree(folder / "w" / "oof")
        for path in (folder / "w" / "models").glob("*/fold-*"):
            shutil.rmtree(path)
    check_submission(folder / "w" / "submission.csv", read_battles(folder / "test.csv").ids)
    predict = ["predict", "--test", str(whole[0] / "test.csv"), "--workspace", str(carried), "--jobs", "1"]
    assert cli.run([*predict, "--hours", "1"]) == 5
    assert "predicted in time" in capsys.readouterr().out
    assert cli.run(predict) == 0


def test_hours_leave_a_margin_and_must_be_positive() -> None:
    assert deadline_of(None) is None
    for hours, margin in ((9.0, 648.0), (0.5, 60.0), (0.01, 3.6)):
        found = deadline_of(hours)
        assert found is not None
        assert found.remaining() == pytest.approx(3600 * hours - margin, abs=2)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="expected a number of hours above 0"):
            deadline_of(wrong)
