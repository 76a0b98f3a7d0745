"""Tables: files as rows of cells."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from data_files import KAGGLE, WRITERS, csv_text

from arena_ensemble.io import load_battles, tables


def test_reading_leaves_csv_as_it_was(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    path = tmp_path / "x.csv"
    path.write_text(csv_text(KAGGLE))
    load_battles(path)
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind != "parquet"])
def test_the_head_is_the_first_rows(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(WRITERS[kind](KAGGLE))
    table = tables.open_table(path)
    rows = [row for batch in table.batches(["id", "model_a"]) for row in batch]
    assert [[str(cell) for cell in row] for row in rows] == [["30192", "m1"], ["7", "m2"], ["99", "m3"]]
    assert table.head(["id", "model_a"], 2) == rows[:2]


def test_parquet_is_read_once_unless_isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(WRITERS["parquet"](KAGGLE))
    tried: list[Path] = []
    monkeypatch.setattr(tables, "_try_parquet", tried.append)
    load_battles(path)
    assert not tried
    load_battles(path, isolated=True)
    assert tried == [path]


def test_a_header_decides_the_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    for header, delimiter in (
        ("a,b;c,d", ","),
        ("a;b;c", ";"),
        ("a\tb,c\td", "\t"),
        ('"a;b",c', ","),
        ("a", ","),
    ):
        path.write_text(header + "\n")
        assert tables.open_table(path).delimiter == delimiter
