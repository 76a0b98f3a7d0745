"""Small files of every shape, and how each container writes them."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import zstandard

from arena_ensemble.battles import Battles

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


WSDM: Rows = [
    {"id": "327228", "prompt": "[1, 2] is what?", "response_a": "A list.\nYes", "response_b": "Liste",
     "winner": "model_a", "model_a": "m1", "model_b": "m2", "language": "English"},
    {"id": "0f3a", "prompt": "Warum?", "response_a": "", "response_b": "Darum", "winner": "model_b",
     "model_a": "m3", "model_b": "m1", "language": "German"},
]  # fmt: skip


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


def random_log_probs(n: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.log(np.random.default_rng(seed).dirichlet([1, 1, 1], n))


def parts(*messages: tuple[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in messages]
