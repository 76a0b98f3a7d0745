"""A fold that does not end in its session stops in time, goes on in the next, and comes to the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import battles, recipe, save_base

from arena_ensemble import backbones
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.deadline import Deadline
from arena_ensemble.errors import OutOfTime
from arena_ensemble.folds import make_folds
from arena_ensemble.pipeline import tasks
from arena_ensemble.pipeline.tasks import Job
from arena_ensemble.recipes import Recipe
from tests.helpers.ticking import Ticking


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_base(tmp_path_factory.mktemp("base") / "llama", "llama")


def chosen(base: Path, **train: Any) -> Recipe:
    made = recipe(base, train={"epochs": 6, "ema": 0.9, **train}, adapter={"dropout": 0.2})
    return made.model_copy(update={"name": "mine"})


def job_of(folder: Path, seconds: float | None) -> Job:
    rows = battles(40)
    deadline = None if seconds is None else Deadline.after(seconds / 3600, clock=Ticking())
    return Job(folder, rows, make_folds(rows, n_folds=3), deadline=deadline)


def run(folder: Path, settings: Recipe, seconds: float | None = None) -> None:
    job = job_of(folder, seconds)
    task = tasks.plan(job, "mine", settings)[0]
    tasks.prepare(job, settings)
    tasks.run_fold(job, task)


def bits(folder: Path) -> tuple[bytes, bytes]:
    weights = next((folder / "models" / "mine").glob("fold-0/weights.safetensors"))
    shard = Workspace(folder).oof / "mine" / "fold-0.parquet"
    return weights.read_bytes(), shard.read_bytes()


@pytest.mark.parametrize("early_stopping", [0, 3])
def test_three_sessions_come_to_the_bits_of_one(base: Path, tmp_path: Path, early_stopping: int) -> None:
    settings = chosen(base, early_stopping=early_stopping)
    run(tmp_path / "one", settings)
    sessions, stops = 0, []
    while True:
        sessions += 1
        try:
            run(tmp_path / "many", settings, seconds=45)
            break
        except OutOfTime as error:
            stops.append(str(error))
            found = list((tmp_path / "many").rglob("checkpoint-*"))
            assert len(found) == 1, "one whole checkpoint, and only one"
        assert sessions < 20, stops
    assert sessions >= 3, stops
    assert all("run the same command again" in stop for stop in stops)
    assert bits(tmp_path / "one") == bits(tmp_path / "many")
    assert not list((tmp_path / "many").rglob("checkpoint-*"))


def test_a_session_without_time_costs_nothing_and_loses_nothing(base: Path, tmp_path: Path) -> None:
    settings = chosen(base)
    with pytest.raises(OutOfTime, match="no time is left to train a fold"):
        run(tmp_path, settings, seconds=0)
    run(tmp_path, settings)
    assert bits(tmp_path)


def test_checkpoints_by_time_change_nothing(base: Path, tmp_path: Path) -> None:
    """A clock on which every step takes a minute and a half: one checkpoint in each, or in none."""
    module = backbones.get("classify")
    rows = battles()
    found = []
    for name, minutes in (("none", 0.0), ("each", 1 / 60)):
        folder = tmp_path / name
        folder.mkdir()
        seen: list[int] = []

        def look(done: float, total: float, text: str, folder: Path = folder, seen: list[int] = seen) -> None:
            seen += [int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*")]

        fitted = module.fit(
            rows,
            recipe=chosen(base, checkpoint_minutes=minutes),
            folder=folder,
            cache=tmp_path / "cache",
            on_progress=look,
            deadline=Deadline.after(9, clock=Ticking()),
        )
        assert bool(seen) == bool(minutes)
        found.append(module.predict(fitted, rows).tobytes())
    assert found[0] == found[1]
    assert np.isfinite(np.frombuffer(found[0])).all()
