"""Where the chunks of a file are predicted: in this process, or in several side by side.

A process keeps the models of the pass that it works on. A chunk's result does not depend on which process
made it; one that dies ends the run, and the next call goes on where it was.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from ..artifacts.shard_folder import Shard
from ..backbones import children, head_of
from ..errors import ArenaError
from ..recipes import Recipe
from .chunk_passes import Beside, Combined, Done, Loaded, Pass, Raw, work
from .executors import processes as local
from .executors import slots

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

AHEAD: Final = 2
"""Chunks for each process at a time: one waits while one is predicted."""


class Answer(Protocol[T_co]):
    """What a function will have returned."""

    def result(self) -> T_co:
        """Wait for it; what the function raised is raised here."""
        ...

    def cancel(self) -> object:
        """It is not wanted any more."""
        ...


class Pool(Protocol):
    """Runs functions of this module on one pass."""

    @property
    def ahead(self) -> int:
        """How many chunks may be on their way at once."""
        ...

    def submit(
        self, function: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> Answer[T]:
        """The function of the pass and these arguments, now or later."""
        ...


class _Here:
    """This process: whatever is submitted is done at once."""

    ahead = 1

    def __init__(self, given: Pass) -> None:
        self._given = given

    def submit(
        self, function: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        future: Future[T] = Future()
        future.set_result(function(self._given, *args, **kwargs))
        return future


class _Processes:
    def __init__(self, given: Pass, pool: ProcessPoolExecutor, workers: int) -> None:
        self._given, self._pool, self.ahead = given, pool, AHEAD * workers

    def submit(
        self, function: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        return self._pool.submit(function, self._given, *args, **kwargs)


def cards_of(recipe: Recipe, jobs: int | None = None) -> list[list[int]]:
    """The cards of each process that predicts with one model: as many sets as there are, ``jobs`` at most.

    Empty where one process does it: there are no cards, or no more than one process takes.
    """
    gpus = slots.gpu_count() if head_of(recipe.backbone).needs_base else 0
    width = recipe.machine.processes
    sets = [[start * width + k for k in range(width)] for start in range(gpus // width)]
    return sets[:jobs] if len(sets[:jobs]) > 1 else []


@contextlib.contextmanager
def processes(given: Pass, workers: int, cards: Sequence[Sequence[int]] = ()) -> Iterator[Pool]:
    """A pool of so many processes, which share the cores; with one worker, this process.

    Parameters
    ----------
    cards
        The cards of each process; empty where all see all.

    Raises
    ------
    ArenaError
        A process was killed from outside.
    """
    if workers == 1:
        try:
            yield _Here(given)
        finally:
            _loaded.clear()  # a large model is not held longer than it predicts
        return
    before = set(multiprocessing.active_children())
    with local.threads_per_worker(workers):
        context = multiprocessing.get_context("spawn")
        free: Any = context.Queue()
        for one in cards:
            free.put(list(one))
        pool = ProcessPoolExecutor(
            workers, mp_context=context, initializer=_begin, initargs=(free if cards else None,)
        )
        try:
            with children.interrupts_are_ours(), children.script_stays_here():
                for _ in range(workers):
                    pool.submit(_ready)
            yield _Processes(given, pool, workers)
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


def _begin(free: Any) -> None:
    children.die_with_parent()
    if free is not None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = [visible.split(",")[card] if visible else str(card) for card in free.get()]
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names)


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


def do(given: Pass, raw: Raw, known: Shard | None, gammas: Mapping[str, float], beside: Beside) -> Done:
    """One chunk, see `chunk_passes.work`."""
    return work(given, lambda: _models(given), raw, known, gammas, beside)


def gammas_of(given: Pass, raw: Raw, beside: Beside) -> dict[str, float]:
    """How much averages over folds are to be sharpened, from one chunk."""
    models = _models(given)
    assert isinstance(models, Combined)
    return models.gammas_of(given.read(raw), beside)
