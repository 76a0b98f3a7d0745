"""The event log of a workspace, read again: its last run's progress, losses and errors."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..artifacts.run_log import PROGRESS
from .run_progress import RunProgress, label_of


@dataclass
class Replay:
    """What the lines of one run add up to."""

    progress: RunProgress = field(default_factory=RunProgress)
    losses: dict[str, dict[str, float]] = field(default_factory=dict)
    """member → fold → log-loss of the fold's held-out rows, nats"""
    errors: dict[str, str] = field(default_factory=dict)
    """member → its last error"""
    preparing: str | None = None
    """the member whose token ids are made, before its folds"""


def last_run(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of the last run, its first one first."""
    starts = [
        k for k, one in enumerate(records) if one.get("kind") == "run" and one.get("outcome") == "started"
    ]
    lines = records[starts[-1] :] if starts else []
    return [line for line in lines if moment(line) is not None]


def end_of(run: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The line with which a run ended; empty where it has not."""
    ends = (
        one for one in run if one.get("kind") == "run" and one.get("outcome") not in ("started", "running")
    )
    return next(ends, {})


def moment(record: Mapping[str, Any]) -> float | None:
    """When a line was written, seconds since 1970; None of a line that does not say."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        return datetime.fromisoformat(record["time"]).timestamp()
    return None


def replay(run: Sequence[dict[str, Any]]) -> Replay:
    """A run's lines, its first one first, added up."""
    found = Replay()
    progress, losses, errors = found.progress, found.losses, found.errors
    for one in run:
        kind, outcome, member, fold = (one.get(name) for name in ("kind", "outcome", "member", "fold"))
        now = moment(one) or 0.0
        if kind == "run" and isinstance(one.get("jobs"), int):
            progress.workers = one["jobs"]
        if not isinstance(member, str):
            continue
        if kind == "member" and outcome == "failed":
            errors[member] = str(one.get("error"))
            progress.drop(member)
        if kind == PROGRESS:
            found.preparing = member if fold is None else None
        if fold is None:
            continue
        label = f"{member} {fold}" if isinstance(fold, str) else label_of(member, fold)
        if kind == "task" and outcome == "planned":
            progress.plan(label, number(one, "seconds"), one.get("tokens"))
        elif kind == PROGRESS:
            task = progress.move(
                label, number(one, "step") or 0, number(one, "steps") or 0, str(one.get("text", "")), now
            )
            task.started = now - (number(one, "seconds") or 0.0)
            task.share = max(task.share, number(one, "share") or 0.0)
            task.loss = task.loss if (loss := number(one, "loss")) is None else loss
        elif kind == "task" and outcome == "late":
            progress.halt(label)
        elif kind == "task" and outcome in ("done", "failed"):
            task = progress.end(label, now, number(one, "loss"))
            task.seconds = number(one, "seconds") or 0.0
            if outcome == "done" and task.loss is not None and "loss" in one:
                losses.setdefault(member, {})[str(fold)] = task.loss
            elif outcome == "failed" and not one.get("alone"):
                errors[member] = str(one.get("error"))
                progress.drop(member)
    return found


def number(record: Mapping[str, Any], name: str) -> float | None:
    """A field that is a number; else None."""
    value = record.get(name)
    return float(value) if isinstance(value, int | float) else None
