"""How much of a run is done and how long the rest will take, from its tasks' estimated and measured seconds.

The planner's seconds say how much each task weighs beside the others; what has run says how long a planned
second takes here. Pure: times come with the calls, so that a log gives the same answer as the run itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from ..artifacts.cards import fold_name
from ..backbones.progress_texts import CALIBRATING

PLANNED: Final = "[planned]"
STACKING: Final = "stacking"
"""the label of what combines the members; its texts name the candidate that is fitted"""
DONE: Final = "[done]"
FAILED: Final = "[failed]"
FAILED_ALONE: Final = f"{FAILED} alone"
"""of a fold without which its member goes on"""
LATE: Final = f"{DONE} stopped, out of time"
"""the end of a task in this run that is not the end of its work"""

_LABEL: Final = re.compile(r"(\S+) (?:fold (\d+)|(refit|averaged))\Z")
_LOSS: Final = re.compile(r"loss (-?\d+\.\d+|inf|nan)\b")
_MOST: Final = 0.99
"""the share of a task that has not said that it is done"""
ENOUGH: Final = 0.05
"""the share of a stacking that must be done before its pace tells anything: at first fits are at work on all
threads, and few have ended"""
FIT_SHARE: Final = 0.9
"""of a task's time that training takes, where nothing is known: what follows is prediction"""
LOADING: Final = "loading"
"""the text of a task's first event: it is at work, and nothing of it is counted yet"""
_CALIBRATION_SHARE: Final = 0.1
"""of a task's time that calibration takes where nothing is trained; of few battles it is more"""


def label_of(member: str, fold: int) -> str:
    """How a person names a member's fold, its model of all rows, or that of averaged weights."""
    return f"{member} {fold_name(fold) if fold < 0 else f'fold {fold}'}"


def member_and_fold(label: str) -> tuple[str, int | str | None]:
    """A task's label as member and fold: a number, ``refit``, ``averaged``; None for its preparation."""
    match = _LABEL.match(label)
    if match is None:
        return label, None
    return match[1], match[3] if match[2] is None else int(match[2])


def loss_of(text: str) -> float | None:
    """The training loss that a progress text holds."""
    match = _LOSS.search(text)
    return None if match is None else float(match[1])


def clock(seconds: float) -> str:
    """Seconds as a person says them: ``45 s``, ``3 min``, ``2 h 10 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


@dataclass
class TaskProgress:
    """One task: what it was planned with, and how far it is. Times are seconds of one clock."""

    label: str
    planned_seconds: float | None = None
    tokens: int | None = None
    fit_share: float = FIT_SHARE
    started: float | None = None
    share: float = 0.0
    """of its work that is done, by stages of training and prediction"""
    step: float = 0
    steps: float = 0
    loss: float | None = None
    """the last training loss, or in the end the log-loss of the fold's held-out rows"""
    seconds: float | None = None
    """how long it took, once it has ended"""
    enough: float = 0.0
    """the share that must be done before its pace tells how long the rest takes"""
    halted: bool = False
    """the time was over before it had ended"""
    fitted: float = 0.0
    """the share that fitting has of it, once it is seen to fit"""

    def move(self, done: float, total: float, text: str, now: float) -> None:
        """One event of progress. The share never falls, though each stage counts from zero."""
        if self.started is None:
            self.started = now
        self.step, self.steps = done, total
        part = min(max(done / total, 0.0), 1.0) if total > 0 else 0.0
        loss = loss_of(text)
        if loss is not None:
            self.loss, self.fitted = loss, self.fit_share
            share = self.fitted * part
        elif text == CALIBRATING:
            self.fitted = _CALIBRATION_SHARE
            share = self.fitted * part
        else:  # all of it, or what follows the fit
            share = self.fitted + (1 - self.fitted) * part
        self.share = max(self.share, min(share, _MOST))

    def left(self, now: float) -> float | None:
        """Seconds until it ends, by its own pace; None before `enough` of it is done."""
        if self.started is None or self.share <= self.enough or now <= self.started:
            return None
        return (now - self.started) * (1 - self.share) / self.share


