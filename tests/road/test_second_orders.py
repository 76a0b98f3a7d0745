"""``--hours``, both orders: rows of the second order are lost first, then fold models, then members."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble import build_ensemble, cli, read_battles, sample, train_members
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.deadline import Deadline
from arena_ensemble.errors import OutOfTime
from arena_ensemble.io import check_submission
from arena_ensemble.pipeline import pilot, second_orders, tasks, wave, workflow
from arena_ensemble.pipeline.combining import EnsemblePrediction
from arena_ensemble.pipeline.ensemble import Ensemble
from arena_ensemble.pipeline.executors import Local
from arena_ensemble.pipeline.second_orders import CAUTION, STEP, affordable
from arena_ensemble.pipeline.standing import StandingSubmission
from arena_ensemble.pipeline.submission import load_begun
from arena_ensemble.pipeline.tasks import Job
from arena_ensemble.recipes import load_recipe

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


@pytest.mark.parametrize("models", [1, 2, 3, 5, 6, 9, 20])
def test_what_the_time_holds_is_said_when_each_member_has_shown_its_pace(
    whole: Path, tmp_path: Path, clock: Work, caplog: pytest.LogCaptureFixture, models: int
) -> None:
    with caplog.at_level("INFO", logger="arena_ensemble"):
        found = predicted(whole, tmp_path, clock, 20.0 * models)
    said = [line.partition("they hold ")[2] for line in caplog.messages if "at this pace" in line]
    if models == 1:  # one of the members has none
        assert said == []
    elif models < 6:
        folds = sum(int(found.fewer_folds.get(name, f"{FOLDS} of").split()[0]) for name in MEMBERS)
        assert said == [f"{models} of 6 fold models, in one order"]
        assert folds == models
    else:
        share = found.second_order.get("some", 0.0 if found.late else 1.0)
        assert said == [f"all 6 fold models, and {share:.0%} of the second order"]


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


def test_another_machine_s_pace_is_not_measured_here(
    whole: Path, tmp_path: Path, clock: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere:
        def slots(self, recipes: Any) -> int:
            return 1

        def run(self, *given: Any) -> Any:
            return Local(1).run(*given)

    def refused(*given: Any) -> Any:
        raise AssertionError("the driver may have no card")

    assert predicted(whole, tmp_path, clock, 160.0).late
    monkeypatch.setattr(wave, "time_untimed", refused)
    found = workflow.predict(
        Ensemble.load(tmp_path / "w"), whole / "test.csv", workspace=tmp_path / "w", executor=Elsewhere(),
        hours=Deadline(clock.now + 1e6, clock),
    )  # fmt: skip
    assert not found.late


def test_several_processes_with_time_enough_come_to_the_same_numbers(whole: Path, tmp_path: Path) -> None:
    wanted = read_through(whole, tmp_path / "alone", jobs=1, hours=None)
    found = read_through(whole, tmp_path / "w", jobs=2, hours=Deadline.after(1.0))
    assert (found.late, found.second_order, found.left_out) == ({}, {}, {})
    np.testing.assert_array_equal(found.log_probs, wanted.log_probs)
    check_submission(tmp_path / "w" / "s.csv", read_battles(whole / "test.csv").ids)


def read_through(whole: Path, place: Path, *, jobs: int, hours: Deadline | None) -> EnsemblePrediction:
    shutil.copytree(whole / "w" / "models", place / "models")
    shutil.copytree(whole / "w" / "oof" / "ensemble", place / "oof" / "ensemble")
    return workflow.predict(
        Ensemble.load(place), whole / "test.csv", workspace=place, jobs=jobs, early=place / "s.csv",
        hours=hours,
    )  # fmt: skip


def test_several_processes_have_one_share(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time that workers needed is divided by their number, and every fold gets the same rows."""
    timed: dict[str, float] = {}
    monkeypatch.setattr(
        "arena_ensemble.pipeline.wave.second_orders",
        lambda job, todo, seconds, workers: (
            timed.update(seconds)
            or second_orders.second_orders(job, todo, dict.fromkeys(seconds, 3600.0), workers)
        ),
    )
    found = read_through(whole, tmp_path / "w", jobs=2, hours=Deadline.after(2.0))
    models = FOLDS * len(MEMBERS)
    assert len(timed) == models, "each task's seconds came back from its process"
    assert all(seconds > 0 for seconds in timed.values())
    share = affordable(2 * 3600 - 60, models * 3600 / 2)
    assert set(found.second_order) == set(MEMBERS)
    assert all(one == pytest.approx(share, abs=STEP) for one in found.second_order.values())


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_later_session_times_what_it_has_not_seen(
    whole: Path, tmp_path: Path, clock: Work, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    """First orders of an earlier session: a pilot of few rows gives the share that timing them would give."""
    place = tmp_path / "w"
    shutil.copytree(whole / "w" / "models", place / "models")
    shutil.copytree(whole / "w" / "models", place / "models", dirs_exist_ok=True)
    battles = read_battles(whole / "test.csv")
    monkeypatch.setattr(pilot, "ROWS", 5)
    # a clock of this process alone cannot go to others
    deadline = Deadline(clock.now + 1e6, clock) if jobs == 1 else Deadline.after(1.0)
    job = Job(place, None, None, battles, deadline=deadline)
    recipes = {name: load_recipe(place / "models" / name / "recipe.toml") for name in MEMBERS}
    planned = [task for name, recipe in recipes.items() for task in tasks.plan(job, name, recipe)]
    assert pilot.time_untimed(job, planned, {task.label: 1.0 for task in planned}, jobs) == {}
    asked = pilot.time_untimed(job, planned, {planned[0].label: 1.0}, jobs)
    assert list(asked) == [f"{MEMBERS[1]} fold 0"], "one fold of each member that was not timed"
    if jobs == 1:  # the clock of a second a row stands in this process alone
        tokens = pilot._tokens(planned[0].recipe, battles)
        some = tokens[np.linspace(0, len(battles) - 1, 5).astype(int)]
        assert asked[f"{MEMBERS[1]} fold 0"] == pytest.approx(5 * tokens.sum() / some.sum())
    assert not list(place.glob("oof/*/pilot")), "nothing of a pilot is kept"
    assert not any(job.artifacts(task.member).has_predictions(task.test_key) for task in planned)


def test_the_resumed_session_s_share_is_cut_for_all(
    whole: Path, tmp_path: Path, clock: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pilot, "ROWS", 5)
    models = FOLDS * len(MEMBERS)
    first = predicted(whole, tmp_path, clock, 20 * models * 1.02)
    assert set(first.second_order.values()) == {0.0}
    rest = predicted(whole, tmp_path, clock, 20 * models * 0.6, anew=False)
    assert set(rest.second_order) == set(MEMBERS)
    assert len(set(rest.second_order.values())) == 1
    assert all(0.2 < share < 0.6 for share in rest.second_order.values())
    before = clock.now
    whole_thing = predicted(whole, tmp_path, clock, None, anew=False)
    assert clock.now > before
    assert (whole_thing.late, whole_thing.second_order) == ({}, {})


@given(
    st.floats(0, 100), st.floats(1e-3, 10), st.lists(st.integers(1, 2000), min_size=2, max_size=30),
    st.integers(1, 29), st.floats(1, 1e3),
)  # fmt: skip
def test_loading_is_not_multiplied(
    load: float, per_token: float, rows: list[int], first: int, times: float
) -> None:
    """A model that takes ``load`` seconds and then so many a token, longest rows first."""
    sample = np.asarray(rows, dtype=float)
    ordered, first = np.sort(sample)[::-1], min(first, len(rows) - 1)
    now = iter([load + per_token * ordered[:first].sum(), load + per_token * sample.sum()])
    pace = pilot.Pace(lambda: float(next(now)))
    pace("mine fold 0", first, len(rows), "predicting")
    pace("mine fold 0", len(rows), len(rows), "predicting")
    size = times * sample.sum()
    estimate = pace.of_whole("mine fold 0", load + per_token * sample.sum(), sample, size)
    assert estimate == pytest.approx(load + per_token * size, rel=1e-6, abs=1e-6)
    untold = pilot.Pace(lambda: 0.0).of_whole("mine fold 0", 7.0, sample, size)
    assert untold == pytest.approx(7.0 * times)
