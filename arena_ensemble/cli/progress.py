"""Progress for people: a bar for the run, one per member and one per fold at work; plain lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..pipeline.run_progress import (
    DONE,
    ENOUGH,
    FAILED,
    FAILED_ALONE,
    LATE,
    PLANNED,
    STACKING,
    RunProgress,
    TaskProgress,
    clock,
    loss_of,
    member_and_fold,
)

log = logging.getLogger(__name__)
_EVERY: Final = 30.0
"""seconds between two log lines"""
_QUIET: Final = (60.0, 300.0)
"""seconds after which a fold at work is heard of where there is no terminal: at first, and in a long run"""


class Bars:
    """Shows the events of a run or of a stacking; use as a context manager.

    On a terminal: bars on stderr, their lengths and times left by planned work. Elsewhere: a log line per
    finished fold with its loss, what is done of the work and the time left, and now and then one of a fold
    at work. Stacking has one bar, with the name of the candidate that is fitted.
    """

    def __init__(
        self, console: Console | None = None, *, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        console = console or Console(stderr=True)
        self._live, self._seconds = console.is_terminal, seconds
        self._progress = Progress(
            TextColumn("{task.description:<26}"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            disable=not self._live,
        )
        self._run = RunProgress()
        self._losses: dict[str, list[float]] = {}
        self._bars: dict[str, TaskID] = {}
        self._began = self._spoken = seconds()
        self._stacking = TaskProgress(STACKING, enough=ENOUGH)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, label: str, done: float, total: float, text: str) -> None:
        """One event: ``label`` has done ``done`` of ``total``; text FAILED, or DONE and more, ends it."""
        now = self._seconds()
        if label == STACKING:
            self._stacked(done, total, text, now)
        elif text == PLANNED:
            self._bar("", "all folds")
            if label:
                self._run.plan(label, total or None, round(done) or None)
        elif text.startswith((DONE, FAILED)):
            self._end(label, text, now)
        else:
            task = self._run.move(label, done, total, text, now)
            self._run.workers = max(self._run.workers, len(self._run.running()))
            self._show(label, task, text, now)

    def _stacked(self, done: float, total: float, text: str, now: float) -> None:
        """The one bar of what combines the members."""
        task = self._stacking
        if text.startswith(DONE):
            if not self._live:
                took = now - (now if task.started is None else task.started)
                log.info("stacking: done in %s%s", clock(took), text.removeprefix(DONE))
            return
        task.move(done, total, text, now)
        left = task.left(now)
        self._update(STACKING, STACKING, task.share, text, _left(left))
        if not self._live and now - self._spoken >= _EVERY:
            self._spoken = now
            rest = "" if left is None else f", about {clock(left)} left"
            log.info("stacking: %.0f %%, %s%s", 100 * task.share, text, rest)

    def _end(self, label: str, text: str, now: float) -> None:
        member = member_and_fold(label)[0]
        loss = loss_of(text)
        late, again = text == LATE, text == FAILED and member in self._run.dropped
        task = self._run.halt(label) if late else self._run.end(label, now, loss)
        if loss is not None:
            self._losses.setdefault(member, []).append(loss)
        if text == FAILED:
            self._run.drop(member)
        failures = {FAILED: "FAILED", FAILED_ALONE: "FAILED, its member goes on without it"}
        words = failures.get(text) or text.removeprefix(DONE).strip() or "done"
        if label in self._bars:
            self._progress.remove_task(self._bars.pop(label))
        mine = [task for name, task in self._run.tasks.items() if member_and_fold(name)[0] == member]
        if all(task.seconds is not None or task.halted for task in mine) and member in self._bars:
            self._progress.remove_task(self._bars.pop(member))
        if self._live:
            self._levels(member, now)
        elif not again:
            self._spoken = now
            words += f", {task.share:.0%} of it done" if late else f" ({self._standing(now)})"
            log.info("%s: %s", label, words)

    def _show(self, label: str, task: TaskProgress, text: str, now: float) -> None:
        member, fold = member_and_fold(label)
        left = _left(task.left(now))
        if self._live:
            words = text if fold is None or task.loss is None else f"loss {task.loss:.3f}"
            self._levels(member, now)
            self._update(
                label, "    " + label if fold is not None else "  " + label, task.share, words[:40], left
            )
        elif fold is not None and now - self._spoken >= min(max(now - self._began, _QUIET[0]), _QUIET[1]):
            self._spoken = now
            loss = f" {text}" if task.loss is None else f", training loss {task.loss:.3f}"
            log.info("%s: %.0f %%%s (%s)", label, 100 * task.share, loss, self._standing(now))

    def _levels(self, member: str, now: float) -> None:
        """The bars above a fold's own: the run's and the member's."""
        run = self._run
        self._update("", "all folds", run.share(), f"{run.done} of {len(run.tasks)}", _left(run.left(now)))
        mine = {name: task for name, task in run.tasks.items() if member_and_fold(name)[0] == member}
        if len(mine) < 2 or all(task.seconds is not None for task in mine.values()):
            return
        part = RunProgress(run.workers, mine)
        losses = self._losses.get(member, [])
        words = f"{part.done} of {len(mine)}"
        words += f", log-loss {sum(losses) / len(losses):.4f}" if losses else ""
        self._update(member, "  " + member, part.share(), words, _left(part.left(now)))

    def _standing(self, now: float) -> str:
        run = self._run
        if run.done == len(run.tasks):  # what comes then, such as stacking, has a bar and lines of its own
            return f"{run.done} of {run.done}"
        left = run.left(now)
        words = f"{run.done} of {len(run.tasks)}, {run.share():.0%} of the work"
        return words if left is None else f"{words}, about {clock(left)} left"

    def _bar(self, key: str, description: str) -> TaskID:
        if key not in self._bars:
            self._bars[key] = self._progress.add_task(description, total=1.0, text="", left="")
        return self._bars[key]

    def _update(self, key: str, description: str, share: float, text: str, left: str) -> None:
        self._progress.update(self._bar(key, description), completed=share, text=text, left=left)


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"{clock(seconds)} left"


class Count:
    """A bar for a number of equal steps on a terminal; elsewhere a log line now and then."""

    def __init__(self, what: str) -> None:
        console = Console(stderr=True)
        self._live, self._what, self._last = console.is_terminal, what, time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f} of {task.total:.0f}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not self._live,
        )
        self._task = self._progress.add_task(what, total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, done: int, total: int) -> None:
        """``done`` of ``total`` steps are behind."""
        self._progress.update(self._task, completed=done, total=total)
        now = time.monotonic()
        if not self._live and (now - self._last > _EVERY or done == total):
            self._last = now
            log.info("%d of %d %s", done, total, self._what)
