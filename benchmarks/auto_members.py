"""Members by themselves (`MODELS=auto`) on a file of Kaggle's size, beside the lexical member alone.

    python benchmarks/auto_members.py [--rows 57477] [--keep DIR] [--quick] [--json]

Battles of ``ingest.py`` (lengths of Kaggle's file), with votes that follow length and formatting, as in
``scaling.py``, and a test file of a twentieth as many. One run of ``arena-ensemble submission`` as a user
starts it, in a process of its own: minutes of the clock and of the processor, and the out-of-fold log-loss
of the ensemble beside that of its lexical member after a temperature, which is the peer: what the same
machine gives with ``--models lexical``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from ingest import write_arena
from scaling import votes_by_form

WINNERS = ("winner_model_a", "winner_model_b", "winner_tie")


def write_files(folder: Path, rows: int) -> None:
    """train.csv and test.csv of one synthetic arena."""
    write_arena(folder / "arena.csv", rows + rows // 20)
    frame = pl.read_csv(folder / "arena.csv", infer_schema_length=0)
    turns = {side: [json.loads(cell) for cell in frame[side]] for side in ("response_a", "response_b")}
    won = votes_by_form(turns["response_a"], turns["response_b"], np.random.default_rng(1))
    frame = frame.with_columns(pl.Series(name, won[:, k]) for k, name in enumerate(WINNERS))
    frame.head(rows).write_csv(folder / "train.csv")
    frame.tail(rows // 20).drop("model_a", "model_b", *WINNERS).write_csv(folder / "test.csv")


def run(folder: Path) -> dict[str, Any]:
    """The command line's own run and what its table says."""
    work = folder / "work"
    command = [
        sys.executable, "-m", "arena_ensemble", "submission", "--data", str(folder / "train.csv"),
        "--test", str(folder / "test.csv"), "--workspace", str(work), "--out", str(folder / "submission.csv"),
    ]  # fmt: skip
    start, before = time.perf_counter(), os.times()
    subprocess.run(command, check=True)
    after = os.times()
    table = json.loads((work / "oof" / "ensemble" / "table.json").read_text())["rows"]
    members = [row["name"] for row in table if row["kind"] == "member" and "," not in row["name"]]
    kept = {row["name"]: row for row in table}
    ensemble = next(row for row in table if row["kind"] == "choice")
    lexical = kept.get("lexical, temperature", kept["lexical"])
    found = {
        "minutes": round((time.perf_counter() - start) / 60, 2),
        "processor_minutes": round((after[2] + after[3] - before[2] - before[3]) / 60, 2),
        "members": members,
        "prior": kept["prior"]["log_loss"],
    }
    for name, row in (("lexical", lexical), ("ensemble", ensemble)):
        found[name] = row["log_loss"]
        found[f"{name}_se"] = row["se"]
    found["lexical_minus_ensemble"] = lexical["difference"]
    found["lexical_minus_ensemble_se"] = lexical["difference_se"]
    found["loss_ratio"] = ensemble["log_loss"] / lexical["log_loss"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=57_477)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work here, and leave the files")
    parser.add_argument("--quick", action="store_true", help="600 rows")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    given = parser.parse_args()
    rows = 600 if given.quick else given.rows
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "train.csv").exists():
            write_files(folder, rows)
        found = {"rows": rows, "cores": os.cpu_count(), **run(folder)}
    for name, value in found.items():
        print(f"{name:26} {value}")
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
