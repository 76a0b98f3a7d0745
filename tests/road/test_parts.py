"""Both cards busy: the rows of one fold model split over several, and one table again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble import read_battles, sample, train_members
from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.pipeline import parts, second_orders, tasks
from arena_ensemble.pipeline.executors import processes, run_tasks, slots
from arena_ensemble.pipeline.tasks import FoldTask, Job
from arena_ensemble.predictions import Predictions
from arena_ensemble.recipes import load_recipe

RECIPES = {
    "words": 'backbone = "lexical"\nread_orders = 2\n[lexical]\nmax_features = 60\ninner_folds = 0\n',
    "tiny": 'backbone = "classify"\nbase = "tiny:encoder"\nread_orders = 2\nsecond_order_share = 0.5\n'
    "[prompt]\nmax_tokens = 96\n[train]\nepochs = 1\n[tiny]\nhidden = 16\nlayers = 1\n",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    for name, text in sample.files(40, 23, seed=3).items():
        (folder / name).write_text(text)
    for name, recipe in RECIPES.items():
        (folder / "w" / "models" / name).mkdir(parents=True)
        (folder / "w" / "models" / name / "recipe.toml").write_text(recipe)
    train_members(folder / "train.csv", list(RECIPES), workspace=folder / "w", n_folds=2, jobs=1)
    return folder


def planned(trained: Path, tmp_path: Path, member: str) -> tuple[Job, list[FoldTask]]:
    root = tmp_path / "w"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(trained / "w" / "models", root / "models")
    job = Job(root, None, None, read_battles(trained / "test.csv"))
    return job, tasks.plan(job, member, load_recipe(root / "models" / member / "recipe.toml"))


def kept(job: Job, task: FoldTask) -> Predictions:
    assert task.test_key is not None
    (found,) = MemberArtifacts(Workspace(job.root), task.member).begun_test([task.test_key])
    return found


@given(st.integers(1, 30), st.integers(1, 8))
def test_every_card_gets_as_many_pieces(count: int, slots: int) -> None:
    todo = [f"task {k}" for k in range(count)]
    pieces = parts.cut_up(todo, slots)  # type: ignore[arg-type]
    assert len(pieces) % slots == 0
    assert list(dict.fromkeys(task for task, _ in pieces)) == todo
    split = [part for _, part in pieces if part is not None]
    assert bool(split) == bool(count % slots)
    work = sum(1 if part is None else 1 / part.of for _, part in pieces)
    assert work == pytest.approx(count)


@pytest.mark.parametrize("member", RECIPES)
@pytest.mark.parametrize("of", [2, 3])
def test_parts_come_to_what_the_whole_does(trained: Path, tmp_path: Path, member: str, of: int) -> None:
    job, (task, _) = planned(trained, tmp_path, member)
    tasks.run_fold(job, task)
    whole = kept(job, task)
    job, (task, _) = planned(trained, tmp_path, member)
    for k in range(of):
        parts.run_part(job, task, parts.Part(k, of))
    parts.join_parts(job, task, of)
    split = kept(job, task)
    assert split.ids.to_list() == whole.ids.to_list()
    np.testing.assert_array_equal(split.fold, whole.fold)
    assert whole.swap_log_probs is not None
    for name in ("log_probs", "swap_log_probs"):
        np.testing.assert_allclose(getattr(split, name), getattr(whole, name), rtol=0, atol=1e-5)
    assert not list((job.root / "oof" / member).glob("part-*"))


def test_a_part_takes_over_the_first_order(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, (task, _) = planned(trained, tmp_path, "words")
    first = second_orders.with_share(task, 0.0)
    tasks.run_fold(job, first)
    backbone, rows = tasks.backbones.get("lexical"), []
    original = backbone.predict

    def counted(fitted, battles, *, on_progress=None):  # type: ignore[no-untyped-def]
        rows.append(len(battles))
        return original(fitted, battles, on_progress=on_progress)

    monkeypatch.setattr(backbone, "predict", counted)
    for k in range(2):
        parts.run_part(job, task, parts.Part(k, 2))
    parts.join_parts(job, task, 2)
    assert sum(rows) == 23
    assert kept(job, task).swap_log_probs is not None


def test_two_cards_share_one_fold(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, (task, _) = planned(trained, tmp_path, "words")
    tasks.run_fold(job, task)
    whole = kept(job, task)
    job, (task, _) = planned(trained, tmp_path, "words")
    monkeypatch.setattr(slots, "gpu_count", lambda: 2)
    seen: list[int] = []
    original = processes.joined

    def joined(job: Job, task: FoldTask, of: int) -> Exception | None:
        seen.append(of)
        return original(job, task, of)

    monkeypatch.setattr(processes, "joined", joined)
    seconds: dict[str, float] = {}
    assert list(run_tasks(job, [task], 2, None, seconds)) == [(task, None)]
    assert (seen, list(seconds)) == ([2], [task.label])
    split = kept(job, task)
    assert split.ids.equals(whole.ids)
    np.testing.assert_allclose(split.log_probs, whole.log_probs, rtol=0, atol=1e-12)
    assert isinstance(split.ids, pl.Series)
