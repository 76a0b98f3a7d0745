"""In which order tasks go to the workers: cheap members first where that costs little, else the longest task.

Pure arithmetic over planned seconds. Workers take the next task of the order as soon as they are free (list
scheduling). With the longest task first the makespan is at most 4/3 - 1/(3m) of the shortest possible one
on m workers (Graham 1969, SIAM Journal on Applied Mathematics 17), without knowing it. Cheap members first
would let a costly task begin late, but it is what puts a better submission on disk early (docs/deadlines.md);
so as many of the cheapest members go first as keep the makespan within that 4/3.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T", bound=Hashable)
BOUND: Final = 4 / 3


@dataclass(frozen=True)
class Work(Generic[T]):
    """One task: what it is, whose, and its planned seconds."""

    task: T
    member: str
    seconds: float


@dataclass(frozen=True)
class Slot(Generic[T]):
    """When a task runs, in seconds from the start, and on which worker."""

    task: T
    worker: int
    start: float
    end: float


def timeline(order: Sequence[Work[T]], workers: int) -> list[Slot[T]]:
    """When each task runs if every worker takes the next one as soon as it is free."""
    free = [(0.0, worker) for worker in range(max(workers, 1))]
    slots = []
    for work in order:
        start, worker = heapq.heappop(free)
        slots.append(Slot(work.task, worker, start, start + work.seconds))
        heapq.heappush(free, (start + work.seconds, worker))
    return slots


def makespan(order: Sequence[Work[T]], workers: int) -> float:
    """Seconds until the last task of an order ends."""
    return max((slot.end for slot in timeline(order, workers)), default=0.0)


def lower_bound(seconds: Sequence[float], workers: int) -> float:
    """Seconds that no schedule stays under.

    The work shared evenly; and of the km + 1 longest tasks, some k + 1 are on one of m workers.
    """
    if not seconds:
        return 0.0
    longest = sorted(seconds, reverse=True)
    bound = max(sum(longest) / workers, longest[0])
    for k in range(1, (len(longest) - 1) // workers + 1):
        bound = max(bound, sum(longest[k * workers - k : k * workers + 1]))
    return bound


def ordered(tasks: Sequence[Work[T]], workers: int, bound: float = BOUND) -> list[Work[T]]:
    """The order in which tasks should start: none of them waits for another.

    Members by their whole work, the cheapest first, as many as keep the makespan within 4/3 of the lower
    bound, or within that of the longest-first order where it is longer; then the others' tasks, the longest
    first. Equal ones stay as they come.

    Parameters
    ----------
    bound
        In place of 4/3; infinity is the cheapest member first whatever it costs.
    """
    total: dict[str, float] = {}
    for work in tasks:
        total[work.member] = total.get(work.member, 0.0) + work.seconds
    members = sorted(total, key=lambda name: total[name])
    longest = sorted(tasks, key=lambda work: -work.seconds)
    limit = max(
        bound * lower_bound([work.seconds for work in tasks], max(workers, 1)), makespan(longest, workers)
    )
    for count in range(len(members), 0, -1):
        first = {name: place for place, name in enumerate(members[:count])}
        order = sorted((w for w in tasks if w.member in first), key=lambda w: first[w.member])
        order += [work for work in longest if work.member not in first]
        if makespan(order, workers) <= limit * (1 + 1e-12):
            return order
    return longest


def in_waves(waves: Sequence[Sequence[Work[T]]], workers: int) -> list[Slot[T]]:
    """When each task runs if a wave begins when the one before it has ended: teachers before their pupils."""
    slots: list[Slot[T]] = []
    begin = 0.0
    for wave in waves:
        part = timeline(ordered(wave, workers), workers)
        slots += [Slot(one.task, one.worker, begin + one.start, begin + one.end) for one in part]
        begin = max(itertools.chain([begin], (one.end for one in slots)))
    return slots


def side_by_side(workers: int, needs: Mapping[str, float], memory: float) -> int:
    """How many workers may run at once: the largest needs of so many tasks, one a worker, fit the memory.

    Parameters
    ----------
    needs
        Member → bytes that one of its tasks takes at its peak; each member has tasks enough for all workers.
    memory
        Bytes of the machine.
    """
    worst = max(needs.values(), default=0.0)
    return max(1, min(workers, int(memory // worst))) if worst > 0 else workers
