"""Every bad file of the table ends in one clear line, and leaves its folder as it was."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import zstandard
from cases import CASES, GOOD, LISTED, Case, parquet, rows, text

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


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.csv"
    path.write_text(GOOD)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)  # as root, chmod would stop nobody
    with pytest.raises(ArenaError, match=r"secret\.csv may not be read; check its permissions"):
        readers.read(path)


def test_a_disk_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.csv"
    path.write_text(GOOD)

    def broken(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", broken)
    with pytest.raises(ArenaError, match=r"x\.csv cannot be read: Input/output error"):
        readers.read(path)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_bomb_is_refused_before_it_fills_the_memory(
    pack: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers.tables, "_BOMB_BYTES", 1 << 20)
    path = tmp_path / "bomb"
    path.write_bytes(pack(GOOD.encode() + b"\n" * (1 << 24)))
    with pytest.raises(ArenaError, match="swells over 250 times when unpacked"):
        readers.read(path)


def test_a_name_with_pattern_characters_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "train[1]*.parquet"
    path.write_bytes(parquet(LISTED))
    assert len(readers.read(path).battles) == 8


def test_what_a_message_quotes_cannot_drive_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text(rows(id="\x1b[2Jevil\nline" * 200, winner_tie=7)))
    with pytest.raises(ArenaError) as caught:
        readers.read(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
