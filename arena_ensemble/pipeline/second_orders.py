"""Prediction in time: the first order of everything, then as much of the second one as the time holds.

What the hours cannot hold is lost in a stated order: rows of the second order first, the same share of every
member's and fold's; then fold models; then members.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..artifacts.share_shards import key_of_any_share
from .job import FoldTask, Job

STEP: Final = 0.05
"""shares are rounded down to multiples of it"""
CAUTION: Final = 0.9
"""of the time that is left is planned for: the second order has the first one's rate, nearly"""


def asks_twice(task: FoldTask) -> bool:
    """Whether the task predicts test rows in a second order."""
    recipe = task.recipe
    return task.test_key is not None and recipe.read_orders == 2 and recipe.second_order_share > 0


def with_share(task: FoldTask, share: float) -> FoldTask:
    """The task with another share of the test rows in the second order; its key says so."""
    assert task.test_key is not None
    recipe = task.recipe.model_copy(update={"second_order_share": share})
    return replace(task, recipe=recipe, test_key=task.test_key.model_copy(update={"orders": recipe.orders()}))


def first_orders(job: Job, todo: Sequence[FoldTask]) -> list[FoldTask]:
    """What of the tasks goes first: the first order alone, where it is not there already."""
    left = []
    for task in todo:
        if not asks_twice(task):
            left.append(task)
        elif task.test_key and key_of_any_share(job.artifacts(task.member), task.test_key) is None:
            left.append(with_share(task, 0.0))
    return left


@dataclass(frozen=True)
class SecondOrders:
    """The tasks of the second order, and what share of the recipes' own rows they have; 0 is none."""

    tasks: list[FoldTask]
    share: float

    def of_rows(self) -> dict[str, float]:
        """Member → the share of its rows, where it is less than its recipe's."""
        return {} if self.share >= 1 else {task.member: task.recipe.second_order_share for task in self.tasks}


def with_first_order(job: Job, todo: Sequence[FoldTask]) -> list[FoldTask]:
    """The tasks that ask for a second order and have the first."""
    return [
        task
        for task in todo
        if asks_twice(task)
        and task.test_key
        and key_of_any_share(job.artifacts(task.member), task.test_key) is not None
    ]


def second_orders(
    job: Job, todo: Sequence[FoldTask], seconds: Mapping[str, float], workers: int
) -> SecondOrders:
    """The second order of those tasks whose first is there, cut to what the time holds.

    Parameters
    ----------
    todo
        Tasks that are not done.
    seconds
        Label of a task → how long its first order took, or would take (:func:`.pilot.time_untimed`). A member
        of which nothing is known counts with the share of its recipe, and the deadline stops it.
    """
    ready = with_first_order(job, todo)
    if not ready or job.deadline is None:
        return SecondOrders(ready, 1.0)
    timed: dict[str, list[float]] = {}
    for task in todo:
        if task.label in seconds:
            timed.setdefault(task.member, []).append(seconds[task.label])
    work = sum(
        sum(timed[task.member]) / len(timed[task.member]) * task.recipe.second_order_share
        for task in ready
        if task.member in timed
    )
    share = affordable(job.deadline.remaining(), work / workers)
    if share >= 1:
        return SecondOrders(ready, 1.0)
    cut = [with_share(task, share * task.recipe.second_order_share) for task in ready]
    return SecondOrders(cut, share)


def outlook(
    left: Sequence[FoldTask],
    done: int,
    seconds: Mapping[str, float],
    remaining: float,
    workers: int,
    asked: Sequence[FoldTask],
) -> str:
    """What fits into the time that is left, in words; empty where nothing is left to do.

    Parameters
    ----------
    left, done
        Fold models whose first order is to come, in their order, and how many have predicted it.
    seconds
        Member → seconds of one order of one fold model, of every member in ``left`` and ``asked``.
    asked
        Fold models that predict a second order.
    """
    if not left and not asked:
        return ""
    ends = list(itertools.accumulate(seconds[task.member] / workers for task in left))
    fits = sum(end <= remaining for end in ends)
    if fits < len(left):
        return f"{done + fits} of {done + len(left)} fold models, in one order"
    work = sum(seconds[task.member] * task.recipe.second_order_share for task in asked) / workers
    share = affordable(remaining - sum(ends[-1:]), work)
    both = f", and {share:.0%} of the second order" if asked else ""
    return f"all {done + len(left)} fold models{both}"


def affordable(remaining: float, work: float) -> float:
    """What share of ``work`` seconds fits in the remaining ones, in steps of :data:`STEP`."""
    if remaining <= 0:
        return 0.0
    if work <= CAUTION * remaining:
        return 1.0
    return round(math.floor(CAUTION * remaining / work / STEP) * STEP, 2)
