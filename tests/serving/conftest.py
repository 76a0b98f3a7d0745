"""A small finished workspace that has predicted a test file, and its ensemble with its models in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from arena_ensemble import Ensemble, build_ensemble, predict_test, sample, train_members
from arena_ensemble.artifacts import atomic

RECIPE = 'backbone = "lexical"\n[lexical]\nmax_features = 60\ninteractions = 8\ninner_folds = 0\n'


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("serving")
    for name, text in sample.files(90, 24, seed=3).items():
        (place / name).write_text(text)
    atomic.write_bytes(place / "models" / "one" / "recipe.toml", RECIPE.encode())
    run = train_members(
        place / "train.csv", ["one"], workspace=place, test=place / "test.csv", n_folds=3, jobs=1
    )
    predict_test(run, build_ensemble(run))
    return place


@pytest.fixture(scope="session")
def ensemble(work: Path) -> Ensemble:
    return Ensemble.load(work).in_memory()
