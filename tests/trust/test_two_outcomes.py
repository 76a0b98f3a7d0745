"""A task without ties goes through the same river: P(tie) is absent, and the submission is its own kind."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from arena_ensemble import cli, store
from arena_ensemble.sample import make_arena

RECIPE = 'backbone = "lexical"\nread_orders = {}\n[lexical]\nmax_features = 80\ninner_folds = 0\n'


def write(folder: Path) -> None:
    """Battles in WSDM Cup's format, ties left out."""
    frame = make_arena(150, seed=21).battles.frame.filter(pl.col("outcome") != 2)
    text = [
        pl.col(name).list.join("\n", ignore_nulls=True) for name in ("prompt", "response_a", "response_b")
    ]
    winner = pl.when(pl.col("outcome") == 0).then(pl.lit("model_a")).otherwise(pl.lit("model_b"))
    table = frame.select("id", *text, winner=winner, language=pl.lit("English"))
    table = table.with_columns(id="w" + pl.col("id").cast(pl.String))
    table.head(-10).write_csv(folder / "train.csv", quote_style="always")
    test = table.tail(10)
    test.drop("winner").write_csv(folder / "test.csv", quote_style="always")
    test.select("id", winner=pl.lit("model_a")).write_csv(folder / "sample.csv")
    for name, orders in (("one", 1), ("both", 2)):
        recipe = RECIPE.format(orders)
        store.write_bytes(folder / "w" / "models" / name / "recipe.toml", recipe.encode())


@pytest.mark.slow
def test_wsdm_from_file_to_submission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path)
    command = [
        "submission", "--data", str(tmp_path / "train.csv"), "--test", str(tmp_path / "test.csv"),
        "--sample-submission", str(tmp_path / "sample.csv"), "--workspace", str(tmp_path / "w"),
        "--models", "one,both", "--folds", "3", "--jobs", "1", "--json",
    ]  # fmt: skip
    assert cli.run(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["outcomes"] == 2
    for name in ("one", "both", "ensemble"):
        table = pl.read_parquet(tmp_path / "w" / "oof" / name / "oof.parquet")
        assert (table["logp_tie"] == -np.inf).all()
        sums = table.select(pl.col("logp_a").exp() + pl.col("logp_b").exp()).to_series()
        np.testing.assert_allclose(sums, 1, atol=1e-12)
    with (tmp_path / "w" / "submission.csv").open() as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["id", "winner"]
    with (tmp_path / "test.csv").open() as stream:
        ids = [row["id"] for row in csv.DictReader(stream)]
    assert [row[0] for row in rows[1:]] == ids
    assert {row[1] for row in rows[1:]} <= {"model_a", "model_b"}
    prior, ensemble = (
        next(row for row in told["table"] if row["name"] == name) for name in ("prior", "ensemble")
    )
    assert prior["log_loss"] < 0.72  # two outcomes: about ln 2, not ln 3
    assert ensemble["accuracy"] > 0.4
    before = (tmp_path / "w" / "submission.csv").read_bytes()
    again = ["predict", "--test", str(tmp_path / "test.csv"), "--workspace", str(tmp_path / "w")]
    assert cli.run([*again, "--jobs", "1"]) == 0
    assert (tmp_path / "w" / "submission.csv").read_bytes() == before


def test_a_sample_of_the_other_task_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path)
    (tmp_path / "sample.csv").write_text("id,winner_model_a,winner_model_b,winner_tie\nw1,1,0,0\n")
    command = [
        "submission", "--data", str(tmp_path / "train.csv"), "--test", str(tmp_path / "test.csv"),
        "--sample-submission", str(tmp_path / "sample.csv"), "--workspace", str(tmp_path / "w"),
        "--models", "one", "--jobs", "1",
    ]  # fmt: skip
    assert cli.run(command) == 1
    assert "the submission has id, winner" in capsys.readouterr().err
    assert not (tmp_path / "w" / "oof").exists()
