"""What people open in a spreadsheet holds no formula; what the machine reads stays raw."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble import cli
from arena_ensemble.io import spreadsheet_csv, write_winners

FORMULAS = (
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =cmd|' /C calc'!A0", "\x00=1", "\ufeff=1",
    "＝1", "%0A=1", "|x",
)  # fmt: skip


def read_back(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_becomes_a_text(text: str) -> None:
    (_, (cell, number)) = read_back(spreadsheet_csv(["=a", "n"], [(text, -1.5)]))
    assert cell.startswith("'")
    assert number == "-1.5"


@given(st.lists(st.text(st.characters(exclude_categories=[]), max_size=20), min_size=1, max_size=4))
def test_no_cell_can_begin_a_formula_and_rows_stay_rows(cells: list[str]) -> None:
    content = spreadsheet_csv([f"c{k}" for k in range(len(cells))], [cells, cells])
    rows = read_back(content)
    assert [len(row) for row in rows] == [len(cells)] * 3
    for cell in rows[1]:
        assert cell.strip()[:1] not in ("=", "+", "-", "@")
        assert not cell.startswith(("\t", "\r", "\n"))


def test_suspicious_rows_are_written_for_people_and_the_submission_stays_raw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"id": "=1+1", "prompt": ["=HYPERLINK(1)"], "response_a": [None], "response_b": ["@x"], "hot": 0},
        {"id": "b", "prompt": ["q"], "response_a": ["same"], "response_b": ["same"], "hot": 1},
        {"id": "c", "prompt": ["q"], "response_a": ["one"], "response_b": ["two"], "hot": 2},
    ]
    names = ("winner_model_a", "winner_model_b", "winner_tie")
    lines = [
        {
            **{k: v for k, v in row.items() if k != "hot"},
            **{n: int(row["hot"] == j) for j, n in enumerate(names)},
        }
        for row in rows
    ]
    path, out = tmp_path / "x.jsonl", tmp_path / "look.csv"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert cli.run(["validate", str(path), "--suspicious", str(out), "--json"]) == 0
    reported = json.loads(capsys.readouterr().out)["suspicious"]
    found = read_back(out.read_bytes())
    assert found[0] == ["why", "id", "outcome", "prompt", "response_a", "response_b"]
    assert [row[0] for row in found[1:]] == [one["what"] for one in reported for _ in range(one["rows"])]
    assert found[1][1:] == ["'=1+1", "0", "'=HYPERLINK(1)", "", "'@x"]
    submission = tmp_path / "submission.csv"
    write_winners(submission, pl.Series(["=1+1"]), [[0.0, -1.0, -9.0]])
    assert submission.read_text() == "id,winner\n=1+1,model_a\n"
