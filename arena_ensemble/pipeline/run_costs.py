"""What the tasks of a job are planned with: the planner's figures for its members, battles and machine."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from ..artifacts.cards import AVERAGED, REFIT
from ..backbones import head_of
from ..planning.costs import MemberCost, Texts, member_costs
from ..planning.here import Machine, this_machine
from ..planning.lengths import sampled_lengths
from ..recipes import Recipe
from . import schedule
from .job import FoldTask, Job
from .run_progress import member_and_fold
from .schedule import Work

log = logging.getLogger(__name__)

here = functools.cache(this_machine)
_UNKNOWN_SECONDS: Final = 3600.0
MEMORY_SHARE: Final = 0.8
"""of the machine's, for tasks; this process and the system have the rest"""


def texts_of(job: Job) -> Texts:
    """How long the job's battles are and how many."""
    battles = job.train if job.train is not None else job.test
    assert battles is not None, "a job trains or predicts"
    rows = 0 if job.train is None else len(job.train)
    tests = 0 if job.test is None else len(job.test)
    return Texts(sampled_lengths(battles), rows, tests, 2 if job.folds is None else job.folds.n_folds)


def job_costs(job: Job, recipes: Mapping[str, Recipe], workers: int = 1) -> dict[str, MemberCost]:
    """One fold's cost for each member of which something is known.

    Of a single member on a real base nothing is planned: its folds are alike, and its shapes take seconds.
    """
    real = [one for one in recipes.values() if head_of(one.backbone).needs_base and not one.is_tiny]
    if not recipes or len(recipes) == len(real) == 1:
        return {}
    return member_costs(recipes, texts_of(job), here(), workers)


def task_seconds(
    cost: MemberCost, folds: int, fold: int, *, fitted: bool = False, refit: bool = False
) -> float:
    """Planned seconds of one task.

    Parameters
    ----------
    fitted
        Whether its model is there already.
    refit
        Whether one model beside the folds' predicts the test battles in their place.
    """
    if fold == AVERAGED:
        return cost.test_seconds
    if fold == REFIT:
        return (0.0 if fitted else cost.fit_seconds * folds / max(folds - 1, 1)) + cost.test_seconds
    seconds = cost.held_seconds + (0.0 if refit else cost.test_seconds)
    return seconds + (0.0 if fitted else cost.fit_seconds)


def with_costs(
    job: Job, costs: Mapping[str, MemberCost], labels: Sequence[str]
) -> Iterator[tuple[str, float, float]]:
    """Label, tokens and seconds of each task that is left; zeros where nothing is known."""
    folds = 2 if job.folds is None else job.folds.n_folds
    for label in labels:
        member, fold = member_and_fold(label)
        cost = costs.get(member)
        if cost is None:
            yield label, 0.0, 0.0
        else:
            at = fold if isinstance(fold, int) else AVERAGED if fold == "averaged" else REFIT
            seconds = task_seconds(cost, folds, at, fitted=job.train is None, refit=job.one_model is not None)
            yield label, cost.tokens + cost.held_tokens + cost.test_tokens, seconds


def in_order(
    job: Job, todo: Sequence[FoldTask], costs: Mapping[str, MemberCost], fitted: set[str], workers: int
) -> list[FoldTask]:
    """A wave's tasks in the order in which they should start (`schedule.ordered`).

    A prediction that has a deadline goes by members, the cheapest first: what is cut is the end.
    """
    bound = math.inf if job.train is None and job.deadline is not None else schedule.BOUND
    folds = 2 if job.folds is None else job.folds.n_folds
    known = {
        task.label: task_seconds(
            costs[task.member], folds, task.fold, fitted=task.label in fitted, refit=job.one_model is not None
        )
        for task in todo
        if task.member in costs
    }
    unknown = max([_UNKNOWN_SECONDS, *known.values()])
    works = [Work(k, task.member, known.get(task.label, unknown)) for k, task in enumerate(todo)]
    return [todo[work.task] for work in schedule.ordered(works, workers, bound)]


def fitting_workers(
    workers: int, members: Iterable[str], costs: Mapping[str, MemberCost], machine: Machine | None = None
) -> int:
    """Workers that the memory of a machine without a card holds side by side, whichever tasks they have."""
    machine = machine or here()
    if machine.gpu is not None:
        return workers
    needs = {name: float(costs[name].memory) for name in members if name in costs}
    return schedule.side_by_side(workers, needs, MEMORY_SHARE * machine.memory)
