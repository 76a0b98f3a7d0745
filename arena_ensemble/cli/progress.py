"""Progress for people: one bar for all tasks and one per running task; silent when not a terminal."""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..pipeline.executors import DONE, FAILED, PLANNED
from ..pipeline.run_progress import clock

__all__ = ["Bars", "Count", "clock"]

log = logging.getLogger(__name__)
_EVERY: Final = 30.0
"""seconds between two log lines"""


class Bars:
    """Shows the events of :func:`arena_ensemble.cross_fit`; use as a context manager.

    On a terminal: bars on stderr. Elsewhere: one log line per finished task, with the time left.
    """

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._live = console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not self._live,
        )
        self._total, self._finished, self._start = 0, 0, time.monotonic()
        self._overall = self._progress.add_task("all folds", total=1, text="")
        self._running: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, label: str, done: float, total: float, text: str) -> None:
        """One event: ``label`` has done ``done`` of ``total``; text FAILED, or DONE and more, ends it."""
        if text == PLANNED:
            if label:
                return
            self._total, self._start = round(total), time.monotonic()
            self._progress.update(self._overall, total=max(total, 1))
        elif text.startswith((DONE, FAILED)):
            self._end(label, text.removeprefix(DONE).strip() or "done" if text != FAILED else "FAILED")
        elif self._live:
            if label not in self._running:
                self._running[label] = self._progress.add_task("  " + label, total=total, text="")
            self._progress.update(self._running[label], completed=done, total=total, text=text[:40])

    def _end(self, label: str, text: str) -> None:
        self._finished += 1
        if label in self._running:
            self._progress.remove_task(self._running.pop(label))
        self._progress.update(
            self._overall, completed=self._finished, text=f"{self._finished} of {self._total}"
        )
        elapsed = time.monotonic() - self._start
        left = elapsed / self._finished * max(self._total - self._finished, 0)
        if not self._live:
            log.info(
                "%s: %s (%d of %d, about %s left)", label, text, self._finished, self._total, clock(left)
            )


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
