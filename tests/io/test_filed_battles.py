"""Battles whose texts are in files are the battles in memory, whatever is done with them."""

from __future__ import annotations

import gc
import os
import pickle
import socket
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arena_ensemble.battles import Battles
from arena_ensemble.errors import ArenaError, InputError
from arena_ensemble.features import extract
from arena_ensemble.folds import grouping
from arena_ensemble.io import battles as reader
from arena_ensemble.io import filed_battles, load_battles, read_battles
from arena_ensemble.io.filed_battles import FiledBattles
from arena_ensemble.sample import kaggle_frame, make_arena

ROWS = 60


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MANY_ROWS", 20)
    monkeypatch.setattr(reader, "_SHOWN_PROBLEMS", 3)
    monkeypatch.setattr(filed_battles, "FILE_ROWS", 7)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("filed") / "train.csv"
    kaggle_frame(make_arena(ROWS, seed=4).battles, labelled=True).write_csv(file)
    return file


def filed(path: Path, folder: Path) -> FiledBattles:
    found = read_battles(path, scratch=folder)
    assert isinstance(found, FiledBattles)
    return found


def same(found: Battles, expected: Battles) -> bool:
    assert len(found) == len(expected)
    assert found.ids.equals(expected.ids)
    assert found.labelled == expected.labelled
    parts = [part.frame for part in found.parts(11)]
    assert all(len(part) == 11 for part in parts[:-1])
    return found.frame.equals(expected.frame) and pl.concat(parts).equals(expected.frame)


steps = st.lists(
    st.one_of(
        st.just("swap"), st.just("hide"), st.just("pickle"), st.lists(st.integers(0, 10**6), max_size=30)
    ),
    max_size=4,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_whatever_is_done_with_them_they_are_the_same(
    tmp_path: Path, path: Path, todo: list[str | list[int]]
) -> None:
    found: Battles = filed(path, tmp_path)
    first, expected = found, read_battles(path)
    for step in todo:
        if step == "swap":
            found, expected = found.swapped(), expected.swapped()
        elif step == "hide":
            found, expected = found.without_outcomes(), expected.without_outcomes()
        elif step == "pickle":
            found = pickle.loads(pickle.dumps(found))  # as a worker gets it
        else:
            rows = list(dict.fromkeys(row % len(found) for row in step)) if len(found) else []
            found, expected = found.take(rows), expected.take(rows)
    assert same(found, expected)
    assert found.digest() == expected.digest()
    assert found.in_memory().frame.equals(expected.frame)
    assert type(found.in_memory()) is Battles
    del first


def test_what_is_computed_of_them_is_the_same_to_the_bit(tmp_path: Path, path: Path) -> None:
    found, expected = filed(path, tmp_path), read_battles(path)
    np.testing.assert_array_equal(extract(found).odd, extract(expected).odd)
    np.testing.assert_array_equal(grouping(found).group, grouping(expected).group)
    np.testing.assert_array_equal(found.outcomes(), expected.outcomes())
    report, known = (load_battles(path, scratch=folder).report.as_dict() for folder in (tmp_path, None))
    assert report == known
    assert "60 rows in" in repr(found)


def test_rows_without_a_vote_are_left_out(tmp_path: Path, path: Path) -> None:
    frame = pl.read_csv(path, infer_schema_length=0)
    votes = [name for name in frame.columns if name.startswith("winner")]
    gone = pl.int_range(pl.len()).is_in([3, 40])
    some = frame.with_columns(pl.when(gone).then(None).otherwise(name).alias(name) for name in votes)
    some.write_csv(tmp_path / "some.csv")
    expected = load_battles(tmp_path / "some.csv", skip_unvoted=True)
    found = load_battles(tmp_path / "some.csv", skip_unvoted=True, scratch=tmp_path)
    assert same(found.battles, expected.battles)
    assert found.report.notes == expected.report.notes
    with pytest.raises(InputError, match=r"2 of 60 rows without a vote, the first in row 4"):
        load_battles(tmp_path / "some.csv", need_votes=True, scratch=tmp_path)


def test_a_file_that_asks_nothing_is_refused_all_the_same(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"id": k, "prompt": "", "chosen": f"yes {k}", "rejected": "no"} for k in range(ROWS)
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "pairs.csv")
    messages = []
    for scratch in (None, tmp_path):
        with pytest.raises(InputError, match="prompt is empty in every row") as refusal:
            read_battles(tmp_path / "pairs.csv", scratch=scratch)
        messages.append(str(refusal.value))
    assert messages[0] == messages[1]


def test_few_battles_and_those_without_a_folder_are_in_memory(tmp_path: Path, path: Path) -> None:
    assert type(read_battles(path)) is Battles
    pl.read_csv(path, infer_schema_length=0).head(20).write_csv(tmp_path / "few.csv")
    assert type(read_battles(tmp_path / "few.csv", scratch=tmp_path / "none")) is Battles
    assert not (tmp_path / "none").exists()


def test_the_files_go_with_their_owner_and_those_of_a_killed_process_with_the_next(
    tmp_path: Path, path: Path
) -> None:
    host = socket.gethostname()
    dead = tmp_path / f"texts-{host}-{2**22 + 1}-0"  # above the largest process id
    alive = tmp_path / f"texts-{host}-{os.getppid()}-0"
    for folder in (dead, alive):
        folder.mkdir()
    found = filed(path, tmp_path)
    copy = pickle.loads(pickle.dumps(found.take([1, 2])))
    folders = {one.name for one in tmp_path.iterdir()}
    assert alive.name in folders
    assert dead.name not in folders
    assert len(folders) == 2
    del copy
    gc.collect()
    assert len(found.take([5]).frame) == 1  # a copy leaves the files to their owner
    del found
    gc.collect()
    assert [one.name for one in tmp_path.iterdir()] == [alive.name]


@pytest.mark.parametrize("what", ["no folder", "full"])
def test_a_disk_that_takes_no_texts_is_named(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    place = tmp_path / "cache"
    if what == "full":
        # polars tells ENOSPC as a parquet file out of specification
        monkeypatch.setattr(filed_battles.TextFiles, "_file", lambda self, number: Path("/dev/full"))
    else:
        place.write_text("a file")
    reason = "No space left on device" if what == "full" else "Not a directory"
    with pytest.raises(ArenaError, match=rf"cannot write {place}/texts-.*{reason}.*Free some space"):
        read_battles(path, scratch=place)
