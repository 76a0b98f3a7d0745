"""What the user chooses is kept: the format, what counts as one prompt, and what the cards say of both."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from arena_ensemble import cli, sample
from arena_ensemble.artifacts import atomic, cards, fold_file
from arena_ensemble.artifacts.cards import MemberCard
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.errors import StaleError
from arena_ensemble.sample import make_arena

RECIPE = b'backbone = "lexical"\n[lexical]\nmax_features = 60\ninteractions = 0\ninner_folds = 0\n'


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def bracketed(folder: Path) -> Path:
    """A two-outcome file without its winner column, whose prompts look like Kaggle's lists."""
    path = folder / "plain.csv"
    table = {"id": [1, 2], "prompt": ["[1, 2]", "[3]"], "response_a": ["[]", "x"], "response_b": ["y", "z"]}
    pl.DataFrame(table).write_csv(path)
    return path


def test_validate_takes_a_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = bracketed(tmp_path)
    assert cli.run(["validate", str(path), "--format", "arena"]) == 1
    assert "lacks the column conversation_a, conversation_b" in capsys.readouterr().err
    assert cli.run(["validate", str(path), "--format", "wsdm", "--json"]) == 0
    assert told(capsys)["format"] == "wsdm"
    assert cli.run(["validate", str(path), "--format", "kagle"]) == 1
    assert "unknown format 'kagle'; known formats: kaggle, wsdm, arena" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["oof", "stack", "submission", "audit", "predict"])
def test_every_verb_that_reads_battles_takes_a_format(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in sample.files(30, 4, seed=3).items():
        (tmp_path / name).write_text(text)
    data = ["--data", str(tmp_path / "train.csv")] if verb != "predict" else []
    test = ["--test", str(tmp_path / "test.csv")] if verb in ("submission", "predict") else []
    members = ["--models", "lexical"] if verb in ("oof", "stack", "submission") else []
    command = [verb, *data, *test, *members, "--workspace", str(tmp_path / "w"), "--format", "arena"]
    assert cli.run(command) == 1
    assert "lacks the column conversation_a, conversation_b" in capsys.readouterr().err


def test_the_test_file_is_read_in_the_given_format_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"id": k, "prompt": f"[{k}]", "response_a": f"a {k} " * (k % 3 + 1), "response_b": "b b",
         "winner": ("model_a", "model_b")[k % 2]} for k in range(30)
    ]  # fmt: skip
    pl.DataFrame(rows).write_csv(tmp_path / "train.csv", quote_style="always")
    pl.DataFrame(rows).drop("winner").write_csv(tmp_path / "test.csv", quote_style="always")
    atomic.write_bytes(tmp_path / "w" / "models" / "mine" / "recipe.toml", RECIPE)
    command = [
        "oof", "--data", str(tmp_path / "train.csv"), "--test", str(tmp_path / "test.csv"),
        "--models", "mine", "--folds", "2", "--jobs", "1", "--workspace", str(tmp_path / "w"),
    ]  # fmt: skip
    pl.DataFrame(rows).drop("winner").rename({"prompt": "asked"}).write_csv(tmp_path / "test.csv")
    assert cli.run([*command, "--format", "wsdm"]) == 1
    assert "test.csv lacks the column prompt" in capsys.readouterr().err
    pl.DataFrame(rows).drop("winner").write_csv(tmp_path / "test.csv", quote_style="always")
    assert cli.run([*command, "--format", "wsdm"]) in (0, 4)


@pytest.mark.parametrize("given", ["0", "1.5", "-1", "nan", "many"])
def test_a_wrong_similarity_is_refused(
    given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.csv").write_text(sample.files(30, 4, seed=3)["train.csv"])
    command = ["oof", "--data", str(tmp_path / "train.csv"), "--models", "lexical", "--workspace",
               str(tmp_path / "w"), "--near-duplicates", given]  # fmt: skip
    assert cli.run(command) == 1
    assert "expected a share above 0 and up to 1, or off" in capsys.readouterr().err
    assert not (tmp_path / "w" / "oof").exists()


def test_folds_of_another_similarity_are_refused(tmp_path: Path) -> None:
    workspace, train = Workspace(tmp_path), make_arena(60, seed=3).battles
    made = fold_file.ensure_folds(workspace, train, n_folds=3, seed=0, near_duplicates=0.6)
    again = fold_file.ensure_folds(workspace, train, n_folds=3, seed=0, near_duplicates=0.6)
    assert again.digest == made.digest
    for other in (0.7, None):
        with pytest.raises(StaleError, match=r"near-duplicates.* --near-duplicates 0\.6; pass those"):
            fold_file.ensure_folds(workspace, train, n_folds=3, seed=0, near_duplicates=other)


def test_the_card_says_how_the_order_of_pairs_was_drawn(tmp_path: Path) -> None:
    rows = [{"prompt": f"question {k}", "chosen": f"good {k}", "rejected": f"bad {k}"} for k in range(30)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    atomic.write_bytes(tmp_path / "w" / "models" / "mine" / "recipe.toml", RECIPE)
    command = ["oof", "--data", str(tmp_path / "pairs.jsonl"), "--models", "mine", "--folds", "2",
               "--jobs", "1", "--workspace", str(tmp_path / "w")]  # fmt: skip
    assert cli.run(command) in (0, 4)
    card = cards.read_card(tmp_path / "w" / "oof" / "mine", MemberCard)
    assert card is not None
    assert any("drawn by a hash of the texts (BLAKE2b, seed 0)" in note for note in card.data_notes)
