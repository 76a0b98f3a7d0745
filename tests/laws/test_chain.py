"""The two laws of the whole chain, members trained for real: swap, and no leak."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from arena_ensemble import cli, metrics
from arena_ensemble.battles import Battles
from arena_ensemble.io import read_battles
from arena_ensemble.sample import kaggle_frame, make_arena

WINNERS = ["winner_model_a", "winner_model_b", "winner_tie"]


def written(battles: Battles, path: Path, *, labelled: bool) -> str:
    kaggle_frame(battles, labelled=labelled).write_csv(path)
    return str(path)


@pytest.mark.slow
def test_swapped_test_rows_give_the_swapped_submission(tmp_path: Path) -> None:
    battles = make_arena(330, seed=21).battles
    test = battles.take(np.arange(300, 330)).without_outcomes()
    data = written(battles.take(np.arange(300)), tmp_path / "train.csv", labelled=True)
    shown = written(test, tmp_path / "test.csv", labelled=False)
    turned = written(test.swapped(), tmp_path / "swapped.csv", labelled=False)
    place = ["--workspace", str(tmp_path), "--jobs", "1"]
    made = ["submission", "--data", data, "--test", shown, "--models", "tiny-swap,lexical", "--folds", "3"]
    assert cli.run([*made, *place]) == 0
    out = tmp_path / "turned.csv"
    assert cli.run(["predict", "--test", turned, "--out", str(out), *place]) == 0
    first = pl.read_csv(tmp_path / "submission.csv").select(WINNERS).to_numpy()
    second = pl.read_csv(out).select(WINNERS).to_numpy()
    np.testing.assert_allclose(second, first[:, [1, 0, 2]], atol=1e-9)
    assert np.abs(first[:, 0] - first[:, 1]).max() > 0.05  # not all alike


@pytest.mark.slow
def test_with_shuffled_outcomes_nothing_beats_the_prior(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    battles = make_arena(400, seed=22).battles
    shuffled = np.random.default_rng(0).permutation(battles.frame["outcome"].to_numpy())
    blind = Battles(battles.frame.with_columns(pl.Series("outcome", shuffled, dtype=pl.Int8)))
    data = written(blind, tmp_path / "train.csv", labelled=True)
    command = ["stack", "--data", data, "--models", "tiny-classify,tiny-generate,lexical", "--folds", "3"]
    cli.run([*command, "--workspace", str(tmp_path), "--jobs", "1", "--json"])
    table = json.loads(capsys.readouterr().out)["table"]
    prior = next(row["log_loss"] for row in table if row["name"] == "prior")
    honest = [row for row in table if row["honest"] and row["name"] != "prior"]
    assert {"lexical", "tiny-classify", "tiny-generate", "ensemble"} <= {row["name"] for row in honest}
    for row in honest:
        assert row["log_loss"] > prior - 3 * max(row["se"], 1e-3), row["name"]
    y = read_battles(Path(data)).outcomes()
    assert abs(prior - metrics.log_loss(metrics.prior_log_probs(y), y)) < 0.02
