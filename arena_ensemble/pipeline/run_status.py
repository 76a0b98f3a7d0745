"""What a workspace's run is doing, from its event log and its cards; nothing is written and no lock is taken.

The log says what runs and how far it is; the cards say what is finished, whoever finished it. Nothing that
predicts or combines is imported: a look from another terminal takes no core from the run.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ..artifacts.cards import CARD, EnsembleCard, MemberCard, read_card
from ..artifacts.files import read_json
from ..artifacts.run_log import PROGRESS, log_path, read_log
from ..artifacts.workspace import ENSEMBLE, FOLDS_CARD, SUBMISSION_NOTE, Workspace, check_name
from ..errors import ArenaError, InputError
from .run_progress import STACKING, RunProgress, TaskProgress, label_of

RUNNING: Final = "running"
STOPPED: Final = "stopped"
"""its process is gone and the log does not say how it ended: it was killed"""
UNKNOWN: Final = "unknown"
"""it runs on another machine, if it still runs"""


@dataclass(frozen=True)
class TaskStatus:
    """A task at work; times in seconds."""

    label: str
    step: float
    steps: float
    share: float
    loss: float | None
    """the last training loss"""
    seconds: float
    """since it began, up to the last line of the log"""
    left: float | None


@dataclass(frozen=True)
class MemberStatus:
    """One member: ``done``, ``failed``, ``running``, ``preparing`` (its token ids) or ``waiting``.

    ``unfinished`` is what was running in a run that has ended.
    """

    name: str
    state: str
    folds_done: int
    folds: int | None
    """None where nothing is known of them"""
    fold_losses: dict[str, float]
    """fold → log-loss of its held-out rows, as they came"""
    log_loss: float | None = None
    standard_error: float | None = None
    prior_log_loss: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class StackingStatus:
    """A stacking at work."""

    since: str | None
    """UTC"""
    text: str
    """the candidate that is fitted, and which fit of how many"""
    share: float
    """of the fits' planned work"""
    seconds: float
    left: float | None


