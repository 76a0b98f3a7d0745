"""What a person sees while folds are trained: bars on a terminal, plain lines elsewhere, times by work."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from arena_ensemble.cli.progress import Bars
from arena_ensemble.pipeline.executors import DONE, FAILED, PLANNED, STACKING
from arena_ensemble.pipeline.run_progress import FAILED_ALONE, LATE


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def shown(live: bool) -> tuple[Bars, Clock, io.StringIO]:
    stream, clock = io.StringIO(), Clock()
    console = Console(file=stream, force_terminal=live, width=120, color_system=None)
    return Bars(console, seconds=clock), clock, stream


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name.endswith("cli.progress")]


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger("arena_ensemble")
    monkeypatch.setattr(root, "propagate", True)
    monkeypatch.setattr(root, "handlers", [])
    caplog.set_level(logging.INFO, logger="arena_ensemble")


def test_without_a_terminal_each_fold_is_a_line_with_its_loss_and_the_time_left_by_work(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bars, clock, stream = shown(live=False)
    with bars:
        bars("", 0, 2, PLANNED)
        bars("cheap fold 0", 1000, 100, PLANNED)
        bars("dear fold 0", 3000, 300, PLANNED)
        bars("cheap fold 0", 0, 4, "starting")
        clock.now = 10.0
        bars("cheap fold 0", 4, 4, "done")
        bars("cheap fold 0", 1, 1, f"{DONE} on cpu, fitted in 10 s, log-loss 0.9876")
        # half of the tasks is a quarter of the work: a planned second takes a tenth, so 30 are left
        assert lines(caplog) == [
            "cheap fold 0: on cpu, fitted in 10 s, log-loss 0.9876 (1 of 2, 25% of the work, about 30 s left)"
        ]
        bars("dear fold 0", 0, 100, "loss 1.100")
        clock.now = 400.0
        bars("dear fold 0", 50, 100, "loss 1.050")
        assert "dear fold 0: 45 %, training loss 1.050 (1 of 2" in lines(caplog)[1]
        bars("dear fold 0", 51, 100, "loss 1.049")
        assert len(lines(caplog)) == 2
        bars("dear fold 0", 1, 1, FAILED)
        assert lines(caplog)[2].startswith("dear fold 0: FAILED")
    assert "\x1b" not in stream.getvalue()


def test_a_fold_that_the_time_cut_off_is_not_counted_and_a_failed_member_is_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bars, clock, _ = shown(live=False)
    with bars:
        bars("", 0, 5, PLANNED)
        for label in ("a fold 0", "a fold 1", "a fold 2", "b fold 0", "b fold 1"):
            bars(label, 1000, 100, PLANNED)
        bars("b fold 0", 0, 4, "loss 1.100")
        clock.now = 10.0
        bars("b fold 0", 1, 4, "loss 1.090")
        bars("a fold 0", 1, 1, FAILED)
        bars("a fold 1", 1, 1, FAILED)  # it was at work
        assert lines(caplog) == ["a fold 0: FAILED (1 of 3, 41% of the work, about 79 s left)"]
        bars("b fold 2", 1, 1, FAILED_ALONE)
        assert lines(caplog).pop().startswith("b fold 2: FAILED, its member goes on without it (2 of 4")
        bars("b fold 0", 1, 1, LATE)
        bars("b fold 1", 1, 1, LATE)
        assert lines(caplog)[2:] == [
            "b fold 0: stopped, out of time, 22% of it done",
            "b fold 1: stopped, out of time, 0% of it done",
        ]


def test_a_silent_fold_is_heard_of_after_a_minute_and_then_less_often(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bars, clock, _ = shown(live=False)
    with bars:
        bars("", 0, 1, PLANNED)
        bars("m fold 0", 1000, 100, PLANNED)
        bars("m fold 0", 0, 1, "loading")
        for second in range(5, 3000, 5):
            clock.now = float(second)
            bars("m fold 0", second, 3000, "calibrating")
    assert lines(caplog)[0].startswith("m fold 0: 0 % calibrating (0 of 1, 0% of the work")
    assert 10 <= len(lines(caplog)) <= 15


def test_on_a_terminal_there_is_a_bar_for_the_run_for_the_member_and_for_the_fold(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bars, clock, stream = shown(live=True)
    with bars:
        bars("", 0, 3, PLANNED)
        for fold in range(3):
            bars(f"mine fold {fold}", 1000, 60, PLANNED)
        bars("mine", 1, 2, "tokenising")
        bars("mine fold 0", 1, 10, "loss 1.200")
        clock.now = 30.0
        bars("mine fold 0", 10, 10, "loss 0.912")
        bars("mine fold 0", 1, 1, f"{DONE} on cpu, log-loss 0.9511")
        bars("mine fold 1", 5, 10, "loss 0.877")
        bars._progress.refresh()
        text = stream.getvalue()
    for word in ("all folds", "1 of 3", "mine fold 1", "loss 0.877", "log-loss 0.9511", "left"):
        assert word in text
    assert lines(caplog) == []


def test_a_member_that_failed_is_no_work_any_more(caplog: pytest.LogCaptureFixture) -> None:
    bars, clock, _ = shown(live=False)
    with bars:
        for label in ("a fold 0", "a fold 1", "b fold 0"):
            bars(label, 10, 100, PLANNED)
        bars("a fold 0", 0, 1, "x")
        clock.now = 5.0
        bars("a fold 0", 1, 1, FAILED)
    assert lines(caplog)[0].startswith("a fold 0: FAILED (1 of 2, 50% of the work")


def test_stacking_is_one_bar_with_the_name_of_the_candidate_and_the_time_left() -> None:
    bars, clock, stream = shown(live=True)
    with bars:
        bars(STACKING, 0, 100, "trees with features, fit 1 of 300")
        clock.now = 10.0
        bars(STACKING, 25, 100, "logistic, fit 40 of 300")
        bars._progress.refresh()
        text = stream.getvalue()
        bars(STACKING, 1, 1, f"{DONE}, log-loss 0.8343")
    for word in ("stacking", "logistic, fit 40 of 300", "30 s left"):
        assert word in text
    assert "all folds" not in text


def test_without_a_terminal_stacking_is_a_line_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    bars, clock, _ = shown(live=False)
    with bars:
        bars(STACKING, 0, 100, "trees, fit 1 of 300")
        clock.now = 40.0
        bars(STACKING, 50, 100, "trees, fit 9 of 300")
        clock.now = 41.0
        bars(STACKING, 51, 100, "trees, fit 10 of 300")
        clock.now = 80.0
        bars(STACKING, 1, 1, f"{DONE}, log-loss 0.8343")
    assert lines(caplog) == [
        "stacking: 50 %, trees, fit 9 of 300, about 40 s left",
        "stacking: done in 80 s, log-loss 0.8343",
    ]
