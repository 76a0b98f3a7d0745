"""Cases 4, 17 and 19: which columns count, which rows are one question, what no format fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from data_files import ARENA, KAGGLE, Rows, csv_text, hot, jsonl_text, say, triples

from arena_ensemble.errors import InputError
from arena_ensemble.io import load_battles, read_battles


def written(folder: Path, rows: Rows, kind: str = "csv") -> Path:
    path = folder / f"x.{kind}"
    path.write_text(csv_text(rows) if kind == "csv" else jsonl_text(rows))
    return path


def texts(path: Path, **options: Any) -> list[tuple[Any, ...]]:
    """Prompt, response A, response B, outcome of every row."""
    return [row[1:] for row in triples(read_battles(path, **options))]


# ---- case 4: an arena file that also has chosen and rejected

BESIDE: Rows = [
    {**row, "chosen": row["conversation_a" if row["winner"] == "model_a" else "conversation_b"],
     "rejected": row["conversation_b" if row["winner"] == "model_a" else "conversation_a"]}
    for row in ARENA
]  # fmt: skip
PLAIN: Rows = [
    {"id": k, "prompt": f"q{k}", "response_a": f"a{k}", "response_b": f"b{k}",
     "winner": ("model_a", "tie", "model_b")[k % 3]} for k in range(1, 9)
]  # fmt: skip


def with_pairs(rows: Rows, *, swapped: bool = False) -> Rows:
    """The rows with the winner's text as chosen; of a tie, response A."""
    first = {"model_a": "response_a", "tie": "response_a", "model_b": "response_b"}
    other = {"response_a": "response_b", "response_b": "response_a"}
    names = [first[row["winner"]] for row in rows]
    if swapped:
        names = [other[name] for name in names]
    return [
        {**row, "chosen": row[name], "rejected": row[other[name]]}
        for row, name in zip(rows, names, strict=True)
    ]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_votes_of_an_arena_file_beat_its_pairs(kind: str, tmp_path: Path) -> None:
    loaded = load_battles(written(tmp_path, BESIDE, kind))
    assert triples(loaded.battles) == [
        ("q1", ["hi", "more"], ["hello", "no"], ["hey", "yes"], 1),
        ("q2", ["q"], ["a"], ["b"], 2),
        ("q3", ["z"], ["a"], ["b"], 0),
    ]
    assert loaded.n_classes == 3
    assert any("chosen and rejected are not read" in note for note in loaded.report.notes)


def test_votes_beside_plain_texts_beat_pairs(tmp_path: Path) -> None:
    rows = with_pairs(PLAIN)
    assert read_battles(written(tmp_path, rows)).frame["outcome"].to_list() == [2, 1, 0, 2, 1, 0, 2, 1]
    one_hot = [
        {**{k: v for k, v in row.items() if k != "winner"},
         **hot(["model_a", "model_b", "tie"].index(row["winner"]))} for row in rows
    ]  # fmt: skip
    assert read_battles(written(tmp_path, one_hot)).frame["outcome"].to_list() == [2, 1, 0, 2, 1, 0, 2, 1]


@pytest.mark.parametrize("rows", [with_pairs(PLAIN, swapped=True), [
    {**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in BESIDE]])  # fmt: skip
def test_pairs_that_go_against_the_votes_are_refused(rows: Rows, tmp_path: Path) -> None:
    path = written(tmp_path, rows)
    with pytest.raises(InputError, match=r"fits two formats and they disagree.* --format .*--format pairs"):
        read_battles(path)
    form = "arena" if "conversation_a" in rows[0] else "wsdm"
    assert len(read_battles(path, format=form)) == len(rows)
    assert len(read_battles(path, format="pairs")) == len(rows)


def test_answers_without_votes_beside_pairs_are_refused(tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "winner"} for row in with_pairs(PLAIN)]
    with pytest.raises(
        InputError, match=r"two answers without votes.* --format kaggle or wsdm .*--format pairs"
    ):
        read_battles(written(tmp_path, rows))


def test_two_kinds_of_answers_are_refused(tmp_path: Path) -> None:
    rows = [{**row, "prompt": "q", "response_a": "a", "response_b": "b"} for row in ARENA]
    path = written(tmp_path, rows, "jsonl")
    message = r"they disagree: response_a and conversation_a hold different answers in row 1; .* --format"
    with pytest.raises(InputError, match=message):
        read_battles(path)
    assert texts(path, format="arena")[1] == (["q"], ["a"], ["b"], 2)


def test_two_kinds_that_hold_the_same_are_read(tmp_path: Path) -> None:
    rows = [
        {
            **row,
            "prompt": row["conversation_a"][0]["content"],
            "response_a": row["conversation_a"][-1]["content"],
            "response_b": row["conversation_b"][-1]["content"],
        }
        for row in ARENA[1:]
    ]
    for kind in ("csv", "jsonl"):
        assert texts(written(tmp_path, rows, kind)) == [(["q"], ["a"], ["b"], 2), (["z"], ["a"], ["b"], 0)]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_answers_beside_conversations_are_compared_by_their_text(kind: str, tmp_path: Path) -> None:
    rows = [
        {
            **row,
            "chosen": row["conversation_b"][-1]["content"],
            "rejected": row["conversation_a"][-1]["content"],
        }
        for row in ARENA
    ]
    with pytest.raises(InputError, match=r"in 1 of the first 3 votes, first in row 3, the vote goes against"):
        read_battles(written(tmp_path, rows, kind))


