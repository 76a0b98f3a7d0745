"""The verb status: what a run in another terminal is doing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from .runner import Result, WorkspaceOption

if TYPE_CHECKING:
    from ..pipeline.run_status import MemberStatus, RunStatus, StackingStatus, TaskStatus

_STATES: Final = {
    "running": "running",
    "done": "ended well",
    "partly": "ended; a member failed",
    "late": "out of time; the same command goes on",
    "failed": "ended with an error",
    "interrupted": "interrupted; the same command goes on",
    "stopped": "killed; the same command goes on",
    "unknown": "on another machine; whether it still runs cannot be seen from here",
    "none": "no run has left a log; what is there is shown",
}

_MEMBERS: Final = {
    "external": "another tool's predictions",
    "not there": "not there: it never began, or was removed",
}


def status(workspace: WorkspaceOption = Path()) -> Result:
    """Show a run from another terminal: done, losses, time left."""
    from ..pipeline.run_status import run_status

    found = run_status(workspace)
    line = summary_line(found)
    return Result({**found.facts(), "summary": line}, status_text(found, line))


def status_text(found: RunStatus, line: str) -> str:
    """The status for people; its last line is the one to paste."""
    from .tables import facts_table

    who = "" if found.pid is None else f", process {found.pid} on {found.host}"
    since = "" if found.since is None else f", since {found.since[:19].replace('T', ' ')} UTC"
    lines = [f"{found.what or found.workspace}: {_STATES.get(found.state, found.state)}{who}{since}"]
    if found.error:
        lines.append(f"error: {found.error}")
    if found.members:
        lines.append(facts_table([(one.name, _member_words(one)) for one in found.members], title="members"))
    lines += [f"now: {_task_words(one)}" for one in found.running]
    if found.stacking is not None:
        lines.append(f"now: {_stacking_words(found.stacking)}")
    lines += found.notes
    if found.ensemble is not None:
        lines.append(
            f"ensemble of {len(found.ensemble['members'])} members: log-loss "
            f"{found.ensemble['log_loss']:.4f}, {found.ensemble['choice']}"
        )
    if found.submission is not None:
        lines.append(f"{found.submission}: a valid submission is there")
    return "\n".join([*lines, "", line])


def summary_line(found: RunStatus) -> str:
    """The status in one line."""
    from ..pipeline.run_progress import clock

    parts = [f"arena-ensemble {found.what or 'workspace'} {found.state}"]
    if found.tasks:
        parts.append(f"{found.tasks_done} of {found.tasks} tasks ({found.share:.0%})")
    if found.stacking is not None:
        parts.append(f"stacking {found.stacking.share:.0%}")
    parts += [f"{one.name} {one.log_loss:.4f}" for one in found.members if one.log_loss is not None]
    parts += [f"{one.name} failed" for one in found.members if one.state == "failed"]
    if found.ensemble is not None:
        parts.append(f"ensemble {found.ensemble['log_loss']:.4f}")
    if found.left is not None:
        parts.append(f"about {clock(found.left)} left")
    return ", ".join(parts)


def _member_words(one: MemberStatus) -> str:
    folds = "" if one.folds is None else f"{one.folds_done} of {one.folds} folds"
    words = [_MEMBERS.get(one.state, one.state), folds if one.state != "not there" else ""]
    if one.log_loss is not None:
        words.append(f"log-loss {one.log_loss:.4f} ± {one.standard_error or 0.0:.4f}")
        words.append(f"prior {one.prior_log_loss or 0.0:.4f}")
    elif one.fold_losses:
        losses = " ".join(f"{loss:.4f}" for _, loss in sorted(one.fold_losses.items()))
        words.append(f"log-loss by fold {losses}")
    if one.error:
        words.append(one.error)
    return ", ".join(word for word in words if word)


def _task_words(one: TaskStatus) -> str:
    from ..pipeline.run_progress import clock

    loss = "" if one.loss is None else f", training loss {one.loss:.3f}"
    left = "" if one.left is None else f", about {clock(one.left)} left"
    return f"{one.label}, {one.step:,.0f} of {one.steps:,.0f}{loss}, {clock(one.seconds)} so far{left}"


def _stacking_words(one: StackingStatus) -> str:
    from ..pipeline.run_progress import clock

    left = "" if one.left is None else f", about {clock(one.left)} left"
    return f"stacking, {one.share:.0%}, {one.text}, {clock(one.seconds)} so far{left}"
