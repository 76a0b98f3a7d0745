"""Chunks on a Ray cluster: workers that hold the models, each chunk begun again where its worker was lost.

Only the driver writes shards. A worker returns what one holds, so every row is in one shard however often it
was predicted, and no disk need be shared; its models come through Ray where it sees no common one.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar

from ..artifacts import atomic
from ..artifacts.parcels import Parcel, pack, unpack
from ..errors import ArenaError, MemberError
from ..recipes import Recipe
from .chunk_passes import Pass
from .chunk_pool import AHEAD, Pool
from .executors import OnRay
from .executors.ray_connection import connected, reason
from .executors.ray_needs import Needs, needs

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.5
_PATIENCE_SECONDS: Final = 60.0
"""after which a driver without a worker says so"""


class ChunkWorker:
    """An actor: the models of one pass, and one chunk after another."""

    def __init__(self, given: Pass, marker: str, loader: str) -> None:
        self._given, self._marker, self._loader = given, marker, loader
        self._scratch: str | None = None

    def settle(self, parcel: Parcel | None) -> bool:
        """Whether the models can be read here: on the shared disk, or unpacked from a parcel."""
        if self._loader == "unsloth":
            from ..backbones.language.unsloth_loader import import_unsloth  # torch: in workers alone

            import_unsloth()  # before anything imports transformers
        if self._marker and (self._given.root / self._marker).is_file():
            return True
        if parcel is None:
            return False
        self._scratch = tempfile.mkdtemp(prefix="arena-ensemble-chunks-")
        unpack(Path(self._scratch), parcel)
        (Path(self._scratch) / "cache").mkdir(exist_ok=True)
        self._given = self._given.at(Path(self._scratch))
        return True

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """What a function of the pass and these arguments returns."""
        return function(self._given, *arguments)

    def leave(self) -> None:
        """Remove what was unpacked here."""
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)


@contextlib.contextmanager
def on_cluster(given: Pass, executor: OnRay, recipes: Sequence[Recipe]) -> Iterator[Pool]:
    """A pool of actors on a cluster, each with the cores, cards and memory that the recipes ask for.

    Raises
    ------
    DependencyError
        Ray is not installed, or no cluster answers.
    """
    ray = connected(executor.address)
    cards = ray.cluster_resources().get("GPU", 0) > 0
    asked = [needs(recipe, gpus=cards) for recipe in recipes]
    asks = Needs(
        max((one.cpus for one in asked), default=1),
        max((one.gpus for one in asked), default=0),
        max((one.memory for one in asked), default=0),
    )
    marker = f"cache/.ray-{uuid.uuid4().hex}" if given.shared and not executor.apart else ""
    if marker:
        atomic.write_bytes(given.root / marker, b"")
    recipe = recipes[0] if recipes else Recipe(backbone="lexical")
    cluster = _Cluster(ray, given, executor, asks.options(recipe), marker, recipe.loader, _room(ray, asks))
    try:
        yield cluster
    finally:
        cluster.close()
        if marker:
            (given.root / marker).unlink(missing_ok=True)


def _room(ray: Any, asks: Needs) -> int:
    """How many workers the cluster's nodes hold now."""
    wanted = {"CPU": asks.cpus, "GPU": asks.gpus, "memory": asks.memory}
    held = 0
    for node in ray.nodes():
        there = node["Resources"] if node["Alive"] else {}
        held += min(int(there.get(name, 0) // amount) for name, amount in wanted.items() if amount)
    return held


@dataclass(eq=False)
class _Chunk(Generic[T]):
    """One call that is waited for."""

    cluster: _Cluster
    function: Callable[..., T]
    arguments: tuple[Any, ...]
    earlier: list[str] = field(default_factory=list)
    """why the workers that began it were lost"""
    value: list[T] = field(default_factory=list)
    error: Exception | None = None

    def result(self) -> T:
        while not self.value and self.error is None:
            self.cluster.turn(_POLL_SECONDS)
        if self.error is not None:
            raise self.error
        return self.value[0]

    def cancel(self) -> None:
        self.cluster.forget(self)


@dataclass(eq=False)
class _Worker:
    actor: Any
    settling: Any
    """Ray's reference to its beginning; None where it has begun"""
    running: dict[Any, _Chunk[Any]] = field(default_factory=dict)


@dataclass(eq=False)
class _Cluster:
    """Workers, and the chunks that wait for them."""

    ray: Any
    given: Pass
    executor: OnRay
    options: dict[str, Any]
    marker: str
    loader: str
    room: int
    queue: deque[_Chunk[Any]] = field(default_factory=deque)
    workers: list[_Worker] = field(default_factory=list)
    parcel: Any = None
    """Ray's reference to the models, once a worker needed them"""
    in_vain: int = 0
    """workers that were lost since one did anything"""
    alone_since: float = field(default_factory=time.monotonic)
    """since when no worker is there; infinity once that was said"""

    @property
    def size(self) -> int:
        """How many workers there should be."""
        return self.executor.jobs or max(1, self.room)

    @property
    def ahead(self) -> int:
        """How many chunks may be on their way at once."""
        return AHEAD * self.size

    def submit(
        self, function: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> _Chunk[T]:
        """Hand a call to a worker as soon as one is free."""
        assert not kwargs
        chunk = _Chunk(self, function, args)
        self.queue.append(chunk)
        self.turn(0)
        return chunk

    def forget(self, chunk: _Chunk[Any]) -> None:
        """Nobody waits for it any more."""
        if chunk in self.queue:
            self.queue.remove(chunk)

    def turn(self, seconds: float) -> None:
        """Begin missing workers, hand out chunks, and take what has ended, waiting so long at most."""
        while len(self.workers) < self.size:
            self.workers.append(self._begun())
        self._hand_out()
        owner = {worker.settling: worker for worker in self.workers if worker.settling is not None}
        owner |= {reference: worker for worker in self.workers for reference in worker.running}
        ended, _ = self.ray.wait(list(owner), num_returns=1, timeout=seconds) if owner else ([], [])
        for reference in ended:
            self._end(owner[reference], reference)
        self._say_if_alone()

    def _begun(self) -> _Worker:
        actor = self.ray.remote(ChunkWorker)
        options = {"max_restarts": 0, "scheduling_strategy": "SPREAD", **self.options}
        made = actor.options(**options).remote(self.given, self.marker, self.loader)
        return _Worker(made, made.settle.remote(self.parcel))

    def _hand_out(self) -> None:
        """Give waiting chunks to the workers with least to do."""
        while self.queue:
            free = [one for one in self.workers if one.settling is None and len(one.running) < AHEAD]
            if not free:
                return
            worker, chunk = min(free, key=lambda one: len(one.running)), self.queue.popleft()
            worker.running[worker.actor.call.remote(chunk.function, chunk.arguments)] = chunk

    def _end(self, worker: _Worker, reference: Any) -> None:
        exceptions = self.ray.exceptions
        chunk = worker.running.get(reference)
        try:
            found = self.ray.get(reference)
        except exceptions.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else MemberError(str(error)[-500:])
            if chunk is None:  # it cannot even begin, and no other worker would
                raise cause from None
            del worker.running[reference]
            chunk.error = cause
        except exceptions.RayError as error:
            self._lost(worker, reason(exceptions, error))
        else:
            if chunk is not None:
                self.in_vain = 0
                del worker.running[reference]
                chunk.value.append(found)
            elif found:
                worker.settling = None
            else:
                if self.parcel is None:
                    log.info("workers do not see %s; its models go through Ray", self.given.root)
                    self.parcel = self.ray.put(pack(self.given.root, self.given.places()))
                worker.settling = worker.actor.settle.remote(self.parcel)

    def _lost(self, worker: _Worker, why: str) -> None:
        """Its chunks are begun again, before all others; another worker takes its place."""
        self.workers.remove(worker)
        with contextlib.suppress(Exception):
            self.ray.kill(worker.actor)
        self.in_vain += 1
        retries = self.executor.retries
        if self.in_vain > retries + self.size:
            raise ArenaError(
                f"{self.in_vain} workers of the cluster were lost one after the other ({why}); what is "
                "finished is kept: look at the machines' memory, then run the same command again"
            )
        for chunk in reversed(list(worker.running.values())):
            chunk.earlier.append(why)
            if len(chunk.earlier) > retries:
                chunk.error = ArenaError(
                    f"a chunk was begun {len(chunk.earlier)} times, each time in vain: "
                    f"{'; '.join(dict.fromkeys(chunk.earlier))}; what is finished is kept: give smaller "
                    "--chunk-rows, or a machine with more memory, and run the same command again"
                )
                continue
            log.warning("a chunk is begun again (%d of %d): %s", len(chunk.earlier), retries, why)
            self.queue.appendleft(chunk)

    def _say_if_alone(self) -> None:
        now = time.monotonic()
        if any(one.settling is None for one in self.workers):
            self.alone_since = now
        elif now - self.alone_since > _PATIENCE_SECONDS:
            self.alone_since = float("inf")
            log.warning("no machine of the cluster has room for a worker (%s); it waits", self.options)

    def close(self) -> None:
        """End all workers."""
        leaving = [one.actor.leave.remote() for one in self.workers if one.settling is None]
        with contextlib.suppress(Exception):
            self.ray.wait(leaving, num_returns=len(leaving), timeout=10)
        for worker in self.workers:
            with contextlib.suppress(Exception):
                self.ray.kill(worker.actor)
