"""The group of processes that a member is spread over, seen from here: a fitted model with `predict`."""

from __future__ import annotations

import logging
import multiprocessing
import os
import tempfile
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from ...battles import Battles
from ...errors import MemberError
from ...predictions import Floats
from ...recipes import Recipe
from .. import children
from ..base import Progress
from ..registry import engine_of
from . import spread

if TYPE_CHECKING:
    from .model import MemberModel

_log = logging.getLogger(__name__)
_TOLD, _DONE, _FAILED = "told", "done", "failed"
_PRELOADED: Final = [
    __name__,
    "arena_ensemble.backbones.language.backbone",
    "peft",
    "torch.distributed.fsdp",
    "transformers.modeling_utils",
]


def is_wanted(recipe: Recipe) -> bool:
    """Whether a member is spread over processes that are still to be started."""
    return recipe.machine.processes > 1 and not spread.inside()


class SpreadMember:
    """A member in a group of processes. ``facts`` and ``running`` are those of its first process.

    Raises
    ------
    MemberError
        There are fewer cards than processes, or a process was killed.
    """

    def __init__(self, recipe: Recipe) -> None:
        count = recipe.machine.processes
        if torch.cuda.is_available() and torch.cuda.device_count() < count:
            raise MemberError(
                f"machine.processes = {count} needs a card each and {torch.cuda.device_count()} are here; "
                "lower it, or run on more cards (--jobs 1 gives one fold all of them)"
            )
        self.facts: dict[str, Any] = {}
        self.running: dict[str, str] = {}
        # a server that has imported what all of them need: a fold has two groups, to train and to predict
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        handle, self._meeting = tempfile.mkstemp(prefix="arena-group-")
        os.close(handle)
        Path(self._meeting).unlink()  # PyTorch's file store wants to make it
        self._pipes: list[Connection] = []
        processes = set()
        threads = max(1, torch.get_num_threads() // count)
        with children.interrupts_are_ours(), children.script_stays_here():
            for rank in range(count):
                here, there = context.Pipe()
                process = context.Process(
                    target=_serve, args=(there, rank, count, threads, self._meeting, recipe), daemon=True
                )
                process.start()
                there.close()
                processes.add(process)
                self._pipes.append(here)
        self._end = weakref.finalize(self, _end, processes, self._meeting)

    def fit(self, on_progress: Progress | None, **arguments: Any) -> None:
        """As the backbone's ``fit``, in the group."""
        self.facts, self.running = self._ask("fit", arguments, on_progress)

    def load(self, **arguments: Any) -> None:
        """As the backbone's ``load``, in the group."""
        self.facts, self.running = self._ask("load", arguments, None)

    def predict(self, battles: Battles, on_progress: Progress | None = None) -> Floats:
        """Log-probabilities (n, 3), in the battles' order."""
        return np.asarray(self._ask("predict", {"battles": battles}, on_progress))

    def _ask(self, what: str, arguments: dict[str, Any], on_progress: Progress | None) -> Any:
        try:
            for pipe in self._pipes:
                pipe.send((what, arguments))
            return self._answer(on_progress)
        except BaseException:
            self._end()
            raise

    def _answer(self, on_progress: Progress | None) -> Any:
        answer, waiting = None, list(self._pipes)
        while waiting:
            for pipe in wait(waiting):
                assert isinstance(pipe, Connection)
                try:
                    kind, value = pipe.recv()
                except EOFError:
                    raise MemberError(
                        f"process {self._pipes.index(pipe)} of {len(self._pipes)} was killed (out of "
                        "memory?); run the same command again to go on"
                    ) from None
                if kind == _TOLD and on_progress is not None:
                    on_progress(*value)
                elif kind == _FAILED:
                    raise value
                elif kind == _DONE:
                    waiting.remove(pipe)
                    answer = value if pipe is self._pipes[0] else answer
        return answer


def _end(processes: set[Any], meeting: str) -> None:
    children.end(processes)
    Path(meeting).unlink(missing_ok=True)


def _serve(pipe: Connection, rank: int, count: int, threads: int, meeting: str, recipe: Recipe) -> None:
    """One process of the group: do what is asked, in step with the others, until the parent is gone."""
    import torch.distributed as dist

    children.die_with_parent()
    if rank:
        logging.disable(logging.WARNING)  # the first process speaks for all
    torch.set_num_threads(threads)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all on one machine
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(rank)
    dist.init_process_group(
        "nccl" if cuda else "gloo", init_method=f"file://{meeting}", rank=rank, world_size=count
    )
    engine, member = engine_of(recipe.backbone), None
    while True:
        try:
            what, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer, member = _do(engine, member, what, arguments, _teller(pipe) if rank == 0 else None)
        except Exception as error:
            _log.debug("process %d", rank, exc_info=True)
            pipe.send((_FAILED, error))
            return
        pipe.send((_DONE, answer if rank == 0 else None))


def _do(
    engine: Any, member: MemberModel | None, what: str, arguments: dict[str, Any], tell: Progress | None
) -> tuple[Any, MemberModel]:
    if what == "predict":
        assert member is not None
        return engine.predict(member, arguments["battles"], on_progress=tell), member
    member = engine.fit(**arguments, on_progress=tell) if what == "fit" else engine.load(**arguments)
    assert member is not None
    return (member.facts, member.running), member


def _teller(pipe: Connection) -> Callable[[float, float, str], None]:
    return lambda done, total, text: pipe.send((_TOLD, (done, total, text)))
