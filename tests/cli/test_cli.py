"""The command line as a user meets it: exit codes, one-line errors, JSON, nothing written over."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from arena_ensemble import cli, sample
from arena_ensemble.cli import runner
from arena_ensemble.errors import ArenaError

ROWS, TEST_ROWS = 240, 30


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name, text in sample.files(ROWS, TEST_ROWS, seed=11).items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which the lexical member made a submission."""
    workspace = tmp_path_factory.mktemp("finished")
    assert cli.run(submission(data, workspace)) == 0
    return workspace


def submission(data: Path, workspace: Path, *more: str) -> list[str]:
    return [
        "submission", "--data", str(data / "train.csv"), "--test", str(data / "test.csv"),
        "--models", "lexical", "--sample-submission", str(data / "sample_submission.csv"),
        "--truth", str(data / "truth.csv"), "--workspace", str(workspace), "--jobs", "1", *more,
    ]  # fmt: skip


def tree(folder: Path) -> dict[str, bytes]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".arena-lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


@pytest.mark.slow
def test_a_submission_is_valid_and_a_rerun_changes_nothing(
    data: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = pl.read_csv(data / "test.csv")
    made = pl.read_csv(finished / "submission.csv")
    assert made.columns == ["id", "winner_model_a", "winner_model_b", "winner_tie"]
    assert made["id"].equals(test["id"])
    probs = made.select(pl.exclude("id")).to_numpy()
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-12)
    assert (probs > 0).all()
    before = tree(finished)
    assert cli.run(submission(data, finished, "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert tree(finished) == before
    assert told["rows"] == TEST_ROWS
    names = [row["name"] for row in told["table"]]
    assert names[0] == "prior"
    assert names[-1] == "Bayes floor"
    assert told["table"][-1]["gap_closed"] == 1.0


@pytest.mark.slow
def test_predict_needs_no_training_data_and_agrees_with_submission(data: Path, finished: Path) -> None:
    wanted = (finished / "submission.csv").read_bytes()
    out = finished / "again.csv"
    assert (
        cli.run(
            ["predict", "--test", str(data / "test.csv"), "--workspace", str(finished), "--out", str(out)]
        )
        == 0
    )
    assert out.read_bytes() == wanted
    out.unlink()


@pytest.mark.slow
def test_predictions_made_elsewhere_are_stacked_by_id(
    data: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    oof = pl.read_parquet(finished / "oof" / "lexical" / "oof.parquet")
    probs = oof.select(
        "id", p_a=pl.col("logp_a").exp(), p_b=pl.col("logp_b").exp(), p_tie=pl.col("logp_tie").exp()
    )
    probs.sample(fraction=1, shuffle=True, seed=1).write_csv(tmp_path / "mine.csv")
    train = str(data / "train.csv")
    common = [
        "--labels",
        train,
        "--out",
        str(tmp_path / "out"),
        "--text",
        train,
        "--workspace",
        str(tmp_path),
    ]
    assert cli.run(["stack", *common, "--oof", f"mine={tmp_path / 'mine.csv'}", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["battles"] == ROWS
    assert {"prior", "mine"} <= {row["name"] for row in told["table"]}
    assert (tmp_path / "out" / "card.json").is_file()

    probs.head(ROWS - 3).write_csv(tmp_path / "short.csv")
    assert cli.run(["stack", *common, "--oof", f"short={tmp_path / 'short.csv'}"]) == 1
    assert "member 'short': 3 ids are missing" in capsys.readouterr().err

    flipped = probs.select("id", p_a="p_b", p_b="p_a", p_tie="p_tie")
    flipped.write_csv(tmp_path / "flipped.csv")
    assert cli.run(["stack", *common, "--oof", f"flipped={tmp_path / 'flipped.csv'}"]) == 1
    assert "its columns look exchanged" in capsys.readouterr().err


@pytest.mark.slow
def test_an_imported_member_stands_beside_trained_ones(
    data: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    oof, test = (finished / "oof" / "lexical" / name for name in ("oof.parquet", "test.parquet"))
    place = ["--workspace", str(tmp_path)]
    assert cli.run(["import", "theirs", "--oof", str(oof), "--test", str(test), *place]) == 0
    assert json.loads((tmp_path / "oof" / "theirs" / "card.json").read_text())["folds_verified"] is False
    command = submission(data, tmp_path)
    command[command.index("lexical")] = "theirs"
    assert cli.run(command) == 0
    assert len(pl.read_csv(tmp_path / "submission.csv")) == TEST_ROWS
    assert cli.run(["import", "../evil", "--oof", str(oof), *place]) == 1
    assert "is no member name" in capsys.readouterr().err


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 1) -> str:
    """The one-line error of a command that must fail."""
    assert cli.run(arguments) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--models", "nothing"], r"no recipe 'nothing'"),
        (["--models", "../x"], r"is no member name"),
        (["--data", "absent.csv"], r"absent.csv does not exist"),
        (["--folds", "1"], r"fold"),
        (["--folds", "100000"], r"groups"),
    ],
)
def test_bad_arguments_are_one_clear_line_and_nothing_is_written(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    line = refused([*submission(data, tmp_path), *change], capsys)
    assert message in line
    assert not (tmp_path / "submission.csv").exists()
    assert not (tmp_path / "oof").exists()


def test_a_recipe_with_an_unknown_key_or_a_missing_base_is_named_before_any_work(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "models" / "mine" / "recipe.toml"
    recipe.parent.mkdir(parents=True)
    command = submission(data, tmp_path)
    command[command.index("lexical")] = "mine"
    recipe.write_text('backbone = "lexical"\nepochz = 3\n')
    assert "unknown key 'epochz'" in refused(command, capsys)
    recipe.write_text('backbone = "classify"\nbase = "./nowhere"\n')
    assert "is no folder" in refused(command, capsys)
    assert not (tmp_path / "oof").exists()


def test_a_fold_file_of_other_data_is_refused(
    data: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = sample.files(200, 10, seed=5)["train.csv"]
    (tmp_path / "other.csv").write_text(text)
    command = submission(data, finished)
    command[2] = str(tmp_path / "other.csv")
    before = tree(finished)
    assert "of other battles" in refused(command, capsys)
    assert tree(finished) == before


def test_exit_codes_of_usage_bugs_and_interrupts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([]) == 2
    assert cli.run(["no-such-verb"]) == 2
    assert cli.run(["oof"]) == 2
    assert cli.run(["--version"]) == 0
    capsys.readouterr()
    for error, code in ((KeyboardInterrupt(), 130), (TypeError("ours"), 3), (ArenaError("yours"), 1)):

        def fail(*_: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(runner, "print_result", fail)
        assert cli.run(["validate", "x.csv"]) == code
    assert "this is a bug in arena-ensemble" in capsys.readouterr().err


def test_validate_says_what_a_file_holds(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["validate", str(data / "train.csv"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == ROWS
    assert sum(told["outcomes"].values()) == ROWS


def test_the_module_runs_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "arena_ensemble", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    for verb in cli.VERBS:
        assert verb in done.stdout
