"""Prediction with the models of some folds alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from workspaces import Arena, refusal

from arena_ensemble import cli
from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.io import read_battles
from arena_ensemble.pipeline import workflow
from arena_ensemble.pipeline.combining import EnsemblePrediction
from arena_ensemble.pipeline.ensemble import Ensemble
from arena_ensemble.predictions import Predictions


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Arena:
    made = Arena(tmp_path_factory.mktemp("folds"))
    assert cli.run(made.submission()) == 0
    return made


def predicted(arena: Arena, use_folds: list[int] | None) -> tuple[EnsemblePrediction, list[Predictions]]:
    battles = read_battles(arena.folder / "new.csv")
    ensemble = Ensemble.load(arena.workspace)
    made = workflow.predict(ensemble, battles, workspace=arena.workspace, jobs=1, use_folds=use_folds)
    return made, MemberArtifacts(Workspace(arena.workspace), "mine").load_test()


def test_all_folds_by_name_are_all_folds(arena: Arena) -> None:
    plain, by_fold = predicted(arena, None)
    note = (arena.workspace / "oof" / "mine" / "test.json").read_bytes()
    for order in ([0, 1, 2], [2, 0, 1, 1]):
        named, _ = predicted(arena, order)
        np.testing.assert_array_equal(named.log_probs, plain.log_probs)
        assert (arena.workspace / "oof" / "mine" / "test.json").read_bytes() == note, "nothing was made anew"
    assert len(by_fold) == 3


def test_the_order_of_folds_does_not_matter_and_the_rest_is_left_out(arena: Arena) -> None:
    plain, by_fold = predicted(arena, None)
    one, parts = predicted(arena, [2, 0])
    other, _ = predicted(arena, [0, 2])
    np.testing.assert_array_equal(one.log_probs, other.log_probs)
    assert [int(part.fold[0]) for part in parts] == [0, 2]
    for part, all_of_it in zip(parts, [by_fold[0], by_fold[2]], strict=True):
        np.testing.assert_array_equal(part.log_probs, all_of_it.log_probs)
    assert np.abs(one.log_probs - plain.log_probs).max() > 1e-6
    again, _ = predicted(arena, None)
    np.testing.assert_array_equal(again.log_probs, plain.log_probs)


def test_a_single_fold_is_not_sharpened(arena: Arena) -> None:
    alone, _ = predicted(arena, [1])
    assert set(alone.gammas.values()) == {1.0}


def test_folds_that_were_not_copied_are_not_needed(arena: Arena, tmp_path: Path) -> None:
    here = Arena.__new__(Arena)
    here.folder, here.workspace = arena.folder, Path(shutil.copytree(arena.workspace, tmp_path / "w"))
    wanted, _ = predicted(arena, [0, 2])
    shutil.rmtree(here.workspace / "oof" / "mine")
    shutil.rmtree(here.workspace / "models" / "mine" / "fold-1")
    for use_folds in (None, [0, 2]):
        found, _ = predicted(here, use_folds)
        np.testing.assert_array_equal(found.log_probs, wanted.log_probs)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0,3", "no model of that fold is here; use some of 0, 1, 2"),
        ("a", "expected fold numbers"),
        ("", "expected fold"),
    ],
)
def test_a_fold_that_is_not_there_is_refused(
    arena: Arena, text: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in refusal(arena.predict("--use-folds", text), capsys, codes=(1, 4))
