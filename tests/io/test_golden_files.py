"""Ten battles in the columns of every published file, in every container: the same ten battles come out."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import zstandard

from arena_ensemble.io import load_battles

Row = dict[str, Any]

# (first question, answer A, answer B, outcome); the second battle has two turns.
BATTLES: list[tuple[list[str], list[str | None], list[str | None], int]] = [
    (["Why is the sky blue?"], ["Rayleigh scattering."], ["Because of the sea."], 0),
    (["Write a haiku", "Now in Japanese"], ["five, seven, five", "古池や"], ["no", "いいえ"], 1),
    (["2 + 2 = ?"], ["4"], ["four"], 2),
    (['Say "hi",\nthen stop'], ["hi"], ['"hi"'], 2),
    (["Привет, как дела?"], ["Хорошо"], ["Плохо"], 0),
    (["=SUM(A1:A9) does what?"], ["It adds, up"], ["+1"], 1),
    (["```py\nprint(1)\n```"], ["1\n"], ["`1`"], 0),
    (["😀?"], ["👍🏽"], ["no emoji"], 1),
    (["null"], ["None"], ["NaN"], 2),
    (["مرحبا"], ["أهلا"], ["hello"], 1),
]
LANGUAGES = ["English", "English", "unknown", "English", "Russian", "English", "Python", "x", "y", "Arabic"]


def talk(k: int, side: int, *, parts: bool = False) -> list[Row]:
    asked, *answers, _ = BATTLES[k]
    messages: list[Row] = []
    for question, answer in zip(asked, answers[side], strict=True):
        for role, text in (("user", question), ("assistant", answer)):
            part = {"type": "text", "text": text, "image": None, "mimeType": None}
            messages.append({"role": role, "content": [part] if parts else text})
    return messages


def kaggle(k: int) -> Row:
    asked, a, b, y = BATTLES[k]
    hot = {name: int(y == j) for j, name in enumerate(("winner_model_a", "winner_model_b", "winner_tie"))}
    return {"id": 30192 + k, "model_a": "gpt-4", "model_b": "koala-13b", "prompt": asked,
            "response_a": a, "response_b": b, **hot}  # fmt: skip


def arena_33k(k: int) -> Row:
    word = ("model_a", "model_b", ("tie", "tie (bothbad)")[k % 2])[BATTLES[k][3]]
    return {
        "question_id": f"{k:032x}", "model_a": "vicuna-13b", "model_b": "llama-13b", "winner": word,
        "judge": "arena_user_1", "conversation_a": talk(k, 0), "conversation_b": talk(k, 1),
        "turn": len(BATTLES[k][0]), "anony": True, "language": LANGUAGES[k], "tstamp": 1682351591.1,
        "openai_moderation": {"flagged": False}, "toxic_chat_tag": {"flagged": False},
    }  # fmt: skip


def arena_100k(k: int) -> Row:
    word = ("model_a", "model_b", ("tie", "tie (bothbad)")[k % 2])[BATTLES[k][3]]
    return {
        "question_id": f"{k:032x}", "model_a": "a", "model_b": "b", "winner": word,
        "conversation_a": talk(k, 0), "conversation_b": talk(k, 1), "turn": 1, "anony": True,
        "language": LANGUAGES[k], "tstamp": 1719.5, "conv_metadata": {"sum_user_tokens": 3},
        "is_code": False, "is_refusal": False, "dedup_tag": {"high_freq": False, "sampled": True},
        "category_tag": {"criteria_v0.1": {"clarity": True}}, "judge_hash": "e3b0",
    }  # fmt: skip


def arena_140k(k: int) -> Row:
    word = ("model_a", "model_b", ("tie", "both_bad")[k % 2])[BATTLES[k][3]]
    return {
        "id": f"00000000-0000-4000-8000-{k:012x}", "model_a": "a", "model_b": "b", "winner": word,
        "evaluation_session_id": "s", "evaluation_order": 1,
        "conversation_a": talk(k, 0, parts=True), "conversation_b": talk(k, 1, parts=True),
        "full_conversation": [dict(zip(("user", "model_side_a"), talk(k, 0, parts=True), strict=False))],
        "conv_metadata": {"turns": 1}, "category_tag": {"math_v0.1": {"math": False}},
        "language": LANGUAGES[k], "is_code": False, "timestamp": "2025-04-17 00:00:00",
    }  # fmt: skip


def wsdm(k: int) -> Row:
    asked, a, b, y = BATTLES[k]
    return {"id": f"{k:064x}", "prompt": asked[0], "response_a": a[0], "response_b": b[0],
            "winner": ("model_a", "model_b")[y % 2], "model_a": "x", "model_b": "y",
            "language": LANGUAGES[k]}  # fmt: skip


def pairs(k: int) -> Row:
    return {
        "chosen": talk(k, 0),
        "rejected": talk(k, 1),
        "score_chosen": 9.0,
        "score_rejected": 2.0,
    }


def rewardbench(k: int) -> Row:
    asked, a, b, _ = BATTLES[k]
    return {"prompt": asked[0], "chosen": a[0], "chosen_model": "w", "rejected": b[0],
            "rejected_model": "l", "subset": "alpacaeval-easy", "id": k}  # fmt: skip


SHAPES: dict[str, tuple[Callable[[int], Row], str, int]] = {
    "kaggle, 55k": (kaggle, "kaggle", 3),
    "33k": (arena_33k, "arena", 3),
    "100k": (arena_100k, "arena", 3),
    "140k": (arena_140k, "arena", 3),
    "wsdm": (wsdm, "wsdm", 2),
    "pairs": (pairs, "pairs", 2),
    "rewardbench": (rewardbench, "rewardbench", 2),
}


def csv_bytes(rows: list[Row]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    for row in rows:
        cells = {k: json.dumps(v) if isinstance(v, (list, dict)) else v for k, v in row.items()}
        writer.writerow(cells)
    return out.getvalue().encode()


def jsonl_bytes(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def parquet_bytes(rows: list[Row]) -> bytes:
    out = io.BytesIO()
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(out)
    return out.getvalue()


CONTAINERS: dict[str, Callable[[list[Row]], bytes]] = {
    "csv": csv_bytes,
    "jsonl": jsonl_bytes,
    "parquet": parquet_bytes,
    "csv.gz": lambda rows: gzip.compress(csv_bytes(rows)),
    "csv.zst": lambda rows: zstandard.compress(csv_bytes(rows)),
    "jsonl.gz": lambda rows: gzip.compress(jsonl_bytes(rows)),
    "jsonl.zst": lambda rows: zstandard.compress(jsonl_bytes(rows)),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_ten_battles_of_every_published_file(shape: str, container: str, tmp_path: Path) -> None:
    make, name, outcomes = SHAPES[shape]
    rows = [make(k) for k in range(10)]
    path = tmp_path / "file"  # its name says nothing
    path.write_bytes(CONTAINERS[container](rows))
    loaded = load_battles(path)
    assert (loaded.report.format, loaded.n_classes, loaded.report.rows) == (name, outcomes, 10)
    found = list(loaded.battles.frame.select("prompt", "response_a", "response_b", "outcome").iter_rows())
    for k, (asked, a, b, outcome) in enumerate(found):
        first, second, third, y = BATTLES[k]
        if name in ("wsdm", "rewardbench"):
            first, second, third = first[:1], second[:1], third[:1]
        assert asked == first
        if outcomes == 3:
            assert (a, b, outcome) == (second, third, y)
        elif name == "wsdm":
            assert (a, b, outcome) == (second, third, y % 2)
        else:  # the order of a pair is drawn: the chosen answer won on whichever side it stands
            assert (a, b) == ((second, third) if outcome == 0 else (third, second))
    key = next((key for key in ("id", "question_id") if key in rows[0]), None)
    assert loaded.battles.ids.to_list() == [row[key] if key else k for k, row in enumerate(rows, start=1)]
    if "language" in rows[0]:
        assert loaded.battles.frame["language"].to_list() == LANGUAGES
