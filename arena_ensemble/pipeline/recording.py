"""What a run does, into the workspace's event log: one small object between the pipeline and its callers.

A :class:`Recorder` is a progress callback. It passes every event on to the caller's own, and writes what a
person in another terminal wants to know: which run, which tasks, how far, which losses, what failed. Kinds of
lines: ``run``, ``task``, ``progress``, ``member``, ``ensemble``; ``outcome`` says what came of it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from ..artifacts.cards import MemberCard
from ..artifacts.run_log import PROGRESS, RunLog, log_path
from ..artifacts.workspace import Workspace
from ..errors import OutOfTime
from .executors import DONE, FAILED, PLANNED, STACKING, Event
from .run_progress import ENOUGH, FAILED_ALONE, LATE, RunProgress, TaskProgress, member_and_fold

EVERY: Final = 10.0
"""seconds between two lines of progress of one task, after the first half minute"""
_MOST_ERROR: Final = 500
"""characters of an error that are kept"""


class Recorder:
    """The event log of one run; use as a context manager. Without tasks nothing is written.

    Parameters
    ----------
    workspace
        Held by the caller.
    what
        ``training`` or ``prediction``.
    members
        In the order in which they were named.
    tasks
        How many are left to do.
    shown
        The caller's own callback.
    clock
        Seconds; a test gives its own.
    """

    def __init__(
        self,
        workspace: Workspace,
        what: str,
        members: Sequence[str],
        tasks: int,
        shown: Event | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log = RunLog(log_path(workspace)) if tasks else None
        self._what, self._members, self._count = what, list(members), tasks
        self._shown, self._clock = shown, clock
        self._progress = RunProgress()
        self._last: dict[str, float] = {}
        self._began = clock()
        self._outcome = "done"

    def __enter__(self) -> Self:
        self._write(
            "run",
            what=self._what,
            members=self._members,
            tasks=self._count,
            pid=os.getpid(),
            host=socket.gethostname(),
            outcome="started",
        )
        if self._shown is not None:
            self._shown("", 0, self._count, PLANNED)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outcome, why = self._outcome, None
        if error is not None:
            outcome = "failed" if isinstance(error, Exception) else "interrupted"
            why = _shortened(error) if outcome == "failed" else None
        self._write("run", what=self._what, outcome=outcome, seconds=self._elapsed(self._began), error=why)
        if self._log is not None:
            self._log.close()

    def __call__(self, label: str, done: float, total: float, text: str) -> None:
        """One event of the run, as every progress callback takes it."""
        if self._shown is not None:
            self._shown(label, done, total, text)
        if text.startswith((DONE, FAILED)) or not label:
            return
        member, fold = member_and_fold(label)
        if text == PLANNED:
            task = self._progress.plan(label, total or None, round(done) or None)
            self._write(
                "task", member=member, fold=fold, tokens=task.tokens, seconds=task.planned_seconds,
                outcome="planned",
            )  # fmt: skip
            return
        now = self._clock()
        task = self._progress.move(label, done, total, text, now)
        first = label not in self._last
        running = 0.0 if task.started is None else now - task.started
        if first or now - self._last[label] >= min(max(running / 4, 1.0), EVERY):
            self._last[label] = now
            if first and fold is not None:
                self._write("task", member=member, fold=fold, outcome="started")
            self._write(
                PROGRESS,
                member=member,
                fold=fold,
                step=round(done),
                steps=round(total),
                text=text or None,
                share=round(task.share, 4),
                tokens=None if task.tokens is None else round(task.tokens * task.share),
                loss=task.loss,
                seconds=None if task.started is None else round(now - task.started, 1),
                eta=_rounded(task.left(now)),
            )

    def workers(self, count: int) -> None:
        """How many tasks run side by side from now on."""
        if count != self._progress.workers:
            self._progress.workers = count
            self._write("run", what=self._what, jobs=count, outcome="running")

    def ended(
        self,
        label: str,
        error: Exception | None,
        *,
        where: str = "",
        loss: float | None = None,
        alone: bool = False,
    ) -> None:
        """A task has ended: well, with its error, or out of time.

        ``loss`` is its held-out rows' log-loss; ``alone`` says that its member goes on without it.
        """
        now = self._clock()
        late = isinstance(error, OutOfTime)
        task = self._progress.halt(label) if late else self._progress.end(label, now, loss)
        outcome = "late" if late else "done" if error is None else "failed"
        member, fold = member_and_fold(label)
        if late:
            self._outcome = "late"
        elif error is not None:
            self._outcome = "partly" if self._outcome == "done" else self._outcome
            if not alone:
                self._progress.drop(member)
        self._write(
            "task", member=member, fold=fold, outcome=outcome, loss=_rounded(loss, 6), tokens=task.tokens,
            seconds=round(task.seconds or 0.0, 1), eta=_rounded(self._progress.left(now)),
            error=None if error is None else _shortened(error), alone=alone or None,
        )  # fmt: skip
        if self._shown is not None:
            scored = "" if loss is None else f", log-loss {loss:.4f}"
            failed = FAILED_ALONE if alone else FAILED
            end = failed if outcome == "failed" else LATE if late else DONE + where + scored
            self._shown(label, 1, 1, end)

    def member_ended(self, name: str, card: MemberCard | None, error: str | None = None) -> None:
        """A member is finished, or is left."""
        if error is not None:
            self._outcome = "partly" if self._outcome == "done" else self._outcome
            self._progress.drop(name)
        facts: dict[str, Any] = {}
        if card is not None:
            facts = {
                "loss": card.log_loss,
                "standard_error": card.standard_error,
                "prior": card.prior_log_loss,
                "seconds": card.seconds,
            }
        self._write(
            "member",
            member=name,
            outcome="done" if error is None else "failed",
            error=None if error is None else error[:_MOST_ERROR],
            **facts,
        )

    def _elapsed(self, since: float) -> float:
        return round(self._clock() - since, 1)

    def _write(self, kind: str, **fields: Any) -> None:
        if self._log is not None:
            self._log.write({"kind": kind, **fields})


class StackingRecorder:
    """The event log of a stacking; use as a context manager, and as the progress callback of the fits.

    Parameters
    ----------
    workspace
        Held by the caller.
    shown
        The caller's own callback.
    clock
        Seconds; a test gives its own.
    """

    def __init__(
        self, workspace: Workspace, shown: Event | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._log = RunLog(log_path(workspace))
        self._shown, self._clock = shown, clock
        self._task = TaskProgress(STACKING, enough=ENOUGH)
        self._last: float | None = None

    def __enter__(self) -> Self:
        self._log.write(
            {"kind": "ensemble", "outcome": "started", "pid": os.getpid(), "host": socket.gethostname()}
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.close()

    def __call__(self, done: float, total: float, text: str) -> None:
        """The fits are so far; ``text`` names the candidate."""
        if self._shown is not None:
            self._shown(STACKING, done, total, text)
        now = self._clock()
        self._task.move(done, total, text, now)
        running = now - (now if self._task.started is None else self._task.started)
        if self._last is None or now - self._last >= min(max(running / 4, 1.0), EVERY):
            self._last = now
            self._log.write(
                {
                    "kind": PROGRESS,
                    "what": STACKING,
                    "text": text,
                    "share": round(self._task.share, 4),
                    "seconds": round(running, 1),
                    "eta": _rounded(self._task.left(now)),
                }
            )

    def ended(self, *, choice: str, loss: float, seconds: float) -> None:
        """The ensemble is built."""
        self._log.write(
            {
                "kind": "ensemble",
                "outcome": "done",
                "choice": choice,
                "loss": round(loss, 6),
                "seconds": seconds,
            }
        )
        if self._shown is not None:
            self._shown(STACKING, 1, 1, f"{DONE}, log-loss {loss:.4f}")


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)


def _shortened(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:_MOST_ERROR]
