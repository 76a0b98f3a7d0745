"""Readers: every format by golden files written here, quirks of the real files, the submission."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.battles import Battles
from arena_ensemble.errors import InputError
from arena_ensemble.io import (
    check_submission,
    read,
    read_battles,
    read_labels,
    read_predictions,
    write_submission,
    write_winners,
)
from arena_ensemble.io.battles import replaced_surrogates

Rows = list[dict[str, Any]]


def csv_text(rows: Rows, *, json_cells: bool = True, newline: str = "\n") -> str:
    def cell(value: Any) -> Any:
        return json.dumps(value) if json_cells and isinstance(value, (list, dict)) else value

    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator=newline)
    writer.writeheader()
    writer.writerows({k: cell(v) for k, v in row.items()} for row in rows)
    return out.getvalue()


def jsonl_text(rows: Rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def say(*texts: str, roles: tuple[str, ...] = ("user", "assistant")) -> list[dict[str, str]]:
    return [{"role": roles[k % 2], "content": text} for k, text in enumerate(texts)]


def hot(outcome: int) -> dict[str, int]:
    return {
        name: int(k == outcome) for k, name in enumerate(("winner_model_a", "winner_model_b", "winner_tie"))
    }


KAGGLE: Rows = [
    {"id": 30192, "model_a": "m1", "model_b": "m2", "prompt": ["Why?", "And then?"],
     "response_a": ["a1", "a2"], "response_b": ["b1", None], **hot(0)},
    {"id": 7, "model_a": "m2", "model_b": "m3", "prompt": ["Пример"], "response_a": [None],
     "response_b": [None], **hot(2)},
    {"id": 99, "model_a": "m3", "model_b": "m1", "prompt": ['say "hi",\nthen'], "response_a": ["hi"],
     "response_b": ["x" * 140_000], **hot(1)},
]  # fmt: skip
KAGGLE_TURNS = [
    (30192, ["Why?", "And then?"], ["a1", "a2"], ["b1", None], 0),
    (7, ["Пример"], [None], [None], 2),
    (99, ['say "hi",\nthen'], ["hi"], ["x" * 140_000], 1),
]


def triples(battles: Battles) -> list[tuple[Any, ...]]:
    return list(battles.frame.select("id", "prompt", "response_a", "response_b", "outcome").iter_rows())


def parquet_bytes(rows: Rows) -> bytes:
    out = io.BytesIO()
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(out)
    return out.getvalue()


WRITERS: dict[str, Callable[[Rows], bytes]] = {
    "csv": lambda rows: csv_text(rows).encode(),
    "csv-crlf": lambda rows: csv_text(rows, newline="\r\n").encode(),
    "csv-bom": lambda rows: b"\xef\xbb\xbf" + csv_text(rows).encode(),
    "csv-gzip": lambda rows: gzip.compress(csv_text(rows).encode()),
    "csv-gzip-parts": lambda rows: b"".join(gzip.compress(line) for line in [csv_text(rows).encode()[:50],
                                                                             csv_text(rows).encode()[50:]]),
    "csv-zstd": lambda rows: zstandard.compress(csv_text(rows).encode()),
    "csv-zstd-frames": lambda rows: zstandard.compress(csv_text(rows).encode()[:70])
    + zstandard.compress(csv_text(rows).encode()[70:]),
    "jsonl": lambda rows: jsonl_text(rows).encode(),
    "jsonl-gzip": lambda rows: gzip.compress(jsonl_text(rows).encode()),
    "jsonl-blank-lines": lambda rows: ("\n" + jsonl_text(rows).replace("\n", "\n\n")).encode(),
    "parquet": parquet_bytes,
}  # fmt: skip


@pytest.mark.parametrize("kind", WRITERS)
def test_kaggle_in_every_container_gives_the_same_battles(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "no_suffix"  # the name says nothing
    path.write_bytes(WRITERS[kind](KAGGLE))
    reading = read(path)
    assert triples(reading.battles) == KAGGLE_TURNS
    assert reading.battles.frame["model_a"].to_list() == ["m1", "m2", "m3"]
    report = reading.report
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
    reading = read(path)
    assert reading.battles.frame["prompt"].to_list() == [["\ufffd"], ["fine"]]
    assert reading.battles.frame["response_a"].to_list() == [["ok 😀 \ufffd\ufffd"], ["\ufffd"]]
    assert reading.report.surrogates_replaced == 3
    assert reading.report.rows == 2
    raw = csv_text([{**row, "prompt": "P"}]).replace("P", '"[""\ud83d""]"').encode("utf-8", "surrogatepass")
    path.write_bytes(raw)  # the same as three raw bytes, which are no UTF-8
    assert read(path).battles.frame["prompt"].to_list() == [["\ufffd"]]


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


def test_null_and_empty_conversations_have_one_null_turn(tmp_path: Path) -> None:
    row = {"id": 1, "prompt": [], "response_a": [], "response_b": [], **hot(0)}
    other = {"id": 2, "prompt": ["q", "r"], "response_a": "null", "response_b": ["x", "y"], **hot(1)}
    path = tmp_path / "x.csv"
    path.write_text(csv_text([row, other]))
    assert triples(read_battles(path)) == [
        (1, [None], [None], [None], 0),
        (2, ["q", "r"], [None, None], ["x", "y"], 1),
    ]


WSDM: Rows = [
    {"id": "327228", "prompt": "[1, 2] is what?", "response_a": "A list.\nYes", "response_b": "Liste",
     "winner": "model_a", "model_a": "m1", "model_b": "m2", "language": "English"},
    {"id": "0f3a", "prompt": "Warum?", "response_a": "", "response_b": "Darum", "winner": "model_b",
     "model_a": "m3", "model_b": "m1", "language": "German"},
]  # fmt: skip


@pytest.mark.parametrize("kind", [k for k in WRITERS if k != "csv-gzip-parts"])
def test_wsdm_has_two_outcomes(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(WRITERS[kind](WSDM))
    reading = read(path)
    assert triples(reading.battles) == [
        ("327228", ["[1, 2] is what?"], ["A list.\nYes"], ["Liste"], 0),
        ("0f3a", ["Warum?"], [None], ["Darum"], 1),
    ]
    assert (reading.report.format, reading.outcomes) == ("wsdm", 2)
    assert reading.report.languages == {"English": 1, "German": 1}


def test_a_wsdm_test_file_is_told_from_a_kaggle_one_by_its_cells(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    plain = [{k: row[k] for k in ("id", "prompt", "response_a", "response_b")} for row in WSDM]
    path.write_text(csv_text([{**plain[1], "id": 3}, plain[1]]))
    assert read(path).report.format == "wsdm"
    path.write_text(csv_text([{**row, "scored": True} for row in plain]))
    assert read(path).report.format == "wsdm"
    path.write_text(csv_text(plain))
    assert read(path, format="wsdm").battles.frame["prompt"].to_list()[0] == ["[1, 2] is what?"]


ARENA: Rows = [
    {"question_id": "q1", "model_a": "x", "model_b": "y", "winner": "model_b", "judge": "j", "turn": 2,
     "conversation_a": say("hi", "hello", "more", "no"), "conversation_b": say("hi", "hey", "more", "yes"),
     "language": "English", "tstamp": 1.0},
    {"question_id": "q2", "model_a": "x", "model_b": "y", "winner": "tie (bothbad)", "judge": "j", "turn": 1,
     "conversation_a": say("q", "a"), "conversation_b": say("q", "b"), "language": "Thai", "tstamp": 2.0},
    {"question_id": "q3", "model_a": "x", "model_b": "y", "winner": "model_a", "judge": "j", "turn": 1,
     "conversation_a": say("z", "a"), "conversation_b": say("z", "b"), "language": "Thai", "tstamp": 2.0},
]  # fmt: skip
ARENA_TURNS = [
    ("q1", ["hi", "more"], ["hello", "no"], ["hey", "yes"], 1),
    ("q2", ["q"], ["a"], ["b"], 2),
    ("q3", ["z"], ["a"], ["b"], 0),
]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "jsonl-gzip", "parquet"])
def test_hugging_face_arena_33k_and_100k(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(WRITERS[kind](ARENA))
    reading = read(path)
    assert triples(reading.battles) == ARENA_TURNS
    assert (reading.report.format, reading.outcomes) == ("arena", 3)


def parts(*messages: tuple[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in messages]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_hugging_face_arena_140k_has_content_in_parts(kind: str, tmp_path: Path) -> None:
    text = {"type": "text", "text": "see", "image": None, "mimeType": None}
    image = {"type": "image", "text": None, "image": "aGk=", "mimeType": "image/png"}
    asked = ("user", [text, image])
    row = {
        "id": "u-1", "model_a": "x", "model_b": "y", "winner": "both_bad", "evaluation_order": 1,
        "conversation_a": parts(asked, ("assistant", [{**text, "text": "a"}])),
        "conversation_b": parts(asked, ("assistant", [{**text, "text": "b"}])),
        "language": "en", "is_code": False,
    }  # fmt: skip
    path = tmp_path / "x"
    path.write_bytes(WRITERS[kind]([row, {**row, "id": "u-2", "winner": "tie"}]))
    assert triples(read_battles(path)) == [
        ("u-1", ["see\n\n[image]"], ["a"], ["b"], 2),
        ("u-2", ["see\n\n[image]"], ["a"], ["b"], 2),
    ]


@pytest.mark.parametrize(
    ("word", "outcome"),
    [("model_a", 0), ("model_b", 1), ("tie", 2), ("tie (bothbad)", 2), ("bothbad", 2), ("both_bad", 2)],
)
def test_every_verdict(word: str, outcome: int, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(jsonl_text([{**ARENA[1], "winner": word}]))
    assert read_battles(path).frame["outcome"].to_list() == [outcome]


def test_conversations_keep_every_message() -> None:
    from arena_ensemble.io.cells import RowProblem, conversation

    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": "x"},
        {"role": "assistant", "content": "y"},
        {"role": "user", "content": "three"},
    ]
    assert conversation(talk, "c") == (["Be brief.\n\none\n\ntwo", "three"], ["x\n\ny", None])
    assert conversation([], "c") == ([], [])
    with pytest.raises(RowProblem, match="begins with an answer"):
        conversation(talk[3:], "c")


PAIR_SHAPES: dict[str, Rows] = {
    "plain": [{"prompt": f"q{k}", "chosen": f"good {k}", "rejected": f"bad {k}"} for k in range(40)],
    "messages": [
        {"chosen": say(f"q{k}", f"good {k}"), "rejected": say(f"q{k}", f"bad {k}")} for k in range(40)
    ],
    "messages beside a prompt": [
        {"prompt": f"q{k}", "chosen": say(f"q{k}", f"good {k}"), "rejected": say(f"q{k}", f"bad {k}")}
        for k in range(40)
    ],
    "answers as messages": [
        {"prompt": say(f"q{k}"), "chosen": say("", f"good {k}")[1:], "rejected": say("", f"bad {k}")[1:]}
        for k in range(40)
    ],
    "answers as messages, plain prompt": [
        {"prompt": f"q{k}", "chosen": say("", f"good {k}")[1:], "rejected": say("", f"bad {k}")[1:]}
        for k in range(40)
    ],
    "prompt as messages": [
        {"prompt": say(f"q{k}"), "chosen": f"good {k}", "rejected": f"bad {k}"} for k in range(40)
    ],
    "transcripts": [
        {"chosen": f"\n\nHuman: q{k}\n\nAssistant: good {k}",
         "rejected": f"\n\nHuman: q{k}\n\nAssistant: bad {k}"}
        for k in range(40)
    ],
    "rewardbench": [
        {"prompt": f"q{k}", "chosen": f"good {k}", "chosen_model": "w", "rejected": f"bad {k}",
         "rejected_model": "l", "subset": "s", "id": k} for k in range(40)
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("shape", PAIR_SHAPES)
def test_chosen_and_rejected_are_shown_in_a_drawn_order(shape: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(WRITERS[kind](PAIR_SHAPES[shape]))
    reading = read(path)
    orders = []
    for number, (name, prompt, first, second, outcome) in enumerate(triples(reading.battles)):
        good, bad = [f"good {number}"], [f"bad {number}"]
        assert prompt == [f"q{number}"]
        assert (first, second) == ((good, bad) if outcome == 0 else (bad, good))
        assert name == (number if shape == "rewardbench" else number + 1)
        orders.append(outcome)
    assert 8 <= sum(orders) <= 32  # a fair draw of 40, and the same for every shape and container
    if shape != "plain":
        (tmp_path / "plain").write_bytes(WRITERS["csv"](PAIR_SHAPES["plain"]))
        assert read_battles(tmp_path / "plain").frame["outcome"].to_list() == orders
    assert reading.outcomes == 2
    assert reading.report.format == ("rewardbench" if shape == "rewardbench" else "pairs")
    assert any("drawn by a hash" in note for note in reading.report.notes)
    if shape == "rewardbench":
        winners = ["w" if outcome == 0 else "l" for outcome in orders]
        assert reading.battles.frame["model_a"].to_list() == winners


def test_the_format_can_be_given(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(csv_text([{**KAGGLE[0], "winner": "model_a"}]))
    assert read(path).report.format == "kaggle"
    with pytest.raises(InputError, match="unknown format 'kagle'; known formats: kaggle, wsdm"):
        read(path, format="kagle")
    with pytest.raises(InputError, match="lacks the column conversation_a, conversation_b"):
        read(path, format="arena")


def test_many_bad_rows_are_counted_and_the_first_few_named(tmp_path: Path) -> None:
    rows = [{**KAGGLE[0], "id": k, "winner_model_b": int(k % 2)} for k in range(10)]
    path = tmp_path / "train.csv"
    path.write_text(csv_text(rows))
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value) == (
        "train.csv: 5 of 10 rows cannot be used: row 2 (id 1): winner columns sum to 2, expected 1; "
        "row 4 (id 3): winner columns sum to 2, expected 1; "
        "row 6 (id 5): winner columns sum to 2, expected 1; and 2 more"
    )


def test_reading_leaves_csv_as_it_was(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    path = tmp_path / "x.csv"
    path.write_text(csv_text(KAGGLE))
    read(path)
    assert csv.field_size_limit() == before


def test_need_outcomes(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(csv_text(KAGGLE[:1]))
    assert "one outcome only" in read(path).report.notes[0]
    with pytest.raises(InputError, match="one outcome only"):
        read(path, need_outcomes=True)


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


# ---- the submission


def random_log_probs(n: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.log(np.random.default_rng(seed).dirichlet([1, 1, 1], n))


def test_a_submission_has_the_ids_in_order_and_sums_to_one(tmp_path: Path) -> None:
    ids = pl.Series([5, 3, 9])
    path, sample = tmp_path / "submission.csv", tmp_path / "sample_submission.csv"
    sample.write_text("id,winner_model_a,winner_model_b,winner_tie\n3,1,0,0\n5,1,0,0\n9,1,0,0\n")
    path.write_text("earlier")
    log_probs = random_log_probs(3)
    write_submission(path, ids, log_probs + 2.0, sample=sample)  # a shift is normalised away
    rows = list(csv.reader(path.read_text().splitlines()))
    assert rows[0] == ["id", "winner_model_a", "winner_model_b", "winner_tie"]
    assert [row[0] for row in rows[1:]] == ["5", "3", "9"]
    for row, logs in zip(rows[1:], log_probs, strict=True):
        assert math.isclose(math.fsum(map(float, row[1:])), 1, abs_tol=1e-15)
        np.testing.assert_allclose([float(cell) for cell in row[1:]], np.exp(logs), atol=1e-15)
    check_submission(path, ids)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sample_submission.csv", "submission.csv"]


def test_a_refused_submission_changes_nothing(tmp_path: Path) -> None:
    ids = pl.Series(["a", "b"])
    path, sample = tmp_path / "s.csv", tmp_path / "sample.csv"
    path.write_text("earlier")
    good = random_log_probs(2)
    sample.write_text("id,winner_model_a,winner_model_b,winner_tie\na,1,0,0\nc,1,0,0\n")
    bad_logs = good.copy()
    bad_logs[1, 0] = np.nan
    cases: list[tuple[str, dict[str, Any]]] = [
        ("predictions have shape", {"log_probs": good[:1]}),
        (r"row 2 \(id b\).*no distribution", {"log_probs": bad_logs}),
        ("the id a repeats", {"ids": pl.Series(["a", "a"])}),
        ("id c is only in the sample", {"sample": sample}),
        ("exists already", {"overwrite": False}),
    ]
    for message, change in cases:
        with pytest.raises(InputError, match=message):
            write_submission(**{"path": path, "ids": ids, "log_probs": good, **change})
    sample.write_text("id,winner_model_a\na,1\nb,1\n")
    with pytest.raises(InputError, match="has the columns id, winner_model_a, the submission has"):
        write_submission(path, ids, good, sample=sample)
    with pytest.raises(InputError, match="is a folder"):
        write_submission(tmp_path, ids, good)
    with pytest.raises(InputError, match="cannot be written"):
        write_submission(tmp_path / "no" / "s.csv", ids, good)
    assert path.read_text() == "earlier"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,winner_model_a\n1,1\n", "has the columns"),
        ("{h}\n1,1,0,0\n", "has 1 rows, the test file has 2"),
        ("{h}\n1,1,0,0\n2,1,0,0\n3,1,0,0\n", r"row 3 \(id 3\): more rows"),
        ("{h}\n2,1,0,0\n1,1,0,0\n", r"row 1 \(id 2\): the test file has id 1 there"),
        ("{h}\n1,1,0,0\n2,nan,0,1\n", "not all between 0 and 1"),
        ("{h}\n1,1,0,0\n2,x,0,1\n", "are not three numbers"),
        ("{h}\n1,1,0,0\n2,.5,.5,.5\n", "the row sums to 1.5, expected 1"),
    ],
)
def test_a_submission_is_checked_as_kaggle_checks_it(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    path.write_text(text.replace("{h}", "id,winner_model_a,winner_model_b,winner_tie"))
    with pytest.raises(InputError, match=message):
        check_submission(path, pl.Series([1, 2]))


def test_two_outcome_submissions_name_the_winner(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    write_winners(path, pl.Series(["p", "q", "r"]), np.log([[0.6, 0.4], [0.2, 0.8], [0.5, 0.5]]))
    assert path.read_text() == "id,winner\np,model_a\nq,model_b\nr,model_a\n"


# ---- other people's predictions and labels


@pytest.mark.parametrize(
    "names", [("winner_model_a", "winner_model_b", "winner_tie"), ("p_a", "p_b", "p_tie")]
)
@pytest.mark.parametrize("kind", ["csv", "csv-gzip", "parquet", "jsonl"])
def test_predictions_of_one_member(names: tuple[str, ...], kind: str, tmp_path: Path) -> None:
    probs = np.array([[0.5, 0.25, 0.25], [0.0, 0.9996, 0.0]])
    rows = [{"id": k + 1, **dict(zip(names, p.tolist(), strict=True))} for k, p in enumerate(probs)]
    path = tmp_path / "their model.csv.gz"
    path.write_bytes(WRITERS[kind](rows))
    found = read_predictions(path)
    assert list(found) == ["their model"]
    said = found["their model"]
    assert said.ids.to_list() == [1, 2]
    assert said.fold.tolist() == [-1, -1]
    np.testing.assert_allclose(said.probs, [[0.5, 0.25, 0.25], [0, 1, 0]], atol=1e-14)


def test_our_own_file_is_read_as_logarithms_with_folds_and_swap(tmp_path: Path) -> None:
    logs, swap = random_log_probs(4), random_log_probs(4, seed=1)
    data = {"id": ["a", "b", "c", "d"], "fold": [0, 1, 0, 1]}
    data |= {f"logp_{c}": logs[:, k] for k, c in enumerate(("a", "b", "tie"))}
    data |= {f"swap_logp_{c}": swap[:, k] for k, c in enumerate(("a", "b", "tie"))}
    pl.DataFrame(data).write_parquet(tmp_path / "oof.parquet")
    said = read_predictions(tmp_path / "oof.parquet")["oof"]
    assert said.fold.tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(said.log_probs, logs, atol=1e-12)
    assert said.swap_log_probs is not None
    np.testing.assert_allclose(said.swap_log_probs, swap, atol=1e-12)
    # a row per (id, fold): the folds' readings are averaged, joined by id
    data["id"] = ["a", "b", "b", "a"]
    data["fold"] = [0, 0, 1, 1]
    pl.DataFrame(data).write_parquet(tmp_path / "test.parquet")
    mean = read_predictions(tmp_path / "test.parquet")["test"]
    assert mean.ids.to_list() == ["a", "b"]
    both = [said.combined().log_probs[[0, 3]], said.combined().log_probs[[1, 2]]]
    for row, pair in enumerate(both):
        pooled = np.exp(pair.mean(axis=0))
        np.testing.assert_allclose(mean.probs[row], pooled / pooled.sum(), atol=1e-12)


def test_real_out_of_fold_files(shared_data: Path) -> None:
    found = read_predictions(shared_data / "oof" / "oof_3members_2874.csv")
    assert {name: len(said) for name, said in found.items()} == dict.fromkeys(
        ["llm_3", "lexical_lr", "minilm_lr"], 2874
    )
    labels = read_labels(shared_data / "oof" / "labels_57477.csv")
    assert labels.height == 57477
    by_label = read_labels(shared_data / "oof" / "oof_3members_2874.csv")
    joined = by_label.join(labels, on="id", suffix="_all")
    assert joined.height == 2874
    assert joined["outcome"].equals(joined["outcome_all"])
    y = by_label["outcome"].to_numpy()
    loss = -found["llm_3"].log_probs[np.arange(2874), y].mean()
    assert loss == pytest.approx(0.86729, abs=5e-5)  # peers.md: best single member


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
    reading = read(shared_data / "votes" / f"{name}.csv", need_outcomes=True)
    report = reading.report
    assert report.rows == rows
    assert tuple(report.outcomes[k] for k in ("A", "B", "tie")) == outcomes
    assert reading.battles.ids.dtype == pl.Int64
    assert reading.battles.frame["prompt"].list.first().n_unique() == prompts
