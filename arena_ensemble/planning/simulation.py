"""A stage on nodes that vanish, event by event: what it takes, and what it goes into.

One event a chunk and two a node's life, so that a hundred thousand chunks are a second. The same seed gives
the same run. Daly 2006 (doi:10.1016/j.future.2004.11.016) has the exact mean for one worker, `lost_work`.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from .fleet import HOUR, PARTS, Driver, Fleet, Outcome, Stage, Storage

_BORN: Final = 0
_READY: Final = 1
_WRITTEN: Final = 2
_VANISH: Final = 3


@dataclass(slots=True)
class _Work:
    """A chunk in work."""

    chunk: int
    taken: float
    driver: float
    storage: float
    stalls: float
    compute: float


@dataclass(slots=True, eq=False)
class _Node:
    born: float
    first: bool
    """whether it is one of those that the run began with"""
    loads: list[float]
    """seconds of each worker between the node's start and its first chunk"""
    work: dict[int, _Work] = field(default_factory=dict)
    idle: int = 0
    accounted: float = 0.0
    """worker-seconds that are in some part already"""
    alive: bool = True


def simulate(
    stage: Stage,
    fleet: Fleet,
    storage: Storage | None = None,
    driver: Driver | None = None,
    *,
    seed: int = 0,
    lifetimes: Iterable[float] | None = None,
) -> Outcome:
    """One run of a stage.

    A worker takes the next chunk when it is free: it waits for the driver, reads, computes, writes. A chunk
    is done when it is written; the driver notes it. A node that vanishes loses the chunks in work, which
    are the next to be taken; it is replaced as long as there are chunks that nobody has. A node is given
    back when none of its workers has one.

    Parameters
    ----------
    seed
        Of lifetimes and stalls.
    lifetimes
        Seconds that each node lives, in the order in which they are given; those after the last do not
        vanish. In place of ``fleet.vanish``, to replay what happened.
    """
    return _Run(stage, fleet, storage or Storage(), driver or Driver(), random.Random(seed), lifetimes).run()


