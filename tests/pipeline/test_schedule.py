"""The order of tasks, by a simulated clock: Graham's bound, teachers before pupils, cheap members early."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.pipeline.schedule import (
    BOUND,
    Slot,
    Work,
    in_waves,
    lower_bound,
    makespan,
    ordered,
    side_by_side,
    timeline,
)

seconds = st.floats(0.01, 1000)
members = st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(seconds, st.integers(1, 5)), min_size=1)
workers = st.integers(1, 8)
ROUNDING = 1 + 1e-9


def works(drawn: dict[str, tuple[float, int]]) -> list[Work[str]]:
    return [
        Work(f"{name} fold {k}", name, took) for name, (took, folds) in drawn.items() for k in range(folds)
    ]


def shortest(took: list[float], count: int) -> float:
    """The shortest makespan, by trying every assignment."""
    best = sum(took)
    for places in itertools.product(range(count), repeat=len(took) - 1):
        loads = [0.0] * count
        for one, place in zip(took, (0, *places), strict=True):
            loads[place] += one
        best = min(best, max(loads))
    return best


def checked(slots: list[Slot[str]], count: int) -> None:
    """No worker does two tasks at once, and none waits while tasks are left."""
    for worker in range(count):
        mine = sorted((one.start, one.end) for one in slots if one.worker == worker)
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(mine))


@given(took=st.lists(seconds, min_size=1, max_size=7), count=st.integers(1, 3), owners=st.randoms())
def test_the_makespan_is_within_four_thirds_of_the_best_there_is(
    took: list[float], count: int, owners: object
) -> None:
    tasks = [Work(str(k), owners.choice("abc"), one) for k, one in enumerate(took)]  # type: ignore[attr-defined]
    best = shortest(took, count)
    assert lower_bound(took, count) <= best * ROUNDING
    assert makespan(ordered(tasks, count), count) <= BOUND * best * ROUNDING


@given(drawn=members, count=workers)
def test_every_task_runs_once_and_the_bound_holds_or_the_longest_come_first(
    drawn: dict[str, tuple[float, int]], count: int
) -> None:
    tasks = works(drawn)
    order = ordered(tasks, count)
    assert sorted(one.task for one in order) == sorted(one.task for one in tasks)
    checked(timeline(order, count), count)
    longest = sorted(tasks, key=lambda one: -one.seconds)
    bound = BOUND * lower_bound([one.seconds for one in tasks], count)
    assert makespan(order, count) <= max(bound, makespan(longest, count)) * ROUNDING


@given(drawn=members, count=workers)
def test_no_cheap_member_is_behind_a_dear_one_where_that_costs_little(
    drawn: dict[str, tuple[float, int]], count: int
) -> None:
    """As many of the cheapest as the bound allows go first; one more would break it."""
    tasks = works(drawn)
    total = {name: took * folds for name, (took, folds) in drawn.items()}
    cheap = sorted(total, key=lambda name: total[name])
    order = ordered(tasks, count)
    bound = BOUND * lower_bound([one.seconds for one in tasks], count)
    longest = sorted(tasks, key=lambda one: -one.seconds)

    def with_first(number: int) -> list[Work[str]]:
        first = [one for name in cheap[:number] for one in tasks if one.member == name]
        return first + [one for one in longest if one.member not in cheap[:number]]

    limit = max(bound, makespan(longest, count)) * ROUNDING
    most = max(k for k in range(len(cheap) + 1) if makespan(with_first(k), count) <= limit)
    at = {one.task: place for place, one in enumerate(order)}
    for first, second in itertools.combinations(cheap[:most], 2):
        if total[first] < total[second]:
            assert max(at[one.task] for one in tasks if one.member == first) < min(
                at[one.task] for one in tasks if one.member == second
            )
    if count == 1:  # one after the other, order costs nothing
        assert most == len(cheap)


def test_a_cheap_member_goes_before_thirty_tasks_of_hours() -> None:
    """Five folds of a minute beside six members of five folds of hours, on eight cards."""
    dear = {f"m{k}": (3600.0 * (k + 2), 5) for k in range(6)}
    tasks = works({**dear, "lexical": (60.0, 5)})
    order = ordered(tasks, 8)
    assert [one.member for one in order[:5]] == ["lexical"] * 5
    assert makespan(order, 8) <= BOUND * lower_bound([one.seconds for one in tasks], 8)


def test_where_cheap_first_costs_more_than_a_third_the_longest_comes_first() -> None:
    tasks = [*works({"long": (10.0, 1)}), *works({"short": (1.0, 9)})]
    assert ordered(tasks, 2)[0].member == "long"
    assert makespan(ordered(tasks, 2), 2) == 10.0


@given(waves=st.lists(members, min_size=1, max_size=3), count=workers)
def test_teachers_end_before_their_pupils_begin(
    waves: list[dict[str, tuple[float, int]]], count: int
) -> None:
    parts = [[Work((k, one.task), one.member, one.seconds) for one in works(d)] for k, d in enumerate(waves)]
    slots = in_waves(parts, count)
    assert len(slots) == sum(map(len, parts))
    for k in range(len(waves) - 1):
        ends = [one.end for one in slots if one.task[0] <= k]
        starts = [one.start for one in slots if one.task[0] == k + 1]
        assert max(ends) <= min(starts) * ROUNDING


@pytest.mark.parametrize(
    ("needs", "memory", "count"),
    [({}, 1.0, 4), ({"a": 3.0}, 10.0, 3), ({"a": 3.0, "b": 6.0}, 10.0, 1), ({"a": 30.0}, 10.0, 1)],
)
def test_no_more_run_side_by_side_than_memory_holds(
    needs: dict[str, float], memory: float, count: int
) -> None:
    assert side_by_side(4, needs, memory) == count


@given(drawn=members, count=workers, memory=st.floats(1, 5000))
def test_whatever_runs_side_by_side_fits_unless_one_alone_does_not(
    drawn: dict[str, tuple[float, int]], count: int, memory: float
) -> None:
    needs = {name: need for name, (need, _) in drawn.items()}
    allowed = side_by_side(count, needs, memory)
    assert 1 <= allowed <= count
    slots = timeline(ordered(works(drawn), allowed), allowed)
    for one in slots:
        now = [two for two in slots if two.start <= one.start < two.end]
        held = sum(needs[two.task.split()[0]] for two in now)
        assert held <= memory * ROUNDING or len(now) == 1


@given(drawn=members, count=workers)
def test_with_no_bound_the_members_follow_each_other_the_cheapest_first(
    drawn: dict[str, tuple[float, int]], count: int
) -> None:
    total = {name: took * folds for name, (took, folds) in drawn.items()}
    order = [one.member for one in ordered(works(drawn), count, math.inf)]
    assert [total[name] for name in order] == sorted(total[name] for name in order)
