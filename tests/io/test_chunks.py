"""A file read in chunks is the file read whole, row for row, whatever it is and wherever it is cut."""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arena_ensemble.battles import Battles
from arena_ensemble.errors import InputError
from arena_ensemble.io import open_chunks, read_battles, tables
from arena_ensemble.sample import kaggle_frame, make_arena

ROWS = 53


def chunked(path: Path, rows: int, format: str | None = None) -> list[Battles]:
    chunks = pickle.loads(pickle.dumps(open_chunks(path, rows=rows, format=format)))  # as a worker gets it
    return [chunks.battles(raw) for raw in open_chunks(path, rows=rows, format=format).raw()]


def as_csv(frame: pl.DataFrame, path: Path) -> Path:
    frame.write_csv(path.with_suffix(".csv"))
    return path.with_suffix(".csv")


def as_parquet(frame: pl.DataFrame, path: Path) -> Path:
    frame.write_parquet(path.with_suffix(".parquet"), row_group_size=7)
    return path.with_suffix(".parquet")


def as_lines(frame: pl.DataFrame, path: Path) -> Path:
    lines = [json.dumps(row) for row in frame.to_dicts()]
    lines.insert(5, "  ")  # a blank line is no row
    path.with_suffix(".jsonl").write_bytes(b"\xef\xbb\xbf" + "\n".join(lines).encode())
    return path.with_suffix(".jsonl")


def as_packed_lines(frame: pl.DataFrame, path: Path) -> Path:
    packed = path.with_suffix(".jsonl.gz")
    packed.write_bytes(gzip.compress(as_lines(frame, path).read_bytes()))
    return packed


def as_array(frame: pl.DataFrame, path: Path) -> Path:
    path.with_suffix(".json").write_text(json.dumps(frame.to_dicts()))
    return path.with_suffix(".json")


KINDS = [as_csv, as_parquet, as_lines, as_packed_lines, as_array]


@pytest.mark.parametrize("write", KINDS)
@given(rows=st.integers(1, 60))
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_chunks_are_the_file_cut_up(
    write: Callable[[pl.DataFrame, Path], Path], tmp_path: Path, rows: int
) -> None:
    path = write(kaggle_frame(make_arena(ROWS, seed=2).battles, labelled=True), tmp_path / "f")
    whole = read_battles(path)
    parts = chunked(path, rows)
    assert [len(part) for part in parts[:-1]] == [rows] * (len(parts) - 1)
    assert 1 <= len(parts[-1]) <= rows
    together = pl.concat([part.frame for part in parts])
    assert together.equals(whole.without_outcomes().frame.select(together.columns))


@pytest.mark.parametrize("write", KINDS)
@pytest.mark.parametrize("texts", [False, True])
def test_ids_are_read_alone(write: Callable[[pl.DataFrame, Path], Path], texts: bool, tmp_path: Path) -> None:
    frame = kaggle_frame(make_arena(ROWS, seed=2).battles, labelled=True)
    if texts:
        frame = frame.with_columns("x" + pl.col("id").cast(pl.String))
    path = write(frame, tmp_path / "f")
    assert open_chunks(path).ids().equals(read_battles(path).ids)
    twice = write(pl.concat([frame, frame.head(1)]), tmp_path / "twice")
    with pytest.raises(InputError, match=rf"row {ROWS + 1} .*: the id repeats row 1; .* remove the doubled"):
        open_chunks(twice).ids()


def test_rows_without_ids_are_numbered_through(tmp_path: Path) -> None:
    rows = [{"prompt": f"q {k}", "chosen": f"a {k}", "rejected": f"b {k}"} for k in range(9)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    parts = chunked(path, 4)
    assert [part.ids.to_list() for part in parts] == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]
    assert open_chunks(path).ids().to_list() == [*range(1, 10)]
    together = pl.concat([part.frame for part in parts])
    assert together.equals(read_battles(path).without_outcomes().frame.select(together.columns))


def test_text_ids_stay_as_they_are_written(tmp_path: Path) -> None:
    frame = pl.DataFrame({"id": ["007", "8", "9"], "prompt": "q", "response_a": "a", "response_b": "b"})
    for path in (as_csv(frame, tmp_path / "f"), as_lines(frame, tmp_path / "f")):
        # in the chunk of 8 and 9 alone every id would be a number
        assert [part.ids.to_list() for part in chunked(path, 1)] == [["007"], ["8"], ["9"]]


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ({"id": "x7"}, r"row 1002 \(id 1001\)|ids are strings, those of the first 1,000 rows are integers"),
        ({"response_a": 5}, r"row 1003 \(id 1002\)"),
        ({"id": None}, r"row 1003 \(id None\): the id is empty; give"),
    ],
)
def test_a_bad_row_is_named_by_its_row_in_the_file(
    tmp_path: Path, last: dict[str, object], words: str
) -> None:
    rows = [{"id": k, "prompt": ["q"], "response_a": ["a"], "response_b": ["b"]} for k in range(1003)]
    rows[-1] = {**rows[-1], **last}
    path = tmp_path / "f.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match=words):
        chunked(path, 1001)


def test_a_cut_off_file_is_named_by_row(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    row = {"prompt": "q", "response_a": "a", "response_b": "b"}
    path.write_text("\n".join(json.dumps({"id": k, **row}) for k in range(1501))[:-9])
    with pytest.raises(InputError, match=r"row 1501: not one whole JSON object .*fetch it again"):
        chunked(path, 100)


@pytest.mark.parametrize("write", [as_csv, as_lines])
def test_an_id_that_repeats_is_named_by_both_rows(
    write: Callable[[pl.DataFrame, Path], Path], tmp_path: Path
) -> None:
    ids = ["x", "a", "b", "a"]
    frame = pl.DataFrame({"id": ids, "prompt": "q", "response_a": "a", "response_b": "b"})
    with pytest.raises(InputError, match=r"row 4 \(id a\): the id repeats row 2"):
        chunked(write(frame, tmp_path / "f"), 4)


def test_chunks_of_no_rows_are_refused(tmp_path: Path) -> None:
    path = as_csv(kaggle_frame(make_arena(5, seed=2).battles, labelled=False), tmp_path / "f")
    with pytest.raises(InputError, match="give at least 1"):
        open_chunks(path, rows=0)


def test_parquet_is_cut_up_across_spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_SPAN_ROWS", 16)
    path = as_parquet(kaggle_frame(make_arena(ROWS, seed=2).battles, labelled=False), tmp_path / "f")
    for rows in (1, 5, 16, 17, 53, 60):
        parts = chunked(path, rows)
        assert [len(part) for part in parts[:-1]] == [rows] * (len(parts) - 1)
        assert pl.concat([part.frame for part in parts]).equals(read_battles(path).frame)
