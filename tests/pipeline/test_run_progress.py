"""How much is done and how long the rest takes, against runs that are simulated to the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.backbones.progress_texts import CALIBRATING
from arena_ensemble.pipeline.run_progress import RunProgress, TaskProgress, loss_of, member_and_fold

seconds = st.floats(0.5, 500)


def test_labels_and_losses_are_read_as_they_are_written() -> None:
    assert member_and_fold("gemma-2.x fold 12") == ("gemma-2.x", 12)
    assert member_and_fold("lexical refit") == ("lexical", "refit")
    assert member_and_fold("mine averaged") == ("mine", "averaged")
    assert member_and_fold("lexical") == ("lexical", None)
    assert loss_of(f"loss {0.98765:.3f}") == 0.988
    assert loss_of("loss nan") != loss_of("loss nan")
    assert loss_of("tokenising") is None


@given(sizes=st.lists(seconds, min_size=1, max_size=8), pace=st.floats(0.1, 20), cut=st.floats(0, 1))
def test_one_after_the_other_the_time_left_is_exact_however_wrong_the_planner_is(
    sizes: list[float], pace: float, cut: float
) -> None:
    """Every planned second takes ``pace`` seconds: from the first event on, the time left is the true one."""
    run, total = RunProgress(), pace * sum(sizes)
    for k, size in enumerate(sizes):
        run.plan(f"m fold {k}", size)
    assert run.left(0.0) == pytest.approx(sum(sizes))
    now, stop, shares = 0.0, cut * total, [run.share()]
    for k, size in enumerate(sizes):
        took = pace * size
        run.move(f"m fold {k}", 0, 100, "x", now)
        if now + took >= stop:
            part = (stop - now) / took
            if not 0.01 < part < 0.99:
                return
            run.move(f"m fold {k}", 100 * part, 100, "x", stop)
            assert run.left(stop) == pytest.approx(total - stop)
            break
        now += took
        run.move(f"m fold {k}", 100, 100, "x", now)
        run.end(f"m fold {k}", now)
        shares.append(run.share())
    assert shares == sorted(shares)


@given(parts=st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=20))
def test_a_share_never_falls_and_is_one_at_the_end_alone(parts: list[tuple[float, bool]]) -> None:
    run, last = RunProgress(), 0.0
    run.plan("m fold 0", 10.0)
    for k, (part, trains) in enumerate(parts):
        task = run.move("m fold 0", part, 1.0, "loss 1.000" if trains else "predicting", float(k))
        assert last <= task.share < 1
        last = task.share
    run.end("m fold 0", 30.0, 0.9)
    assert (run.share(), run.left(30.0), run.done) == (1.0, 0.0, 1)


def test_a_member_that_is_left_is_not_waited_for() -> None:
    run = RunProgress(workers=2)
    for label in ("a fold 0", "a fold 1", "b fold 0"):
        run.plan(label, 100.0)
    run.move("a fold 0", 1, 2, "x", 0.0)
    run.drop("a")
    assert list(run.tasks) == ["b fold 0"]
    assert run.left(0.0) == 100.0
    run.end("a fold 1", 5.0)  # it was at work when the other one failed
    run.move("a fold 0", 2, 2, "x", 6.0)
    assert list(run.tasks) == ["b fold 0"]


@given(part=st.floats(0, 0.98))
def test_what_the_time_cut_off_is_neither_done_nor_running(part: float) -> None:
    run = RunProgress()
    run.plan("m fold 0", 10.0)
    run.plan("m fold 1", 10.0)
    run.move("m fold 0", part, 1, "predicting", 0.0)
    assert run.halt("m fold 0").share == pytest.approx(part)
    run.halt("m fold 1")
    assert (run.done, run.running(), run.left(5.0)) == (0, [], 0.0)
    assert run.share() == pytest.approx(part / 2)


def test_a_calibration_is_the_lesser_part_of_a_task_that_trains_nothing() -> None:
    task = TaskProgress("m fold 0")
    task.move(0, 1, "loading", 0.0)
    task.move(512, 512, CALIBRATING, 10.0)
    calibrated = task.share
    assert 0 < calibrated < 0.5
    task.move(50, 100, "predicting", 20.0)
    assert task.share == pytest.approx((1 + calibrated) / 2)


def test_nothing_is_promised_before_anything_is_known() -> None:
    run = RunProgress()
    run.plan("a fold 0", None)
    assert run.left(0.0) is None
    assert RunProgress().left(0.0) == 0.0


@given(share=st.floats(0, 1), enough=st.floats(0, 0.5))
def test_no_time_is_promised_before_enough_is_done(share: float, enough: float) -> None:
    task = TaskProgress("stacking", enough=enough)
    task.move(0, 1, "x", 0.0)
    task.move(share, 1, "x", 10.0)
    left = task.left(10.0)
    if task.share <= enough:
        assert left is None
    else:
        assert left == pytest.approx(10.0 * (1 - task.share) / task.share)
