"""Deadlines: what is left of the time, on any clock and in another process."""

from __future__ import annotations

import pickle
import time

import pytest

from arena_ensemble.deadline import Deadline


def test_time_runs_down_and_is_over() -> None:
    now = [100.0]
    deadline = Deadline.after(2, clock=lambda: now[0])
    assert deadline.remaining() == 7200
    assert not deadline.over()
    now[0] += 7199.5
    assert deadline.remaining() == 0.5
    now[0] += 0.5
    assert deadline.over()
    assert not Deadline.after(float("inf")).over()
    assert Deadline.after(0).over()


def test_it_means_the_same_in_another_process() -> None:
    deadline = Deadline.after(1)
    other = pickle.loads(pickle.dumps(deadline))
    assert other == deadline
    assert other.clock is time.monotonic


@pytest.mark.parametrize("hours", [-1.0, float("nan")])
def test_nonsense_is_refused(hours: float) -> None:
    with pytest.raises(ValueError, match="expected a number from 0 on"):
        Deadline.after(hours)
