"""Cross-fitting: every member's out-of-fold and test predictions, doing only what is missing.

A member that fails does not stop the others: its error is kept and reported when all else is done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..artifacts.fold_file import keep_folds
from ..artifacts.workspace import Workspace
from ..battles import Battles
from ..folds import Folds
from ..recipes import Recipe
from . import distillation, starts, tasks
from .executors import PLANNED, Event, Executor, Local
from .job import Job
from .recording import Recorder
from .run_costs import job_costs, with_costs
from .run_progress import label_of
from .run_result import RunResult
from .wave import Finished, UnplannedError, Wave, planned_tasks


def cross_fit(
    recipes: Recipe | Sequence[Recipe],
    battles: Battles,
    folds: Folds,
    *,
    workspace: str | Path | Workspace,
    test: Battles | None = None,
    n_classes: int = 3,
    jobs: int | None = None,
    executor: Executor | None = None,
    on_event: Event | None = None,
) -> RunResult:
    """Train every member on all folds but one, predict that one, for each fold; keep all in a workspace.

    A second call with the same arguments does nothing; a killed one goes on where it was.

    Parameters
    ----------
    recipes
        One or several, each with a name (see `load_recipe`).
    battles
        With outcomes.
    folds
        Of these battles, from `make_folds`; they become the workspace's one fold file.
    workspace
        The folder where models and predictions are kept.
    test
        Battles to predict with every fold's model.
    n_classes
        2 where no tie can be voted: then no member gives P(tie).
    jobs
        Processes side by side; None chooses by device and size of the members.
    executor
        Where tasks run, such as :class:`~.executors.OnRay`; None is this machine, with so many ``jobs``.

    Raises
    ------
    StaleError
        The workspace holds other folds, or a member made from something else.
    """
    many = [recipes] if isinstance(recipes, Recipe) else list(recipes)
    place = Workspace.of(workspace)
    with place.locked("cross_fit"):
        keep_folds(place, folds, battles)
        job = Job(place.root, battles, folds, test, n_classes=n_classes)
        named = {recipe.name: recipe for recipe in many}
        return run_job(job, named, jobs=jobs, executor=executor, on_event=on_event)


def run_job(
    job: Job,
    recipes: Mapping[str, Recipe],
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    on_event: Event | None = None,
    on_finished: Finished | None = None,
) -> RunResult:
    """As :func:`cross_fit`, of a job whose folds are kept already.

    ``on_finished`` is called where nothing is left to do too: combining the members may take long yet.

    Raises
    ------
    StaleError
        An earlier fold was made from something else; raised before any work starts.
    """
    result = RunResult(job.workspace)
    place = Local(jobs) if executor is None else executor
    waves = distillation.in_teaching_order(dict(recipes))
    left = _tasks_left(job, recipes)
    tell = on_finished if on_finished is not None else (lambda members: None)
    what = "prediction" if job.train is None else "training"
    with Recorder(job.workspace, what, list(recipes), len(left), on_event) as record:
        costs = job_costs(job, recipes, place.slots(recipes.values())) if left else {}
        for label, tokens, seconds in with_costs(job, costs, left):
            record(label, tokens, seconds, PLANNED)
        tell([])
        for wave in waves:  # teachers before their pupils
            ready = {}
            for name, recipe in wave.items():
                # what is fitted predicts without them
                needed = distillation.needed_members(recipe) if job.train is not None else set()
                if failed := sorted(needed & result.failed.keys()):
                    result.failed[name] = f"its {starts.role(recipe, failed[0])} {failed[0]} failed"
                elif late := sorted(needed & result.late.keys()):
                    result.late[name] = f"its {starts.role(recipe, late[0])} {late[0]} is not finished"
                else:
                    ready[name] = recipe
            Wave(job, ready, result, place, record, tell).run(costs)
        for name, why in result.failed.items():
            record.member_ended(name, None, why)
        for name, why in result.partly.items():
            record.member_ended(name, None, f"{why}; its other folds have predicted")
    return result


def _tasks_left(job: Job, recipes: Mapping[str, Recipe]) -> list[str]:
    """Labels of what is left to do."""
    left: list[str] = []
    for name, recipe in recipes.items():
        needed = distillation.needed_members(recipe) & recipes.keys()
        waits = any(job.artifacts(one).card() is None for one in needed)
        if waits and job.folds is not None:
            # cannot be planned before its teachers and its start are finished
            alone = tasks.predicts_alone(job.one_model, recipe)
            places = [*range(job.folds.n_folds), *([] if alone is None else [alone])]
            left += [label_of(name, fold) for fold in places]
        else:
            with contextlib.suppress(UnplannedError):  # named when its turn comes
                left += [
                    task.label for task in planned_tasks(job, name, recipe) if not tasks.is_done(job, task)
                ]
    return left