@dataclass(frozen=True)
class RunStatus:
    """A workspace's last run, and what is there of members, ensemble and submission."""

    workspace: str
    state: str
    """``running``, ``done``, ``partly``, ``late``, ``failed``, ``interrupted``, ``stopped``, ``unknown``; or
    ``none`` where no run left a log"""
    what: str | None
    pid: int | None
    host: str | None
    since: str | None
    """UTC"""
    heard: str | None
    """when the log was last written, UTC"""
    tasks_done: int
    tasks: int
    share: float
    """of the run's planned work, what is done"""
    left: float | None
    """seconds until its last task ends, from the log's last line on"""
    members: list[MemberStatus]
    running: list[TaskStatus]
    ensemble: dict[str, Any] | None
    submission: str | None
    error: str | None
    notes: list[str] = field(default_factory=list)
    stacking: StackingStatus | None = None

    def facts(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def run_status(workspace: str | Path | Workspace) -> RunStatus:
    """The status of a workspace.

    Raises
    ------
    InputError
        There is no such folder, or no run and no member in it.
    """
    place = Workspace.of(workspace)
    if not place.root.is_dir():
        raise InputError(f"{place.root} is no folder; give the --workspace of a run")
    records = read_log(log_path(place))
    run = _last_run(records)
    if not run and not place.member_names():
        raise InputError(
            f"{place.root} holds no run and no member; start one with `arena-ensemble oof --data FILE "
            f"--workspace {place.root}`, or give another --workspace"
        )
    progress, losses, errors, preparing = _replayed(run)
    start, end = (run[0] if run else {}), _end_of(run)
    last = (_moment(run[-1]) or 0.0) if run else 0.0
    stacking, notes = _stacking(place, records)
    state = _state(place, start, end)
    at_work = state in (RUNNING, UNKNOWN)
    members = _members(place, start, progress, losses, errors, preparing if at_work else None, notes)
    if not at_work:
        members = [replace(one, state="unfinished") if one.state == RUNNING else one for one in members]
    going = [_task(task, last) for task in progress.running()] if at_work else []
    left = progress.left(last) if at_work else None
    left = left if stacking is None else stacking.left
    return RunStatus(
        workspace=str(place.root),
        state=state if stacking is None else RUNNING,
        what=start.get("what") if stacking is None else STACKING,
        pid=start.get("pid"),
        host=start.get("host"),
        since=start.get("time"),
        heard=run[-1].get("time") if run else None,
        tasks_done=progress.done,
        tasks=len(progress.tasks),
        share=round(progress.share(), 4),
        left=left,
        members=members,
        running=going,
        ensemble=_ensemble(place, notes),
        submission=_submission(place),
        error=end.get("error"),
        notes=notes,
        stacking=stacking,
    )


def _last_run(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of the last run, its first one first."""
    starts = [
        k for k, one in enumerate(records) if one.get("kind") == "run" and one.get("outcome") == "started"
    ]
    lines = records[starts[-1] :] if starts else []
    return [line for line in lines if _moment(line) is not None]


def _end_of(run: Sequence[dict[str, Any]]) -> dict[str, Any]:
    ends = (one for one in run if one.get("kind") == "run" and one.get("outcome") not in ("started", RUNNING))
    return next(ends, {})


def _moment(record: Mapping[str, Any]) -> float | None:
    with contextlib.suppress(KeyError, TypeError, ValueError):
        return datetime.fromisoformat(record["time"]).timestamp()
    return None


def _replayed(
    run: Sequence[dict[str, Any]],
) -> tuple[RunProgress, dict[str, dict[str, float]], dict[str, str], str | None]:
    """The run's progress by its lines; members' losses by fold; their errors; who is being prepared."""
    preparing = None
    progress = RunProgress()
    losses: dict[str, dict[str, float]] = {}
    errors: dict[str, str] = {}
    for one in run:
        kind, outcome, member, fold = (one.get(name) for name in ("kind", "outcome", "member", "fold"))
        now = _moment(one) or 0.0
        if kind == "run" and isinstance(one.get("jobs"), int):
            progress.workers = one["jobs"]
        if not isinstance(member, str):
            continue
        if kind == "member" and outcome == "failed":
            errors[member] = str(one.get("error"))
            progress.drop(member)
        if kind == PROGRESS:
            preparing = member if fold is None else None
        if fold is None:
            continue
        label = f"{member} {fold}" if isinstance(fold, str) else label_of(member, fold)
        if kind == "task" and outcome == "planned":
            progress.plan(label, _number(one, "seconds"), one.get("tokens"))
        elif kind == PROGRESS:
            task = progress.move(
                label, _number(one, "step") or 0, _number(one, "steps") or 0, str(one.get("text", "")), now
            )
            task.started = now - (_number(one, "seconds") or 0.0)
            task.share = max(task.share, _number(one, "share") or 0.0)
            task.loss = task.loss if (loss := _number(one, "loss")) is None else loss
        elif kind == "task" and outcome in ("done", "failed", "late"):
            task = progress.end(label, now, _number(one, "loss"))
            task.seconds = _number(one, "seconds") or 0.0
            if outcome == "done" and task.loss is not None and "loss" in one:
                losses.setdefault(member, {})[str(fold)] = task.loss
            elif outcome == "failed":
                errors[member] = str(one.get("error"))
                progress.drop(member)
    return progress, losses, errors, preparing


def _number(record: Mapping[str, Any], name: str) -> float | None:
    value = record.get(name)
    return float(value) if isinstance(value, int | float) else None


def _state(place: Workspace, start: Mapping[str, Any], end: Mapping[str, Any]) -> str:
    if not start:
        return "none"
    if end:
        return str(end.get("outcome"))
    if start.get("host") != socket.gethostname():
        return UNKNOWN
    return RUNNING if _is_alive(start.get("pid")) and place.is_held() is not False else STOPPED


def _is_alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _task(task: TaskProgress, now: float) -> TaskStatus:
    return TaskStatus(
        task.label,
        task.step,
        task.steps,
        round(task.share, 4),
        task.loss,
        round(now - (task.started or now), 1),
        task.left(now),
    )


def _members(
    place: Workspace,
    start: Mapping[str, Any],
    progress: RunProgress,
    losses: Mapping[str, dict[str, float]],
    errors: Mapping[str, str],
    preparing: str | None,
    notes: list[str],
) -> list[MemberStatus]:
    named = [name for name in start.get("members", []) if isinstance(name, str)]
    found, folds = [], _folds(place)
    for name in [*named, *(other for other in place.member_names() if other not in named)]:
        card = None
        try:
            card = read_card(place.oof / check_name(name), MemberCard, remedy=_anew(name))
        except ArenaError as error:
            notes.append(str(error))
            continue
        tasks = [task for label, task in progress.tasks.items() if label.rpartition(" fold ")[0] == name]
        there = len(list((place.models / name).glob(f"fold-[0-9]*/{CARD}")))
        ended = sum(task.seconds is not None for task in tasks)
        done = max(there, ended) if start.get("what") == "training" else len(tasks) and ended
        if name in errors:
            state = "failed"
        elif card is not None and all(task.seconds is not None for task in tasks):
            state = "done"
        else:
            begun = any(task.started is not None and task.seconds is None for task in tasks)
            state = RUNNING if begun else "preparing" if name == preparing else "waiting"
        scores: tuple[float | None, float | None, float | None] = (None, None, None)
        if card is not None and state == "done":
            scores = (card.log_loss, card.standard_error, card.prior_log_loss)
        found.append(MemberStatus(name, state, done, folds, losses.get(name, {}), *scores, errors.get(name)))
    return found


def _anew(name: str) -> str:
    return f"make the member anew with --retrain {name}, or import it again"


def _folds(place: Workspace) -> int | None:
    """Folds of the workspace's fold file."""
    try:
        count = read_json(place.oof / FOLDS_CARD).get("n_folds")
    except (ArenaError, OSError):
        return None
    return count if isinstance(count, int) else None


def _stacking(place: Workspace, records: Sequence[dict[str, Any]]) -> tuple[StackingStatus | None, list[str]]:
    """How far the last stacking is, where it is at work; or a note that it began and did not end."""
    places = [k for k, one in enumerate(records) if one.get("kind") == "ensemble"]
    last: dict[str, Any] = records[places[-1]] if places else {}
    if last.get("outcome") != "started":
        return None, []
    if not place.is_held():
        return None, ["stacking was begun and did not end; run the same command again, the members are kept"]
    lines = [one for one in records[places[-1] :] if one.get("what") == STACKING]
    now = lines[-1] if lines else {}
    text = str(now.get("text", "no fit has ended yet"))
    share, seconds = _number(now, "share") or 0.0, _number(now, "seconds") or 0.0
    return StackingStatus(last.get("time"), text, share, seconds, _number(now, "eta")), []


def _ensemble(place: Workspace, notes: list[str]) -> dict[str, Any] | None:
    try:
        card = read_card(place.oof / ENSEMBLE, EnsembleCard)
    except ArenaError as error:
        notes.append(str(error))
        return None
    if card is None:
        return None
    return {"members": card.members, "choice": card.choice, "log_loss": card.log_loss, "rows": card.rows}


def _submission(place: Workspace) -> str | None:
    path = place.root / "submission.csv"
    return str(path) if path.is_file() and (place.oof / SUBMISSION_NOTE).is_file() else None
