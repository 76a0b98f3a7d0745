"""What a workspace's run is doing, from its event log and its cards; nothing is written and no lock is taken.

The log says what runs and how far it is; the cards say what is finished, whoever finished it. Nothing that
predicts or combines is imported: a look from another terminal takes no core from the run.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from ..artifacts.cards import CARD, EnsembleCard, MemberCard, read_card
from ..artifacts.files import read_json
from ..artifacts.run_log import log_path, read_log
from ..artifacts.workspace import ENSEMBLE, FOLDS_CARD, SUBMISSION_NOTE, Workspace, check_name
from ..errors import ArenaError, InputError
from .log_replay import Replay, end_of, last_run, moment, number, replay
from .run_progress import STACKING, TaskProgress

RUNNING: Final = "running"
DONE: Final = "done"
FAILED: Final = "failed"
UNFINISHED: Final = "unfinished"
EXTERNAL: Final = "external"
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

    In a run that has ended, ``unfinished`` is what is there in part and ``not there`` what never began or was
    removed since. ``external`` predictions are another tool's.
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
    named: list[str] = field(default_factory=list)
    """members of the last run; others of the workspace may stand beside them"""

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
    run = last_run(records)
    if not run and not place.member_names():
        raise InputError(
            f"{place.root} holds no run and no member; start one with `arena-ensemble oof --data FILE "
            f"--workspace {place.root}`, or give another --workspace"
        )
    seen = replay(run)
    start, end = (run[0] if run else {}), end_of(run)
    last = (moment(run[-1]) or 0.0) if run else 0.0
    stacking, notes = _stacking(place, records)
    state = _state(place, start, end)
    at_work = state in (RUNNING, UNKNOWN)
    members = _members(place, start, seen, at_work, notes)
    going = [_task(task, last) for task in seen.progress.running()] if at_work else []
    left = seen.progress.left(last) if at_work else None
    left = left if stacking is None else stacking.left
    return RunStatus(
        workspace=str(place.root),
        state=state if stacking is None else RUNNING,
        what=start.get("what") if stacking is None else STACKING,
        pid=start.get("pid"),
        host=start.get("host"),
        since=start.get("time"),
        heard=run[-1].get("time") if run else None,
        tasks_done=seen.progress.done,
        tasks=len(seen.progress.tasks),
        share=round(seen.progress.share(), 4),
        left=left,
        members=members,
        running=going,
        ensemble=_ensemble(place, notes),
        submission=_submission(place),
        error=end.get("error"),
        notes=notes,
        stacking=stacking,
        named=_named(start),
    )


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
    place: Workspace, start: Mapping[str, Any], seen: Replay, at_work: bool, notes: list[str]
) -> list[MemberStatus]:
    """The members of the last run, in its order, and then all others that lie in the workspace."""
    named = _named(start)
    found, folds, there = [], _folds(place), place.member_names()
    for name in [*named, *(other for other in there if other not in named)]:
        card = None
        try:
            card = read_card(place.oof / check_name(name), MemberCard, remedy=_anew(name))
        except ArenaError as error:
            notes.append(str(error))
            continue
        tasks = [task for label, task in seen.progress.tasks.items() if label.rpartition(" fold ")[0] == name]
        fitted = len(list((place.models / name).glob(f"fold-[0-9]*/{CARD}")))
        ended = sum(task.seconds is not None for task in tasks)
        predicts = bool(tasks) and start.get("what") != "training"
        whole = card is not None and ended == len(tasks)
        if name in seen.errors:
            state = FAILED
        elif card is not None and card.is_external:
            state = EXTERNAL
        elif whole:
            state = DONE
        elif any(task.started is not None and task.seconds is None for task in tasks):
            state = RUNNING if at_work else UNFINISHED
        elif at_work:
            state = "preparing" if name == seen.preparing else "waiting"
        else:
            state = UNFINISHED if fitted or name in there else "not there"
        scores: tuple[float | None, float | None, float | None] = (None, None, None)
        if card is not None and state in (DONE, EXTERNAL):
            scores = (card.log_loss, card.standard_error, card.prior_log_loss)
        known = None if state == EXTERNAL else folds
        done = ended if predicts else max(fitted, ended)
        losses = seen.losses.get(name, {})
        found.append(MemberStatus(name, state, done, known, losses, *scores, seen.errors.get(name)))
    return found


def _named(start: Mapping[str, Any]) -> list[str]:
    """The members of a run, by its first line."""
    return [name for name in start.get("members", []) if isinstance(name, str)]


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
    share, seconds = number(now, "share") or 0.0, number(now, "seconds") or 0.0
    return StackingStatus(last.get("time"), text, share, seconds, number(now, "eta")), []


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