# ---- case 17: MT-bench human judgements

JUDGED: Rows = [
    {"question_id": 81 + k // 4, "model_a": "x", "model_b": "y", "winner": ("model_a", "tie")[k % 2],
     "judge": f"expert_{k}", "turn": 1 + k % 2, "conversation_a": say(f"q{k // 4}", "a1", "more", "a2"),
     "conversation_b": say(f"q{k // 4}", "b1", "more", "b2")}
    for k in range(8)
]  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_mt_bench_rows_are_numbered_and_grouped(kind: str, tmp_path: Path) -> None:
    loaded = load_battles(written(tmp_path, JUDGED, kind), need_outcomes=True)
    found = triples(loaded.battles)
    assert [row[0] for row in found] == list(range(1, 9))
    assert found[0][1:] == (["q0"], ["a1"], ["b1"], 0)
    assert found[5][1:] == (["q1", "more"], ["a1", "a2"], ["b1", "b2"], 2)
    assert loaded.groups is not None
    assert loaded.groups.to_list() == ["81"] * 4 + ["82"] * 4
    assert any("question_id repeats" in note for note in loaded.report.notes)
    assert any("4 rows show the turns up to the judged one only" in note for note in loaded.report.notes)


def test_one_judgement_a_question_keeps_its_id(tmp_path: Path) -> None:
    loaded = load_battles(written(tmp_path, JUDGED[::4], "jsonl"))
    assert loaded.battles.ids.to_list() == [81, 82]
    assert loaded.groups is None
    assert loaded.battles.frame["prompt"].to_list() == [["q0"], ["q1"]]


def test_votes_that_repeat_a_question_in_plain_text(tmp_path: Path) -> None:
    rows = [
        {"question_id": "q", "question": "x", "answer_a": "a", "answer_b": "b", "label": k} for k in range(3)
    ]
    loaded = load_battles(written(tmp_path, rows))
    assert triples(loaded.battles) == [(k + 1, ["x"], ["a"], ["b"], k) for k in range(3)]


def test_an_id_that_repeats_is_still_refused(tmp_path: Path) -> None:
    rows = [{**row, "id": row["question_id"]} for row in JUDGED]
    with pytest.raises(InputError, match=r"the id repeats row 1; ids must be unique: .*number the rows anew"):
        read_battles(written(tmp_path, rows, "jsonl"))


# ---- case 19: extra data without ids


def test_rows_without_ids_are_numbered_where_ids_are_not_needed(tmp_path: Path) -> None:
    for rows in (ARENA, KAGGLE, PLAIN):
        bare = [{k: v for k, v in row.items() if k not in ("id", "question_id")} for row in rows]
        path = written(tmp_path, bare, "jsonl")
        loaded = load_battles(path, need_ids=False)
        assert loaded.battles.ids.to_list() == list(range(1, len(rows) + 1))
        assert any("rows were numbered" in note for note in loaded.report.notes)
        with pytest.raises(InputError, match="lacks the column id"):
            read_battles(path)


# ---- where nothing fits


@pytest.mark.parametrize("names", [
    ("a", "b"), ("text_1", "text_2", "better"), ("prompt", "completion", "label"), ("instruction", "output"),
    ("id", "response_a", "winner"),
])  # fmt: skip
def test_the_message_ends_with_the_columns_to_make(names: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_battles(written(tmp_path, [dict.fromkeys(names, "x")]))
    assert str(caught.value).endswith(
        "make the five columns id, prompt, response_a, response_b and winner (model_a, model_b or tie)"
    )
    assert ", ".join(names) in str(caught.value)


def test_the_report_says_what_was_taken_for_what(tmp_path: Path) -> None:
    rows = [{"Id": k, "system": "s", "question": "q", "answer_a": ["a"], "answer_b": "b",
             "LABEL": k % 3, "x": 1} for k in range(6)]  # fmt: skip
    read = load_battles(written(tmp_path, rows)).report.columns_read
    assert read == {
        "Id": "id",
        "system": "system text, before the question",
        "question": "question (plain text)",
        "answer_a": "response_a (lists of turns)",
        "answer_b": "response_b (plain text)",
        "LABEL": "vote",
    }


def test_parquet_holds_native_lists(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    frame = pl.DataFrame({"id": [1.0, 2.0, 3.0], "prompt": [["q"]] * 3, "response_a": [["a"]] * 3,
                          "response_b": [["b"]] * 3, "label": [0.0, 2.0, 1.0]})  # fmt: skip
    frame.write_parquet(path)
    assert triples(read_battles(path)) == [(k, ["q"], ["a"], ["b"], y) for k, y in ((1, 0), (2, 2), (3, 1))]
    assert json.loads(json.dumps(load_battles(path).report.as_dict()))["columns_read"]["label"] == "vote"
