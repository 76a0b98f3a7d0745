"""Tables: files as rows of cells."""

from __future__ import annotations

import csv
from pathlib import Path

from data_files import KAGGLE, csv_text

from arena_ensemble.io import load_battles


def test_reading_leaves_csv_as_it_was(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    path = tmp_path / "x.csv"
    path.write_text(csv_text(KAGGLE))
    load_battles(path)
    assert csv.field_size_limit() == before
