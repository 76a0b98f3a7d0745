"""Every bad file of the table ends in one clear line, and leaves its folder as it was."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from cases import CASES, Case

from arena_ensemble import readers
from arena_ensemble.errors import ArenaError
from arena_ensemble.folds import make_folds


def use(case: Case, path: Path, folder: Path) -> None:
    """Give the file to the function that its role says."""
    if case.role == "train":
        make_folds(readers.read_battles(path, need_outcomes=True))
    elif case.role == "test":
        readers.read_battles(path)
    elif case.role == "predictions":
        readers.read_predictions(path)
    elif case.role == "labels":
        readers.read_labels(path)
    else:
        even = np.full((3, 3), np.log(1 / 3))
        readers.write_submission(folder / "submission.csv", pl.Series([1, 2, 3]), even, sample=path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_file_is_one_clear_error(case: Case, tmp_path: Path) -> None:
    path = case.build(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ArenaError) as caught:
        use(case, path, tmp_path)
    told = str(caught.value)
    assert re.search(case.message, told), told
    assert "\n" not in told
    assert len(told) < 600
    assert path.name in told or case.role == "train"  # what the folds say has no file
    assert sorted(tmp_path.iterdir()) == before


def test_the_table_is_large_and_its_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 120
