"""--one-order: external members of one order are offered a lean; what they saw first may differ by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from arena_ensemble import cli
from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.errors import InputError
from arena_ensemble.pipeline.build import saw_one_order
from arena_ensemble.pipeline.external import read_external
from arena_ensemble.pipeline.external_files import NamedFile
from arena_ensemble.predictions import from_delta_tau

ROWS = 600


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A member that leans to what it saw first, an order drawn by chance, votes, and a test half."""
    root = tmp_path_factory.mktemp("order")
    rng = np.random.default_rng(0)
    delta = rng.normal(size=ROWS) * 1.5
    truth = from_delta_tau(delta, np.full(ROWS, -1.0))
    y = (rng.random(ROWS)[:, None] > np.exp(truth).cumsum(axis=1)[:, :2]).sum(axis=1)
    a_first = rng.random(ROWS) < 0.5
    said = np.exp(from_delta_tau(delta + np.where(a_first, 1.5, -1.5), np.full(ROWS, -1.0)))
    table = pl.DataFrame(
        {
            "id": np.arange(ROWS),
            "label": y,
            "seen": np.where(a_first, "a", "b"),
            **{f"leaning_{side}": said[:, k] for k, side in enumerate(("a", "b", "tie"))},
        }
    )
    half = ROWS * 2 // 3
    table.head(half).select("id", "label", "seen").write_csv(root / "labels.csv")
    table.head(half).select(pl.exclude("label", "seen")).write_csv(root / "oof.csv")
    table.tail(ROWS - half).select(pl.exclude("label", "seen")).write_csv(root / "test.csv")
    table.select("id", pl.col("seen").alias("first")).write_csv(root / "first.csv")
    table.tail(ROWS - half).select("id", "label").write_csv(root / "truth.csv")
    return root


def test_the_lean_is_learned_and_applied_to_test_rows(files: Path) -> None:
    words = ["stack", "--labels", str(files / "labels.csv"), "--oof", str(files / "oof.csv")]
    words += ["--test", str(files / "test.csv"), "--out", str(files / "out")]
    assert cli.run([*words, "--one-order", "leaning", "--first", str(files / "first.csv")]) == 0
    rows = json.loads((files / "out" / "table.json").read_text())["rows"]
    losses = {row["name"]: row["log_loss"] for row in rows}
    even = losses["best member, temperature"]  # what no lean can do
    assert rows[-1]["log_loss"] < even - 0.02
    probs = pl.read_csv(files / "out" / "submission.csv").drop("id").to_numpy()
    y = pl.read_csv(files / "truth.csv")["label"].to_numpy()
    assert -np.log(probs[np.arange(len(y)), y]).mean() < even - 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"one_order": ["nobody"]}, "no member 'nobody'; name some of leaning"),
        ({"first": "seen"}, "name them with --one-order"),
        (
            {"one_order": ["leaning"], "first": "seen", "tests": True},
            "says nothing of the test rows; give a file",
        ),
        ({"one_order": ["leaning"], "first": "label"}, "write a or b, what was shown first"),
    ],
)
def test_what_is_unclear_is_refused(files: Path, options: dict[str, Any], message: str) -> None:
    tests = [NamedFile(files / "test.csv")] if options.pop("tests", False) else []
    with pytest.raises(InputError, match=message):
        read_external(files / "labels.csv", [NamedFile(files / "oof.csv")], tests=tests, **options)


def test_a_column_of_the_labels_says_what_was_seen_first(files: Path) -> None:
    data = read_external(
        files / "labels.csv", [NamedFile(files / "oof.csv")], one_order=["leaning"], first="seen"
    )
    assert data.first is not None
    assert data.first.tolist() == pl.read_csv(files / "labels.csv")["seen"].to_list()


def test_an_imported_member_is_marked(files: Path, tmp_path: Path) -> None:
    words = ["import", "mine", "--oof", str(files / "oof.csv"), "--workspace", str(tmp_path)]
    for marked in (True, False):
        assert cli.run([*words, *(["--one-order"] if marked else [])]) == 0
        predictions, card = MemberArtifacts(Workspace(tmp_path), "mine").load()
        assert card.one_order is marked
        assert saw_one_order(card, predictions) is marked
    assert cli.run(["import", "x", "--adapter", str(tmp_path), "--one-order"]) == 2
