"""A large prediction on nodes that may vanish: what there is to do, who does it, what it waits for.

Plain figures, all assumptions of whoever plans; `simulation.simulate` says what they come to.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

from ..errors import InputError

HOUR: Final = 3600.0


@dataclass(frozen=True)
class Stage:
    """One member over some rows, in chunks of one size (the last holds what is left).

    Parameters
    ----------
    row_seconds
        Of one worker (a card, or a core), for one row.
    load_seconds
        Until a worker's model is in memory, once its node has started.
    read_bytes, write_bytes
        Of one row, from and to object storage.
    """

    name: str
    rows: int
    chunk_rows: int
    row_seconds: float
    load_seconds: float = 0.0
    read_bytes: float = 0.0
    write_bytes: float = 0.0

    def __post_init__(self) -> None:
        _positive(self, "rows", "chunk_rows")
        _no_less_than_zero(self, "row_seconds", "load_seconds", "read_bytes", "write_bytes")

    @property
    def chunks(self) -> int:
        """How many there are."""
        return -(-self.rows // self.chunk_rows)

    def rows_of(self, chunk: int) -> int:
        """Rows of a chunk, counted from 0."""
        return min(self.chunk_rows, self.rows - chunk * self.chunk_rows)


@dataclass(frozen=True)
class Fleet:
    """Nodes of one kind.

    Parameters
    ----------
    nodes
        Wanted at all times; one that vanishes is asked for again.
    workers
        Of each node, which predict side by side and vanish together: its cards, or its cores.
    price
        Dollars a node and hour, by the second, from the moment that it is given.
    vanish
        How often a node vanishes, an hour: lifetimes are exponential.
    start_seconds
        Paid, from the moment that a node is given until its workers load: boot, install, imports.
    wait_seconds
        Unpaid, until a node that vanished is replaced.
    recheck_seconds
        For each chunk that is done when a node starts. A run of `predict --shards` that goes on looks at
        every finished shard again; a driver that outlives its nodes does not.
    """

    nodes: int
    workers: int = 1
    price: float = 0.0
    vanish: float = 0.0
    start_seconds: float = 0.0
    wait_seconds: float = 0.0
    recheck_seconds: float = 0.0

    def __post_init__(self) -> None:
        _positive(self, "nodes", "workers")
        _no_less_than_zero(self, "price", "vanish", "start_seconds", "wait_seconds", "recheck_seconds")


@dataclass(frozen=True)
class Storage:
    """Object storage as one worker sees it. Some transfers stall, now and then for long (Pareto).

    Parameters
    ----------
    latency
        Seconds until the first byte.
    bytes_per_second
        Of one transfer.
    stall_share
        Of transfers that stall; loading a model is one transfer.
    stall_seconds, stall_tail
        A stall lasts ``stall_seconds`` at least, and longer than x with probability
        ``(stall_seconds / x) ** stall_tail``; a tail of 1 or less has no mean.
    timeout
        A transfer that stalls longer is begun again after so many seconds. The engine does not do that.
    """

    latency: float = 0.0
    bytes_per_second: float = math.inf
    stall_share: float = 0.0
    stall_seconds: float = 0.0
    stall_tail: float = 2.0
    timeout: float = math.inf

    def __post_init__(self) -> None:
        _no_less_than_zero(self, "latency", "stall_seconds")
        _positive(self, "bytes_per_second", "stall_tail", "timeout")
        if not 0 <= self.stall_share < 1:
            raise InputError(f"stall_share {self.stall_share}: give a share from 0 to below 1")


@dataclass(frozen=True)
class Driver:
    """What one process does for every chunk, one chunk after the other: hand it out, note that it is done."""

    hand_out_seconds: float = 0.0
    note_seconds: float = 0.0

    def __post_init__(self) -> None:
        _no_less_than_zero(self, "hand_out_seconds", "note_seconds")


@dataclass(frozen=True)
class Outcome:
    """What a stage came to."""

    seconds: float
    """until the last chunk is noted"""
    node_seconds: float
    """paid, of all nodes"""
    dollars: float
    chunks: int
    attempts: int
    """chunks begun; those beyond ``chunks`` were lost with their node"""
    vanished: int
    parts: dict[str, float]
    """paid seconds of workers by what they went into (`PARTS`); in all, nodes' seconds times workers"""

    @property
    def hours(self) -> float:
        """Of the clock."""
        return self.seconds / HOUR

    @property
    def shares(self) -> dict[str, float]:
        """Each part's share of what was paid."""
        total = sum(self.parts.values())
        return {name: value / total if total else 0.0 for name, value in self.parts.items()}

    def facts(self) -> dict[str, Any]:
        """Plain JSON values, marked as an estimate."""
        return {"estimate": True, **asdict(self), "hours": self.hours, "shares": self.shares}


PARTS: Final = ("compute", "start", "again", "storage", "stalls", "driver", "lost", "idle")
"""``start``: first start and load of each node; ``again``: of its replacements; ``lost``: chunks that went
with their node; ``driver``: waiting to be handed a chunk; ``idle``: no chunk was left"""


def _positive(given: object, *names: str) -> None:
    for name in names:
        if not getattr(given, name) > 0:
            raise InputError(f"{name} {getattr(given, name)}: give a number above 0")


def _no_less_than_zero(given: object, *names: str) -> None:
    for name in names:
        value = getattr(given, name)
        if not 0 <= value < math.inf:
            raise InputError(f"{name} {value}: give a number from 0 on")
