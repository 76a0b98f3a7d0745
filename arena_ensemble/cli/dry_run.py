"""``--dry-run`` of oof, stack and submission: the plan as a table; nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from ..errors import InputError
from . import options as o
from .executor_options import ExecutorOptions
from .runner import Result
from .training_arguments import training_arguments

if TYPE_CHECKING:
    from ..pipeline.dry_run import RunPlan, TaskPlan


def dry_run(
    data: Path,
    test: Path | None,
    training: o.TrainingOptions,
    place: ExecutorOptions,
    sample_submission: Path | None = None,
    *,
    truth: Path | None = None,
    stacks: bool = True,
) -> Result:
    """The plan of a verb that trains.

    Raises
    ------
    InputError
        The tasks would run on a cluster, of which nothing is known here.
    """
    if place.chosen(training.jobs) is not None:
        raise InputError("--executor: --dry-run plans for this machine alone; leave one of them out")
    from ..pipeline.dry_run import plan_run

    plan = plan_run(
        data,
        o.names(training.models) or None,
        test=test,
        sample_submission=sample_submission,
        truth=truth,
        **training_arguments(training),
    )
    return Result(plan.facts(), _text(plan, test, stacks=stacks))


def _text(plan: RunPlan, test: Path | None, *, stacks: bool) -> str:
    from ..pipeline.run_progress import clock
    from .tables import rendered

    title = (
        f"ESTIMATES, nothing is run or written: {plan.battles:,} battles, {plan.folds} folds"
        f"{f', {plan.test:,} to predict' if plan.test else ''}; {plan.machine}, {plan.workers} side by side"
    )
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    table.add_column("in this order", no_wrap=True)
    table.add_column("folds left", no_wrap=True)
    table.add_column("trained", justify="right", no_wrap=True)
    table.add_column("left to do", no_wrap=True)
    for name in ("tokens", "a fold", "memory", "starts", "ends"):
        table.add_column(name, justify="right", no_wrap=True)
    members = list(dict.fromkeys(one.member for one in plan.tasks if one.start is not None))
    members += [name for name in plan.members if name not in members]
    for name in members:
        table.add_row(*(Text(cell) for cell in _cells([one for one in plan.tasks if one.member == name])))
    lines = [rendered(table)]
    lines += _kept(plan, test)
    lines += [f"{name}: imported, nothing to train" for name in plan.external]
    left = [one for one in plan.tasks if one.start is not None]
    if left:
        tokens = sum(one.tokens or 0 for one in left)
        lines.append(
            f"{len(left)} of {len(plan.tasks)} tasks are left: about {tokens / 1e6:,.1f} million tokens, "
            f"{clock(plan.makespan)} until the last one ends"
        )
    else:
        lines.append("nothing is left to train or to predict")
    if stacks and plan.stacked:
        lines.append("the ensemble of these members is there: nothing is left to combine")
    elif stacks:
        lines.append(f"then stacking, about {clock(plan.stack_seconds)}")
    return "\n".join([*lines, *plan.notes])


def _cells(tasks: list[TaskPlan]) -> list[str]:
    from ..pipeline.run_progress import clock

    left = [one for one in tasks if one.start is not None]
    trained = f"{sum(_is_trained(one) for one in tasks)} of {len(tasks)}"
    first = (left or tasks)[0]
    if not left:
        return [first.member, "", trained, "nothing", "", "", "", "", ""]
    known = first.seconds is not None
    return [
        first.member,
        ", ".join(one.fold for one in left),
        trained,
        _work(left),
        f"{sum(one.tokens or 0 for one in left) / 1e6:,.1f} M" if known else "?",
        clock(first.seconds or 0.0) if known else "?",
        f"{(first.memory or 0) / 1e9:.1f} GB{'' if first.fits else ' too much'}" if known else "?",
        clock(min(one.start or 0.0 for one in left)),
        clock(max(one.end or 0.0 for one in left)),
    ]


def _is_trained(task: TaskPlan) -> bool:
    return "train" not in task.left


def _work(tasks: list[TaskPlan]) -> str:
    """What is left of a member's tasks, in words."""
    begun = sum(one.state == "begun" for one in tasks)
    words = []
    if not all(map(_is_trained, tasks)):
        words.append("train" + (f" ({begun} from a checkpoint)" if begun else ""))
    rows = {part for one in tasks for part in one.left if part != "train"}
    if rows:
        words.append("predict" + (" the test file" if rows == {"test"} else ""))
    return ", ".join(words)


def _kept(plan: RunPlan, test: Path | None) -> list[str]:
    """A line where folds are trained and only the test file is left: nothing was lost."""
    names = [
        name
        for name in plan.members
        if all(one.left in ((), ("test",)) for one in plan.tasks if one.member == name)
        and any(one.left for one in plan.tasks if one.member == name)
    ]
    if not names:
        return []
    return [
        f"{', '.join(names)}: every fold is trained and kept; left is predicting the {plan.test:,} battles "
        f"of {test}, since a workspace keeps the predictions of one test file, the last one"
    ]
