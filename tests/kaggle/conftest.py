"""A trained workspace to pack; wheels are empty files here."""

from __future__ import annotations

from pathlib import Path

import pytest

from arena_ensemble import build_ensemble, sample, train_members
from arena_ensemble.kaggle import wheels

TINY = """
backbone = "classify"
base = "tiny:encoder"
[prompt]
template = "./words/mine.toml"
max_tokens = 128
[train]
epochs = 1
[tiny]
hidden = 16
layers = 1
vocabulary = 300
"""
WORDS = 'opening = "User: "\nbefore_a = "A: "\nbefore_b = "B: "\ncue = "Best:"\nrounds = true\n'
LEXICAL = 'backbone = "lexical"\n[lexical]\nmax_features = 60\ninteractions = 0\ninner_folds = 0\n'


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("trained")
    for name, text in sample.files(90, 10, seed=4).items():
        (work / name).write_text(text)
    for name, recipe in (("tiny", TINY), ("words", LEXICAL)):
        (work / "models" / name).mkdir(parents=True)
        (work / "models" / name / "recipe.toml").write_text(recipe)
    (work / "models" / "tiny" / "words").mkdir()
    (work / "models" / "tiny" / "words" / "mine.toml").write_text(WORDS)
    run = train_members(work / "train.csv", ["tiny", "words"], workspace=work, n_folds=3, jobs=1, refit=True)
    build_ensemble(run)
    return work


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wheels are empty files here: tests/road downloads and installs real ones."""

    def collect(folder: Path, versions: dict[str, str], **others: object) -> None:
        folder.mkdir()
        for name, version in versions.items():
            (folder / f"{name}-{version}-py3-none-any.whl").write_text("")

    monkeypatch.setattr(wheels, "collect", collect)
