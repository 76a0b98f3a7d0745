"""A task without ties goes through the same pipeline: P(tie) is absent, the submission its own kind."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from arena_ensemble import cli
from arena_ensemble.artifacts import atomic, cards
from arena_ensemble.artifacts.cards import EnsembleCard
from arena_ensemble.pipeline.external_files import NamedFile
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
        atomic.write_bytes(folder / "w" / "models" / name / "recipe.toml", recipe.encode())


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


def brought(folder: Path, columns: tuple[str, ...]) -> list[str]:
    """Another tool's labels and predictions of a task without ties, and the command that stacks them."""
    rng = np.random.default_rng(3)
    p = rng.uniform(0.05, 0.95, 120)
    winner = np.where(rng.uniform(size=120) < p, "model_a", "model_b")
    pl.DataFrame({"id": np.arange(120), "winner": winner}).write_csv(folder / "labels.csv")
    probs = dict(zip(columns, (p, 1 - p, 0 * p), strict=False))
    pl.DataFrame({"id": np.arange(120), **probs}).write_csv(folder / "oof.csv")
    pl.DataFrame({"id": np.arange(500, 620), **probs}).write_csv(folder / "test.csv")
    return [
        "stack", "--labels", str(folder / "labels.csv"), "--oof", f"theirs={folder / 'oof.csv'}",
        "--test", f"theirs={folder / 'test.csv'}", "--out", str(folder / "out"), "--json",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "columns", [("p_a", "p_b", "p_tie"), ("p_a", "p_b"), ("winner_model_a", "winner_model_b")]
)
def test_brought_predictions_without_ties_stay_without(
    columns: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(brought(tmp_path, columns)) == 0
    capsys.readouterr()
    card = cards.read_card(tmp_path / "out", EnsembleCard)
    assert card is not None
    assert card.n_classes == 2
    assert (pl.read_parquet(tmp_path / "out" / "oof.parquet")["logp_tie"] == -np.inf).all()
    rows = (tmp_path / "out" / "submission.csv").read_text().splitlines()
    assert rows[0] == "id,winner"
    said = pl.read_csv(tmp_path / "test.csv")
    expected = np.where(said[columns[0]] > 0.5, "model_a", "model_b")
    agree = [row.split(",")[1] == name for row, name in zip(rows[1:], expected, strict=True)]
    assert np.mean(agree) > 0.9


def test_a_tie_among_the_labels_makes_three_outcomes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from arena_ensemble.pipeline import external

    brought(tmp_path, ("p_a", "p_b"))
    found = external.read_external(tmp_path / "labels.csv", [NamedFile(tmp_path / "oof.csv", "theirs")])
    assert found.n_classes == 2
    text = (tmp_path / "labels.csv").read_text().replace("model_b", "tie", 1)
    (tmp_path / "labels.csv").write_text(text)
    assert (
        external.read_external(tmp_path / "labels.csv", [NamedFile(tmp_path / "oof.csv", "theirs")]).n_classes
        == 3
    )
