"""Where the chunks of a file are predicted: in this process, or in several side by side.

A process keeps the models of the pass that it works on. A chunk's result does not depend on which process
made it; one that dies ends the run, and the next call goes on where it was.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final, ParamSpec, Protocol, TypeVar

from ..artifacts.shard_folder import Shard
from ..backbones import children
from ..errors import ArenaError
from ..io import RawChunk
from .chunk_passes import Combined, Done, EnsemblePass, FoldPass, Loaded, work
from .executors import processes as local

Pass = FoldPass | EnsemblePass
P = ParamSpec("P")
T = TypeVar("T")

_AHEAD: Final = 2
"""Chunks for each process at a time: one waits while one is predicted."""


class Pool(Protocol):
    """Runs functions of this module."""

    @property
    def ahead(self) -> int:
        """How many chunks may be on their way at once."""
        ...

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The function's result, now or later."""
        ...


class Here:
    """This process: whatever is submitted is done at once."""

    ahead = 1

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The function's result."""
        future: Future[T] = Future()
        future.set_result(function(*args, **kwargs))
        return future


class _Processes:
    def __init__(self, pool: ProcessPoolExecutor, workers: int) -> None:
        self._pool, self.ahead = pool, _AHEAD * workers

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return self._pool.submit(function, *args, **kwargs)


@contextlib.contextmanager
def processes(workers: int) -> Iterator[Pool]:
    """A pool of so many processes, which share the cores; with one worker, this process.

    Raises
    ------
    ArenaError
        A process was killed from outside.
    """
    if workers == 1:
        try:
            yield Here()
        finally:
            _loaded.clear()  # a large model is not held longer than it predicts
        return
    before = set(multiprocessing.active_children())
    with local.threads_per_worker(workers):
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
        try:
            with children.interrupts_are_ours(), children.script_stays_here():
                for _ in range(workers):
                    pool.submit(_ready)
            yield _Processes(pool, workers)
        except BrokenProcessPool:
            raise ArenaError(
                "a process that predicted was killed (out of memory?); what it had finished is kept: run the "
                "same command again, with fewer --jobs or smaller --chunk-rows for less memory"
            ) from None
        except BaseException:
            children.end(set(multiprocessing.active_children()) - before)
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    children.die_with_parent()


def _ready() -> None:
    """Nothing: a process is started for it."""


_loaded: dict[str, Any] = {}


def _models(given: Pass) -> Loaded:
    """The pass's models, loaded when they are first needed."""
    if _loaded.get("run") != given.run:
        _loaded.clear()
        _loaded.update(run=given.run, models=given.loaded())
    models: Loaded = _loaded["models"]
    return models


def do(given: Pass, raw: RawChunk, known: Shard | None, gammas: Mapping[str, float]) -> Done:
    """One chunk, see `chunk_passes.work`."""
    return work(given, lambda: _models(given), raw, known, gammas)


def gammas_of(given: EnsemblePass, raw: RawChunk) -> dict[str, float]:
    """How much averages over folds are to be sharpened, from one chunk."""
    models = _models(given)
    assert isinstance(models, Combined)
    return models.gammas_of(given.chunks.battles(raw), raw.number)