@dataclass
class RunProgress:
    """The tasks of a run.

    Parameters
    ----------
    workers
        Tasks that run side by side.
    """

    workers: int = 1
    tasks: dict[str, TaskProgress] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    """members that failed; what still ends of them counts no more"""

    def plan(self, label: str, seconds: float | None, tokens: int | None = None) -> TaskProgress:
        """A task that is expected, with its estimated seconds."""
        task = self.tasks.setdefault(label, TaskProgress(label))
        task.planned_seconds = seconds if seconds else task.planned_seconds
        task.tokens = tokens if tokens else task.tokens
        return task

    def move(self, label: str, done: float, total: float, text: str, now: float) -> TaskProgress:
        """One event of progress of a task, or of a member's preparation, which is no task."""
        task = self._task(label)
        task.move(done, total, text, now)
        return task

    def _task(self, label: str) -> TaskProgress:
        member, fold = member_and_fold(label)
        if fold is None or (member in self.dropped and label not in self.tasks):
            return TaskProgress(label)
        return self.tasks.setdefault(label, TaskProgress(label))

    def end(self, label: str, now: float, loss: float | None = None) -> TaskProgress:
        """A task is over, well or not."""
        task = self._task(label)
        task.seconds = 0.0 if task.started is None else max(now - task.started, 0.0)
        task.share, task.loss = 1.0, task.loss if loss is None else loss
        return task

    def halt(self, label: str) -> TaskProgress:
        """The time is over before the task's end: what it has done is kept, and no more of it is run."""
        task = self._task(label)
        task.halted = True
        return task

    def drop(self, member: str) -> None:
        """The member's tasks that have not ended are not run any more."""
        self.dropped.add(member)
        gone = [
            label
            for label, task in self.tasks.items()
            if member_and_fold(label)[0] == member and task.seconds is None
        ]
        for label in gone:
            del self.tasks[label]

    @property
    def done(self) -> int:
        """Tasks that have ended."""
        return sum(task.seconds is not None for task in self.tasks.values())

    def running(self) -> list[TaskProgress]:
        """Tasks that have begun and not ended."""
        going = (t for t in self.tasks.values() if t.started is not None and not t.halted)
        return [t for t in going if t.seconds is None]

    def share(self) -> float:
        """Of the run's planned work, what is done; 1 where there is none."""
        weights = self._weights()
        total = sum(weights.values())
        return sum(weights[t.label] * t.share for t in self.tasks.values()) / total if total else 1.0

    def left(self, now: float) -> float | None:
        """Seconds until the last task ends; None while nothing is known.

        A planned second of a member takes as long as its planned seconds took so far, or else as the run's.
        """
        weights = self._weights()
        planned = all(task.planned_seconds for task in self.tasks.values())
        spent: dict[str, list[float]] = {}
        for task in self.tasks.values():
            if task.started is not None and task.share:
                took = task.seconds if task.seconds is not None else now - task.started
                if took <= 0:
                    continue
                pair = spent.setdefault(member_and_fold(task.label)[0], [0.0, 0.0])
                pair[0] += took
                pair[1] += weights[task.label] * task.share
        work = sum(done for _, done in spent.values())
        if not work and not planned:
            return None
        pace = sum(took for took, _ in spent.values()) / work if work else 1.0
        rest = []
        for task in self.tasks.values():
            took, done = spent.get(member_and_fold(task.label)[0], (0.0, 0.0))
            own = took / done if done else pace
            rest.append(0.0 if task.halted else weights[task.label] * (1 - task.share) * own)
        return max(sum(rest) / max(self.workers, 1), *rest, 0.0) if rest else 0.0

    def _weights(self) -> dict[str, float]:
        """Each task's planned seconds; where they are not known, the mean of those that are, or 1."""
        known = [task.planned_seconds for task in self.tasks.values() if task.planned_seconds]
        usual = sum(known) / len(known) if known else 1.0
        return {label: task.planned_seconds or usual for label, task in self.tasks.items()}
