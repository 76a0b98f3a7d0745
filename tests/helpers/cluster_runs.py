"""What tests of the cluster and the driver that they kill both do: connect, and run members on small data."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from arena_ensemble.artifacts.cards import REFIT
from arena_ensemble.artifacts.fold_file import keep_folds
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.folds import make_folds
from arena_ensemble.pipeline.cross_fit import run_job
from arena_ensemble.pipeline.executors import Event, OnRay
from arena_ensemble.pipeline.run_result import RunResult
from arena_ensemble.pipeline.tasks import Job
from arena_ensemble.recipes import Recipe, recipe_from
from arena_ensemble.sample import make_arena

BATTLES = make_arena(100, seed=7).battles
TRAIN, TEST = BATTLES.take(np.arange(84)), BATTLES.take(np.arange(84, 100)).without_outcomes()
FOLDS = make_folds(TRAIN, n_folds=3, seed=0)


def faulty(name: str) -> Recipe:
    """A member of :mod:`cluster_backbone`."""
    return recipe_from({"backbone": "faulty"}, name=name)


def connect(address: str, place: Path) -> Any:
    """Connect to a cluster whose workers know the faulty backbone and that it is watched in ``place``."""
    import ray

    hook = {
        "worker_process_setup_hook": "cluster_backbone.patch",
        "env_vars": {"ARENA_TEST_PLACE": str(place)},
    }
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=hook)
    return ray


def run(
    workspace: Path,
    recipes: Recipe | list[Recipe],
    address: str | None = None,
    *,
    on_event: Event | None = None,
    refit: bool = False,
    **options: Any,
) -> RunResult:
    """Cross-fit members here or, with an address, on the cluster."""
    many = [recipes] if isinstance(recipes, Recipe) else recipes
    executor = None if address is None else OnRay(address, **options)
    place = Workspace(workspace)
    with place.locked("a test"):
        keep_folds(place, FOLDS, TRAIN)
        job = Job(workspace, TRAIN, FOLDS, TEST, one_model=REFIT if refit else None)
        named = {one.name: one for one in many}
        return run_job(job, named, jobs=1, executor=executor, on_event=on_event)
