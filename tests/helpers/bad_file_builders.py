"""How bad data files are built: good rows, one of which is then spoiled."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

HEADER = [
    "id",
    "model_a",
    "model_b",
    "prompt",
    "response_a",
    "response_b",
    "winner_model_a",
    "winner_model_b",
    "winner_tie",
]


@dataclass(frozen=True)
class Case:
    """One bad file: ``build(folder)`` writes it and returns its path."""

    name: str
    build: Callable[[Path], Path]
    message: str
    """a regular expression, searched in the error's text"""
    role: str = "train"


def rows(n: int = 8, **changes: Any) -> list[dict[str, Any]]:
    """Good rows in Kaggle's format, ids 1 to n; ``changes`` are ``column=value`` for row 3."""
    found = []
    for k in range(1, n + 1):
        cells = [k, "m1", "m2", json.dumps([f"question {k}"]), json.dumps([f"a {k}"]), json.dumps([f"b {k}"])]
        row = dict(zip(HEADER, [*cells, int(k % 3 == 0), int(k % 3 == 1), int(k % 3 == 2)], strict=True))
        found.append(row)
    found[2].update(changes)
    return found


def text(records: list[dict[str, Any]]) -> str:
    """The records as CSV."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def without(column: str) -> str:
    """Good rows that lack a column."""
    return text([{k: v for k, v in row.items() if k != column} for row in rows()])


def unlabelled(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records as a test file has them."""
    kept = ("id", "prompt", "response_a", "response_b")
    return [{name: row[name] for name in kept} for row in records]


def file(content: str | bytes, name: str = "bad.csv") -> Callable[[Path], Path]:
    """A builder of a file with this content."""

    def build(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return build


def parquet(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_parquet(out)
    return out.getvalue()


def lines(*records: Any) -> str:
    return "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records)


GOOD = text(rows())
PACKED = text(rows(400))  # big enough that half of it is no header
_WHOLE_GZIP = gzip.compress(PACKED.encode())
FLIPPED = _WHOLE_GZIP[:300] + bytes([_WHOLE_GZIP[300] ^ 255]) + _WHOLE_GZIP[301:]
ARENA = {
    "question_id": "q", "model_a": "x", "model_b": "y", "winner": "tie",
    "conversation_a": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
    "conversation_b": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}],
}  # fmt: skip
WSDM = {"id": "w", "prompt": "q", "response_a": "a", "response_b": "b", "winner": "model_a"}
LISTED = pl.DataFrame([{**row, "prompt": ["q"], "response_a": ["a"], "response_b": ["b"]} for row in rows()])

ROW_3 = r"bad\.csv row 3 \(id 3\): "


def a_folder(folder: Path) -> Path:
    path = folder / "folder.csv"
    path.mkdir()
    return path


def named_pipe(folder: Path) -> Path:
    import os

    path = folder / "pipe.csv"
    os.mkfifo(path)
    return path


def dangling_link(folder: Path) -> Path:
    path = folder / "link.csv"
    path.symlink_to(folder / "nowhere.csv")
    return path


def cell(column: str, value: Any, message: str, name: str) -> Case:
    """One wrong cell in row 3."""
    return Case(name, file(text(rows(**{column: value}))), ROW_3 + f".*({message})")