class _Run:
    def __init__(
        self,
        stage: Stage,
        fleet: Fleet,
        storage: Storage,
        driver: Driver,
        draws: random.Random,
        lifetimes: Iterable[float] | None,
    ) -> None:
        self._stage, self._fleet, self._storage, self._driver = stage, fleet, storage, driver
        self._draws = draws
        self._lifetimes = None if lifetimes is None else iter(lifetimes)
        self._queue = deque(range(stage.chunks))
        self._events: list[tuple[float, int, int, _Node | None, int]] = []
        self._order = itertools.count()
        self._waiting: deque[tuple[_Node, int]] = deque()
        self._nodes: list[_Node] = []
        self._driver_free = self._node_seconds = self._now = 0.0
        self._done = self._attempts = self._vanished = 0
        self._parts = dict.fromkeys(PARTS, 0.0)

    def run(self) -> Outcome:
        stage, fleet = self._stage, self._fleet
        for _ in range(min(fleet.nodes, -(-stage.chunks // fleet.workers))):
            self._start_node(first=True)
        while self._done < stage.chunks:
            self._now, _, kind, node, worker = heapq.heappop(self._events)
            if kind == _BORN:
                if self._queue:
                    self._start_node(first=False)
            elif node is not None and node.alive:
                if kind == _VANISH:
                    self._vanish(node)
                else:
                    if kind == _WRITTEN:
                        self._written(node, worker)
                    self._take(node, worker)
        for node in self._nodes:
            if node.alive:
                self._end(node)
        return Outcome(
            seconds=max(self._now, self._driver_free),
            node_seconds=self._node_seconds,
            dollars=self._node_seconds / HOUR * fleet.price,
            chunks=stage.chunks,
            attempts=self._attempts,
            vanished=self._vanished,
            parts=self._parts,
        )

    def _push(self, time: float, kind: int, node: _Node | None, worker: int = 0) -> None:
        heapq.heappush(self._events, (time, next(self._order), kind, node, worker))

    def _start_node(self, *, first: bool) -> None:
        stage, fleet = self._stage, self._fleet
        recheck = fleet.recheck_seconds * self._done
        loads = [recheck + stage.load_seconds for _ in range(fleet.workers)]
        if stage.load_seconds:
            loads = [seconds + self._stall() for seconds in loads]
        node = _Node(self._now, first, loads)
        self._nodes.append(node)
        life = self._lifetime()
        if life is not None:
            self._push(self._now + life, _VANISH, node)
        for worker, load in enumerate(loads):
            self._push(self._now + fleet.start_seconds + load, _READY, node, worker)

    def _lifetime(self) -> float | None:
        if self._lifetimes is not None:
            return next(self._lifetimes, None)
        return self._draws.expovariate(self._fleet.vanish / HOUR) if self._fleet.vanish else None

    def _take(self, node: _Node, worker: int) -> None:
        """Give a free worker the next chunk; without one it waits, and an idle node is given back."""
        if not self._queue:
            node.idle += 1
            self._waiting.append((node, worker))
            if node.idle == self._fleet.workers:
                self._end(node)
            return
        chunk = self._queue.popleft()
        self._attempts += 1
        now, rows = self._now, self._stage.rows_of(chunk)
        handed = max(now, self._driver_free) + self._driver.hand_out_seconds
        self._driver_free = handed
        read, read_stall = self._transfer(rows * self._stage.read_bytes)
        write, write_stall = self._transfer(rows * self._stage.write_bytes)
        work = _Work(
            chunk, now, handed - now, read + write, read_stall + write_stall, rows * self._stage.row_seconds
        )
        node.work[worker] = work
        self._push(handed + work.storage + work.stalls + work.compute, _WRITTEN, node, worker)

    def _transfer(self, size: float) -> tuple[float, float]:
        """Seconds of a transfer, and of its stalls; nothing where there is nothing to move."""
        if not size:
            return 0.0, 0.0
        return self._storage.latency + size / self._storage.bytes_per_second, self._stall()

    def _stall(self) -> float:
        storage, seconds = self._storage, 0.0
        while storage.stall_share and self._draws.random() < storage.stall_share:
            stalled = storage.stall_seconds * self._draws.paretovariate(storage.stall_tail)
            seconds += min(stalled, storage.timeout)
            if stalled <= storage.timeout:
                break
        return seconds

    def _written(self, node: _Node, worker: int) -> None:
        work = node.work.pop(worker)
        self._driver_free = max(self._driver_free, self._now) + self._driver.note_seconds
        self._done += 1
        for name in ("driver", "storage", "stalls", "compute"):
            self._parts[name] += getattr(work, name)
        node.accounted += work.driver + work.storage + work.stalls + work.compute

    def _vanish(self, node: _Node) -> None:
        self._vanished += 1
        lost = sorted(node.work.values(), key=lambda work: work.chunk)
        for work in lost:
            self._parts["lost"] += self._now - work.taken
            node.accounted += self._now - work.taken
        self._queue.extendleft(work.chunk for work in reversed(lost))
        self._end(node)
        while self._queue and self._waiting:
            other, worker = self._waiting.popleft()
            if other.alive:
                other.idle -= 1
                self._take(other, worker)
        if self._queue:
            self._push(self._now + self._fleet.wait_seconds, _BORN, None)

    def _end(self, node: _Node) -> None:
        """Stop paying for a node, and account for the seconds of its workers."""
        node.alive = False
        age, starting = self._now - node.born, self._fleet.start_seconds
        before = sum(min(age, starting + load) for load in node.loads)
        self._parts["start" if node.first else "again"] += before
        # what is left, but for rounding
        self._parts["idle"] += max(0.0, age * self._fleet.workers - before - node.accounted)
        self._node_seconds += age


def mean_outcome(outcomes: Sequence[Outcome]) -> Outcome:
    """The mean of several runs of one stage; counts are rounded."""
    count = len(outcomes)

    def mean(name: str) -> float:
        return float(sum(getattr(one, name) for one in outcomes) / count)

    return Outcome(
        seconds=mean("seconds"),
        node_seconds=mean("node_seconds"),
        dollars=mean("dollars"),
        chunks=outcomes[0].chunks,
        attempts=round(mean("attempts")),
        vanished=round(mean("vanished")),
        parts={name: sum(one.parts[name] for one in outcomes) / count for name in PARTS},
    )
