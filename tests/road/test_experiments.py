"""``oof --only-fold`` and ``--rows``: cheap trials that never touch the real run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from arena_ensemble import cli, read_battles, sample, train_members
from arena_ensemble.errors import InputError
from arena_ensemble.folds import make_folds
from arena_ensemble.pipeline.experiment import run_experiment, sampled

RECIPE = 'backbone = "lexical"\n[lexical]\nmax_features = 60\ninteractions = 0\ninner_folds = 0\n'


@pytest.fixture
def arena(tmp_path: Path) -> Path:
    for name, text in sample.files(90, 5, seed=3).items():
        (tmp_path / name).write_text(text)
    recipe = tmp_path / "w" / "models" / "mine" / "recipe.toml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(RECIPE)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "experiments" not in path.parts and path.name != ".arena-lock"
    }


def test_one_fold_is_the_real_runs_fold_and_leaves_it_alone(arena: Path) -> None:
    before = contents(arena / "w")
    alone = run_experiment(arena / "train.csv", "mine", workspace=arena / "w", only_fold=1, n_folds=3, jobs=1)
    assert contents(arena / "w") == before
    (trial,) = alone.trials
    assert trial.real_log_loss is None
    train_members(arena / "train.csv", "mine", workspace=arena / "w", n_folds=3, jobs=1)
    real = contents(arena / "w")
    again = run_experiment(arena / "train.csv", "mine", workspace=arena / "w", only_fold=1, n_folds=3, jobs=1)
    assert contents(arena / "w") == real
    assert again.folder == alone.folder
    (same,) = again.trials
    assert (same.rows, same.log_loss) == (trial.rows, trial.log_loss)
    assert same.real_log_loss == pytest.approx(trial.log_loss, abs=1e-12)
    assert same.real_difference == pytest.approx(0.0, abs=1e-12)
    assert same.gain == pytest.approx(same.prior_log_loss - same.log_loss)


def test_a_share_is_of_whole_groups_with_the_folds_that_they_had(arena: Path) -> None:
    battles = read_battles(arena / "train.csv")
    folds = make_folds(battles, n_folds=3, seed=0)
    part, theirs = sampled(battles, folds, 0.5, 7)
    theirs.check(part)
    rows = np.flatnonzero(battles.ids.is_in(part.ids.to_list()).to_numpy())
    np.testing.assert_array_equal(theirs.fold, folds.fold[rows])
    chosen = np.unique(folds.group[rows])
    assert len(rows) == np.isin(folds.group, chosen).sum()
    assert abs(len(chosen) - len(np.unique(folds.group)) / 2) <= 1
    assert sampled(battles, folds, 0.5, 7)[0].ids.equals(part.ids)
    assert not sampled(battles, folds, 0.5, 8)[0].ids.equals(part.ids)
    with pytest.raises(InputError, match="leaves a fold without battles"):
        sampled(battles, folds, 0.001, 7)
    whole = run_experiment(arena / "train.csv", "mine", workspace=arena / "w", rows=0.5, n_folds=3, jobs=1)
    assert whole.trials[0].rows == whole.battles < len(battles)


def test_the_command_and_what_it_refuses(arena: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(arena / "train.csv"), "--workspace", str(arena / "w"), "--folds", "3"]
    command = ["oof", *data, "--models", "mine", "--jobs", "1"]
    assert cli.run([*command, "--only-fold", "0", "--rows", "0.8"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "held-out rows; the prior" in shown
    assert "nothing of it is stacked" in shown
    assert cli.run([*command, "--only-fold", "0", "--rows", "0.8", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    folder = Path(facts["experiment"])
    assert folder.parent == arena / "w" / "experiments"
    assert facts["members"]["mine"]["standard_error"] > 0
    for wrong in (
        ["--rows", "0"],
        ["--rows", "2"],
        ["--only-fold", "3"],
        ["--only-fold", "0", "--hours", "1"],
    ):
        assert cli.run([*command, *wrong]) == 1
    assert cli.run(["oof", *data, "--only-fold", "0"]) == 1
    capsys.readouterr()
    for verb in ("stack", "oof"):
        there = [verb, "--data", str(arena / "train.csv"), "--workspace", str(folder), "--models", "mine"]
        assert cli.run([*there, "--folds", "3"]) == 1
        assert "is an experiment" in capsys.readouterr().err
