"""What validate says in advance: of battles and of predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from external_members import SampleArena
from workspaces import refusal

from arena_ensemble import cli


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> SampleArena:
    return SampleArena(tmp_path_factory.mktemp("arena"), 120, 30, seed=3)


def facts(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.run(["validate", *arguments, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_battles_column_by_column(
    arena: SampleArena, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "more columns.csv"
    pl.read_csv(arena.path("train.csv")).with_columns(mood=pl.lit("x")).write_csv(path)
    found = facts(capsys, str(path))
    assert found["columns_read"]["id"] == "id"
    assert found["columns_read"]["winner_tie"] == "vote"
    assert found["columns_not_read"] == ["mood"]
    assert found["left_out"] == []
    assert found["next"] == f"arena-ensemble submission --data '{path}' --test TEST"
    assert cli.run(["validate", str(path)]) == 0
    text = capsys.readouterr().out
    assert "mood" in text
    assert "not read" in text
    assert f"next: arena-ensemble submission --data '{path}' --test TEST" in text


def test_battles_to_predict_and_battles_of_which_some_have_no_vote(
    arena: SampleArena, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = str(arena.path("test.csv"))
    assert f"--test {test}" in facts(capsys, test)["next"]
    frame = pl.read_csv(arena.path("train.csv"))
    some = pl.int_range(pl.len()) >= 40
    votes = [c for c in frame.columns if c.startswith("winner")]
    path = tmp_path / "some.csv"
    frame.with_columns(pl.when(some).then(pl.col(c)).alias(c) for c in votes).write_csv(path)
    found = facts(capsys, str(path))
    assert found["left_out"] == ["40 of 120 rows have no vote: refused for training without --skip-unvoted"]
    assert found["next"].endswith("--test TEST --skip-unvoted")
    found = facts(capsys, str(path), "--skip-unvoted")
    assert found["rows"] == 120 or any("left out: 40 of 120 rows" in note for note in found["notes"])


def test_rows_without_a_vote_are_left_out_and_counted_on_every_verb(
    arena: SampleArena, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pl.read_csv(arena.path("train.csv"))
    votes = [c for c in frame.columns if c.startswith("winner")]
    path = tmp_path / "some.csv"
    voted = pl.int_range(pl.len()) >= 20
    frame.with_columns(pl.when(voted).then(pl.col(c)).alias(c) for c in votes).write_csv(path)
    recipe = tmp_path / "w" / "models" / "mine" / "recipe.toml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(
        'backbone = "lexical"\n[lexical]\nmax_features = 60\ninteractions = 0\ninner_folds = 0\n'
    )
    place = ["--workspace", str(tmp_path / "w")]
    train = ["--data", str(path), "--models", "mine", "--folds", "3", "--jobs", "1", *place]
    test = ["--test", str(arena.path("test.csv"))]
    for command in (
        ["oof", *train],
        ["submission", *train, *test],
        ["stack", *train],
        ["audit", "--data", str(path), "--no-canary", *place],
    ):
        line = refusal(command, capsys)
        assert "20 of 120 rows without a vote, the first in row 1" in line
        assert "--skip-unvoted" in line
    assert cli.run(["oof", *train, "--skip-unvoted", "--json"]) in (0, 4)
    told = capsys.readouterr()
    assert "left out: 20 of 120 rows without a vote" in told.err
    found = json.loads(told.out)
    assert found["battles"] == 100
    assert any("left out: 20 of 120 rows" in note for note in found["data_notes"])
    assert cli.run(["audit", "--data", str(path), "--no-canary", *place, "--skip-unvoted"]) in (0, 1)
    assert "100 battles" in capsys.readouterr().out


def test_predictions_without_labels(arena: SampleArena, capsys: pytest.CaptureFixture[str]) -> None:
    path = arena.write("mine.csv", arena.honest() * 1.01, text=["x"] * 120)
    found = facts(capsys, "--oof", str(path))
    assert found["columns_read"]["p_tie"] == "P(tie) of mine"
    assert found["columns_not_read"] == ["text"]
    assert any("120 of 120 rows did not sum to 1 and were normalised" in note for note in found["notes"])
    assert "nothing was checked against votes" in found["left_out"][0]
    assert found["next"].startswith(f"arena-ensemble import mine --oof {path}")


def test_predictions_with_labels(
    arena: SampleArena, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = str(arena.path("train.csv"))
    path = arena.write("mine.csv", arena.honest())
    found = facts(capsys, "--oof", str(path), "--labels", labels)
    assert found["members"]["mine"]["log_loss"] < found["members"]["mine"]["prior_log_loss"]
    assert found["next"] == f"arena-ensemble stack --labels {labels} --oof {path} --out DIR"
    part = tmp_path / "mine.csv"
    pl.read_csv(path).tail(100).write_csv(part)
    found = facts(capsys, "--oof", str(part), "--labels", labels)
    assert "20 of 120 labelled rows are not predicted, the first with id" in found["left_out"][0]
    assert "--common" in found["left_out"][0]


def test_arrays_logits_and_seeds(
    arena: SampleArena, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = str(arena.path("train.csv"))
    wanted = arena.honest()
    np.save(tmp_path / "m.npy", np.log(wanted) + 3)
    place = ["--workspace", str(tmp_path)]
    commands: list[list[str]] = [
        ["validate", "--oof", str(tmp_path / "m.npy"), "--labels", labels],
        ["import", "m", "--oof", str(tmp_path / "m.npy"), *place],
        ["stack", "--labels", labels, "--oof", str(tmp_path / "m.npy"), "--out", str(tmp_path / "out")],
    ]
    for command in commands:
        assert "--ids" in refusal(command, capsys)
        assert "--logits" in refusal([*command, "--ids", labels], capsys)
    assert cli.run([*commands[0], "--ids", labels, "--logits"]) == 0
    assert cli.run([*commands[1], "--ids", labels, "--logits"]) == 0
    kept = pl.read_parquet(tmp_path / "oof" / "m" / "oof.parquet")
    np.testing.assert_allclose(kept.select(pl.col("^logp_.*$").exp()).to_numpy(), wanted, atol=1e-12)
    table = arena.write("table.csv", wanted)
    assert "leave out --ids" in refusal(["import", "t", "--oof", str(table), "--ids", labels, *place], capsys)


def test_seeds_are_averaged_by_an_explicit_option(
    arena: SampleArena, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [pl.read_csv(arena.write(f"s{seed}.csv", arena.honest(seed=seed))) for seed in (1, 2)]
    path = tmp_path / "m.csv"
    pl.concat(parts).write_csv(path)
    command = ["import", "m", "--oof", str(path), "--workspace", str(tmp_path)]
    assert "--average" in refusal(command, capsys)
    assert cli.run([*command, "--average"]) == 0
    kept = pl.read_parquet(tmp_path / "oof" / "m" / "oof.parquet").select("^logp_.*$").to_numpy()
    mean = (np.log(arena.honest(seed=1)) + np.log(arena.honest(seed=2))) / 2
    wanted = mean - np.logaddexp.reduce(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(kept, wanted, atol=1e-9)
    labels = str(arena.path("train.csv"))
    files = [text for seed in (1, 2) for text in ("--oof", f"m={arena.path(f's{seed}.csv')}")]
    stack = ["stack", "--labels", labels, *files, "--out", str(tmp_path / "out")]
    line = refusal(stack, capsys)
    assert "the member 'm' is given twice" in line
    assert "--average" in line


def test_usage() -> None:
    assert cli.run(["validate"]) == 2
    assert cli.run(["validate", "a.csv", "--oof", "b.csv"]) == 2
    assert cli.run(["validate", "a.csv", "--logits"]) == 2
