"""Battles files: containers, ids, counts, what is refused, and the law that what is written is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from data_files import KAGGLE, KAGGLE_TURNS, WRITERS, csv_text, hot, jsonl_text, triples
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.errors import InputError
from arena_ensemble.io import load_battles, read_battles
from arena_ensemble.io.ids import replaced_surrogates


@pytest.mark.parametrize("kind", WRITERS)
def test_kaggle_in_every_container_gives_the_same_battles(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "no_suffix"  # the name says nothing
    path.write_bytes(WRITERS[kind](KAGGLE))
    loaded = load_battles(path)
    assert triples(loaded.battles) == KAGGLE_TURNS
    assert loaded.battles.frame["model_a"].to_list() == ["m1", "m2", "m3"]
    report = loaded.report
    assert (report.format, report.rows, report.task_outcomes) == ("kaggle", 3, 3)
    assert report.outcomes == {"A": 1, "B": 1, "tie": 1}
    assert (report.null_turns, report.null_responses, report.both_null) == (3, 2, 1)
    assert report.turns == {1: 2, 2: 1}
    assert report.characters["response_b"].max == 140_000
    json.dumps(report.as_dict())


def test_a_test_file_has_no_outcomes(tmp_path: Path) -> None:
    rows = [{k: row[k] for k in ("id", "prompt", "response_a", "response_b")} for row in KAGGLE]
    path = tmp_path / "train.csv"
    path.write_text(csv_text(rows))
    battles = read_battles(path)
    assert battles.frame["outcome"].null_count() == 3
    assert triples(battles) == [(*row[:4], None) for row in KAGGLE_TURNS]


def test_lone_surrogates_are_replaced_and_counted_and_pairs_are_joined(tmp_path: Path) -> None:
    row = {"id": 1, "prompt": ["\ud83d"], "response_a": ["ok \ud83d\ude00 \udc00\ud800"], "response_b": ["b"]}
    path = tmp_path / "x.csv"
    path.write_text(csv_text([row, {**row, "id": 2, "prompt": ["fine"], "response_a": ["\ufffd"]}]))
    loaded = load_battles(path)
    assert loaded.battles.frame["prompt"].to_list() == [["\ufffd"], ["fine"]]
    assert loaded.battles.frame["response_a"].to_list() == [["ok 😀 \ufffd\ufffd"], ["\ufffd"]]
    assert loaded.report.surrogates_replaced == 3
    assert loaded.report.rows == 2
    raw = csv_text([{**row, "prompt": "P"}]).replace("P", '"[""\ud83d""]"').encode("utf-8", "surrogatepass")
    path.write_bytes(raw)  # the same as three raw bytes, which are no UTF-8
    assert load_battles(path).battles.frame["prompt"].to_list() == [["\ufffd"]]


@pytest.mark.parametrize(
    ("ids", "dtype", "kept"),
    [
        (["3", "1", "2"], pl.Int64, [3, 1, 2]),
        (["007", "8"], pl.String, ["007", "8"]),
        (["-1", "0"], pl.Int64, [-1, 0]),
        (["a", "1"], pl.String, ["a", "1"]),
        (["9223372036854775807", "1"], pl.Int64, [9223372036854775807, 1]),
        (["9223372036854775808", "1"], pl.String, ["9223372036854775808", "1"]),
        ([" 1", "1"], pl.String, [" 1", "1"]),
        (["-0", "0"], pl.String, ["-0", "0"]),
        (["١", "1"], pl.String, ["١", "1"]),
    ],
)
def test_ids_are_kept_as_given(ids: list[str], dtype: Any, kept: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(csv_text([{**KAGGLE[0], "id": name} for name in ids]))
    battles = read_battles(path)
    assert battles.ids.dtype == dtype
    assert battles.ids.to_list() == kept


def test_json_strings_stay_strings(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(jsonl_text([{**KAGGLE[0], "id": "12"}]))
    assert read_battles(path).ids.to_list() == ["12"]


def test_many_bad_rows_are_counted_and_the_first_few_named(tmp_path: Path) -> None:
    rows = [{**KAGGLE[0], "id": k, "winner_model_b": int(k % 2)} for k in range(10)]
    path = tmp_path / "train.csv"
    path.write_text(csv_text(rows))
    with pytest.raises(InputError) as caught:
        load_battles(path)
    assert str(caught.value) == (
        "train.csv: 5 of 10 rows cannot be used: row 2 (id 1): winner columns sum to 2, expected 1; mark "
        "one outcome with 1; "
        "row 4 (id 3): winner columns sum to 2, expected 1; mark one outcome with 1; "
        "row 6 (id 5): winner columns sum to 2, expected 1; mark one outcome with 1; and 2 more"
    )


def test_need_outcomes(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(csv_text(KAGGLE[:1]))
    assert "one outcome only" in load_battles(path).report.notes[0]
    with pytest.raises(InputError, match="one outcome only"):
        load_battles(path, need_outcomes=True)


# any text, lone surrogates too; a NUL cannot stand in CSV outside of JSON
TEXT = st.text(st.characters(exclude_categories=[]), max_size=12)
TURN = st.one_of(st.none(), TEXT)


@given(
    st.lists(st.tuples(TURN, TURN, TURN, st.integers(0, 2)), min_size=1, max_size=8),
    st.sampled_from(["csv", "csv-crlf", "jsonl"]),
)
def test_what_is_written_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]], kind: str
) -> None:
    records = [
        {"id": k, "prompt": [p], "response_a": [a], "response_b": [b], **hot(y)}
        for k, (p, a, b, y) in enumerate(rows)
    ]
    path = tmp_path_factory.mktemp("law") / "x"
    path.write_bytes(WRITERS[kind](records))
    kept = [
        (k, *([t if t is None else replaced_surrogates(t)] for t in (p, a, b)), y)
        for k, (p, a, b, y) in enumerate(rows)
    ]
    assert triples(read_battles(path)) == kept


@pytest.mark.parametrize(
    ("name", "rows", "outcomes", "prompts"),
    [
        ("mtbench", 1751, (704, 630, 417), 80),
        ("tulu1", 1150, (423, 351, 376), 332),
        ("pandalm", 900, (389, 430, 81), 170),
        ("kaggle_head100", 100, (31, 33, 36), 100),
    ],
)
def test_real_votes(name: str, rows: int, outcomes: tuple[int, ...], prompts: int, shared_data: Path) -> None:
    loaded = load_battles(shared_data / "votes" / f"{name}.csv", need_outcomes=True)
    report = loaded.report
    assert report.rows == rows
    assert tuple(report.outcomes[k] for k in ("A", "B", "tie")) == outcomes
    assert loaded.battles.ids.dtype == pl.Int64
    assert loaded.battles.frame["prompt"].list.first().n_unique() == prompts
