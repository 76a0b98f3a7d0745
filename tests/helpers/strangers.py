"""Judges' files as strangers write them: forty pairs with verdicts, scores and probabilities."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from arena_ensemble.io.judgements import LoadedJudgements, read_judgements
from arena_ensemble.judgements import First

N = 40
RNG = np.random.default_rng(0)
PROBS = RNG.dirichlet([2, 2, 1], N)
SCORES = RNG.normal(size=(N, 2))
CODES = RNG.integers(0, 3, N)
IDS = [f"p{k}" for k in range(N)]
ABC = [("A", "B", "C")[code] for code in CODES]


def write(path: Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    frame = pl.DataFrame(dict(columns))
    if path.suffix == ".csv":
        frame.write_csv(path)
    elif path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        path.write_text("\n".join(map(json.dumps, rows)))
    return path


def probabilities(path: Path, judge: str, first: First = First.A) -> Any:
    column = read_judgements(path).columns[judge]
    assert column.kind == "log_probs"
    return np.exp(column.arrays()["log_probs"][:, first])


EIGHT = [[("A", "B", "tie")[code] for code in row] for row in RNG.integers(0, 3, (N, 8))]


def counts(loaded: LoadedJudgements) -> Any:
    assert loaded.judgements is not None
    assert loaded.judgements.judges == ("x",)
    return loaded.judgements.columns["x"].arrays()["counts"][:, First.A]


SECOND = [ABC[(k + 1) % N] if k % 5 == 0 else word for k, word in enumerate(ABC)]
"""with B first a fifth of the verdicts are others"""


QUALITY = RNG.normal(size=(10, 4, 8)).round(3)
