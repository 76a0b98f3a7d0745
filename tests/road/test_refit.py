"""One model on all rows beside those of the folds: how long it trains, what it predicts, what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from architectures import save_base
from hypothesis import given
from hypothesis import strategies as st
from workspaces import Arena, refusal, tree

from arena_ensemble import backbones, cli
from arena_ensemble.artifacts.cards import REFIT
from arena_ensemble.artifacts.fold_file import read_folds
from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.battles import Battles
from arena_ensemble.errors import ArtifactError, StaleError
from arena_ensemble.io import read_battles
from arena_ensemble.pipeline import extra_data, fitted, workflow
from arena_ensemble.pipeline.ensemble import Ensemble
from arena_ensemble.pipeline.extra_data import ExtraBattles
from arena_ensemble.recipes import load_recipe, recipe_from


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Arena:
    made = Arena(tmp_path_factory.mktemp("refit"))
    assert cli.run(made.submission()) == 0
    shutil.copytree(made.workspace, made.folder / "folds only")
    assert cli.run(made.submission("--refit")) == 0
    return made


def member(workspace: Path) -> MemberArtifacts:
    return MemberArtifacts(Workspace(workspace), "mine")


def test_it_is_the_model_of_all_rows_and_nothing_else_changes(arena: Arena, tmp_path: Path) -> None:
    recipe = load_recipe(arena.workspace / "models" / "mine")
    backbone, train = backbones.get("lexical"), read_battles(arena.folder / "train.csv")
    own = backbone.fit(train, recipe=recipe, folder=tmp_path, cache=tmp_path)
    test = read_battles(arena.folder / "test.csv")
    [part] = member(arena.workspace).load_test()
    np.testing.assert_array_equal(part.log_probs, backbone.predict(own, test.without_outcomes()))
    assert set(part.fold.tolist()) == {REFIT}
    card = member(arena.workspace).fold_card(REFIT)
    assert card is not None
    assert card.rows == len(train)
    before, after = tree(arena.folder / "folds only" / "oof"), tree(arena.workspace / "oof")
    for name in ("folds.parquet", "mine/oof.parquet", "ensemble/oof.parquet"):
        assert before[name] == after[name], "what is out of fold does not know of it"


def test_its_predictions_are_not_sharpened_and_are_reused(arena: Arena) -> None:
    ensemble, test = Ensemble.load(arena.workspace), read_battles(arena.folder / "test.csv")
    before = tree(arena.workspace)
    made = workflow.predict(ensemble, test, workspace=arena.workspace, jobs=1, use_folds="refit")
    assert set(made.gammas.values()) == {1.0}
    written = pl.read_csv(arena.workspace / "submission.csv").drop("id").to_numpy()
    np.testing.assert_allclose(np.exp(made.log_probs), written, atol=1e-12)
    for name in ("oof/mine/test.parquet", "oof/mine/test.json"):
        assert tree(arena.workspace)[name] == before[name]


def test_a_second_run_does_nothing_and_a_lost_refit_alone_is_trained(arena: Arena) -> None:
    before = tree(arena.workspace)
    assert cli.run(arena.submission("--refit")) == 0
    assert tree(arena.workspace) == before
    shutil.rmtree(arena.workspace / "models" / "mine" / "refit")
    folds = {k: p.stat().st_mtime_ns for k in range(3) for p in (member(arena.workspace).fold_folder(k),)}
    assert cli.run(arena.submission("--refit")) == 0
    assert folds == {k: member(arena.workspace).fold_folder(k).stat().st_mtime_ns for k in folds}
    assert (arena.workspace / "submission.csv").read_bytes() == before["submission.csv"]


def test_its_folder_alone_is_enough(arena: Arena, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = Arena.__new__(Arena)
    here.folder, here.workspace = arena.folder, Path(shutil.copytree(arena.workspace, tmp_path / "w"))
    out = tmp_path / "out.csv"
    assert cli.run(here.predict("--use-folds", "refit", "--out", str(out))) == 0
    wanted = out.read_bytes()
    shutil.rmtree(here.workspace / "oof" / "mine")
    for fold in range(3):
        shutil.rmtree(here.workspace / "models" / "mine" / f"fold-{fold}")
    assert cli.run(here.predict("--use-folds", "refit", "--out", str(out))) == 0
    assert out.read_bytes() == wanted
    assert "or give --use-folds refit" in refusal(here.predict(), capsys, codes=(1, 4))


def test_without_it_the_option_says_how_to_train_it(
    arena: Arena, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = Arena.__new__(Arena)
    place = shutil.copytree(arena.folder / "folds only", tmp_path / "w")
    here.folder, here.workspace = arena.folder, Path(place)
    line = refusal(here.predict("--use-folds", "refit"), capsys, codes=(1, 4))
    assert "no model of all rows is here" in line
    assert "--refit" in line


def test_its_predictions_teach_no_fold(arena: Arena) -> None:
    """It saw the votes of every fold."""
    train, test = (read_battles(arena.folder / f"{name}.csv") for name in ("train", "test"))
    folds = read_folds(Workspace(arena.workspace), train)
    with pytest.raises(StaleError, match="may have seen what they would teach"):
        extra_data._pseudo_labels(test, arena.workspace / "oof" / "mine" / "test.parquet", folds)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 10**6))
def test_all_extra_rows_join_with_the_mean_of_their_labels(n: int, n_folds: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = [{"id": str(k), "prompt": "p", "response_a": "a", "response_b": "b"} for k in range(n)]
    soft = np.log(random.dirichlet(np.ones(3), (n, n_folds)))
    may = random.random((n, n_folds)) < 0.5
    extra = ExtraBattles(Battles.from_rows(rows), np.ones(n), may, (), soft)
    assert extra.facts(REFIT) == {"files": [], "used": n, "held_back": 0}
    mean = np.exp(soft.mean(axis=1))
    np.testing.assert_allclose(np.exp(extra.labels(REFIT)), mean / mean.sum(axis=1, keepdims=True))
    for fold in range(n_folds):
        np.testing.assert_array_equal(extra.labels(fold), soft[may[:, fold], fold])


@pytest.mark.parametrize(("points", "epochs"), [([2, 3, 3], 3), ([0.25, 0.5], 1), ([1.5, 1.5], 2), ([4], 4)])
def test_it_trains_as_long_as_folds_did_on_average(points: list[float], epochs: int) -> None:
    found = [SimpleNamespace(facts={"optimizer_steps": 5, "best_epochs": point}) for point in points]
    artifacts: Any = SimpleNamespace(fold_card=lambda fold: found[fold])
    values: dict[str, Any] = {"backbone": "classify", "base": "org/name"}
    stopping = recipe_from({**values, "train": {"epochs": 6, "early_stopping": 2}}, name="mine")
    refit = fitted.refit_recipe(artifacts, stopping, len(points))
    assert (refit.train.epochs, refit.train.early_stopping) == (epochs, 0)
    plain = recipe_from({**values, "train": {"epochs": 6}})
    assert fitted.refit_recipe(artifacts, plain, len(points)) == plain
    del found[-1].facts["best_epochs"]
    with pytest.raises(ArtifactError, match="--retrain mine"):
        fitted.refit_recipe(artifacts, stopping, len(points))


def test_a_language_model_notes_where_it_stopped_and_is_refitted_so(arena: Arena, tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "llama")
    recipe = tmp_path / "models" / "stops" / "recipe.toml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(
        f'backbone = "classify"\nbase = "{base}"\n[prompt]\ntemplate = "short-1"\nmax_tokens = 64\n'
        "[train]\nepochs = 4\nearly_stopping = 1\nlearning_rate = 0.05\n[adapter]\nr = 2\n"
    )
    run = workflow.train_members(
        arena.folder / "train.csv", ["stops"], workspace=tmp_path, n_folds=3, jobs=1, refit=True
    )
    assert not run.result.failed
    artifacts = MemberArtifacts(Workspace(tmp_path), "stops")
    cards = [artifacts.fold_card(fold) for fold in (0, 1, 2, REFIT)]
    points = [card.facts["best_epochs"] for card in cards[:3] if card is not None]
    assert all(point in (1, 2, 3, 4) for point in points), "an evaluation ends each epoch"
    assert cards[3] is not None
    facts = cards[3].facts
    assert facts["refit_epochs"] == round(sum(points) / 3)
    steps = -(-len(run.train) // 16) * facts["refit_epochs"]
    assert facts["optimizer_steps"] == facts["planned_steps"] == steps
    assert cards[3].rows == len(run.train)
