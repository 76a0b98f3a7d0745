"""Rows a second and memory as files grow: prediction in chunks, and the stacker on a million rows.

    python benchmarks/scaling.py [--sections streaming,stacking] [--texts kaggle,short] [--rows 10000,100000]
        [--quick] [--json]

Streaming: a lexical ensemble (five folds, trained on 2,000 synthetic battles whose votes follow length and
formatting) predicts parquet files into shards, in one process a core. Texts are those of ``ingest.py``, with
the lengths of Kaggle's file (``kaggle``: 1,380 characters an answer on average), or cut to about 60 tokens
an answer (``short``). Files of more than 20,000 rows repeat the texts under new ids; nothing is kept
between chunks, so that this saves no work. In the same run, on the smallest file: the same ensemble's
ordinary prediction in memory, and what public notebooks do, five TF-IDF and logistic regressions.

Memory is the largest sum of what all processes have of their own, looked at four times a second: code that
they share with whatever else runs on the machine is left out.
Seconds are of the clock; processor seconds stand beside them, for a machine that does other work too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

DISTINCT = 20_000
TRAIN = 2_000
SHORT = 300
"""characters of a short answer at most: about 60 tokens"""
FOLDS = 5


def tree_mib(process: int) -> float:
    """Memory of their own (anonymous pages) of a process and all below it, MiB."""
    total, todo = 0, [process]
    while todo:
        one = todo.pop()
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{one}/task"):
                todo += map(int, Path(f"/proc/{one}/task/{task}/children").read_text().split())
            rollup = Path(f"/proc/{one}/smaps_rollup").read_text()
            total += int(
                next(line for line in rollup.splitlines() if line.startswith("Pss_Anon:")).split()[1]
            )
    return total / 1024


@contextlib.contextmanager
def watched(figures: dict[str, Any]) -> Iterator[None]:
    """Clock, processor seconds (children too, when they have ended) and the peak of memory of a block."""
    stop, peak = threading.Event(), [0.0]

    def look() -> None:
        while not stop.wait(0.25):
            peak[0] = max(peak[0], tree_mib(os.getpid()))

    thread = threading.Thread(target=look)
    thread.start()
    begun, worked = time.perf_counter(), sum(os.times()[:4])
    try:
        yield
    finally:
        figures["seconds"] = round(time.perf_counter() - begun, 2)
        stop.set()
        thread.join()
        figures["processor_seconds"] = round(sum(os.times()[:4]) - worked, 2)
        figures["peak_mib"] = round(max(peak[0], tree_mib(os.getpid())))


def votes_by_form(
    answers_a: list[list[str]], answers_b: list[list[str]], rng: np.random.Generator
) -> np.ndarray[Any, Any]:
    """One-hot votes (rows, 3), drawn by the difference of two answers in length and bold type."""
    sides = (answers_a, answers_b)
    size = [np.array([sum(map(len, turns)) for turns in side]) for side in sides]
    bold = [np.array([sum(turn.count("**") for turn in turns) for turns in side]) / 2 for side in sides]
    delta = 0.9 * np.log((1 + size[0]) / (1 + size[1])) + 0.3 * np.clip(bold[0] - bold[1], -3, 3)
    logits = np.stack([delta / 2, -delta / 2, 0.2 - 0.4 * np.abs(delta)], axis=1)
    return np.eye(3, dtype=np.int64)[np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)]


def battles(texts: str, folder: Path) -> pl.DataFrame:
    """Distinct battles in Kaggle's columns, with votes that follow length and formatting."""
    from ingest import write_arena

    write_arena(folder / "arena.csv", DISTINCT)
    frame = pl.read_csv(folder / "arena.csv", infer_schema_length=0)
    sides = {}
    for side in ("prompt", "response_a", "response_b"):
        turns = [json.loads(cell) for cell in frame[side].to_list()]
        if texts == "short":
            turns = [[turn[:SHORT] for turn in one[:1]] for one in turns]
        sides[side] = turns
    won = votes_by_form(sides["response_a"], sides["response_b"], np.random.default_rng(1))
    votes = {name: won[:, k] for k, name in enumerate(("winner_model_a", "winner_model_b", "winner_tie"))}
    cells = {side: [json.dumps(turns) for turns in found] for side, found in sides.items()}
    return pl.DataFrame({"id": range(DISTINCT), **cells, **votes})


def write_rows(frame: pl.DataFrame, rows: int, path: Path) -> None:
    """A parquet file of so many rows: the distinct battles again and again, under ids of their own."""
    tests = frame.select("id", "prompt", "response_a", "response_b")
    if rows <= DISTINCT:
        tests.head(rows).write_parquet(path)
        return
    parts = [
        tests.with_columns(pl.col("id") + start).head(rows - start).lazy()
        for start in range(0, rows, DISTINCT)
    ]
    pl.concat(parts).sink_parquet(path, row_group_size=DISTINCT)


def predicted(workspace: Path, file: Path, out: Path) -> dict[str, Any]:
    """One prediction in chunks; run in a process of its own."""
    from arena_ensemble import Ensemble, predict_shards

    figures: dict[str, Any] = {}
    with watched(figures):
        done = predict_shards(Ensemble.load(workspace), file, out)
    return {"rows": done.rows, "shards": len(done.files), **figures}


def in_memory(workspace: Path, file: Path) -> dict[str, Any]:
    """The same ensemble's ordinary prediction; run in a process of its own."""
    from arena_ensemble import Ensemble

    figures: dict[str, Any] = {}
    with watched(figures):
        rows = len(Ensemble.load(workspace).predict_proba(file))
    return {"rows": rows, **figures}


def scikit_learn(train: Path, file: Path) -> dict[str, Any]:
    """What public notebooks predict with, five times for five folds; run in a process of its own."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    def texts(frame: pl.DataFrame, side: str) -> list[str]:
        return ["\n".join(turn or "" for turn in json.loads(cell)) for cell in frame[side].to_list()]

    seen = pl.read_csv(train)
    sides = [texts(seen, side) for side in ("response_a", "response_b")]
    y = seen.select("winner_model_a", "winner_model_b", "winner_tie").to_numpy().argmax(axis=1)
    models = []
    for fold in range(FOLDS):
        kept = np.arange(len(y)) % FOLDS != fold
        a, b = ([text for text, keep in zip(side, kept, strict=True) if keep] for side in sides)
        words = TfidfVectorizer(min_df=3, max_features=20_000, ngram_range=(1, 2), sublinear_tf=True).fit(
            a + b
        )
        model = LogisticRegression(max_iter=200).fit(words.transform(a) - words.transform(b), y[kept])
        models.append((words, model))
    figures: dict[str, Any] = {}
    with watched(figures):
        tests = pl.read_parquet(file)
        sides = [texts(tests, side) for side in ("response_a", "response_b")]
        for words, model in models:
            model.predict_proba(words.transform(sides[0]) - words.transform(sides[1]))
    return {"rows": len(tests), **figures}


def stacked(rows: int, members: int) -> dict[str, Any]:
    """One default ``Stacker.fit``; run in a process of its own."""
    from simulated_oof import simulate

    from arena_ensemble.stacking import Stacker

    scene = simulate("scaling", ["strong", "weak", "sure", "shy", "curved", "weak"][:members], rows, 0)
    groups = np.random.default_rng(0).integers(0, rows * 3 // 4, rows)
    figures: dict[str, Any] = {}
    with watched(figures):
        stacker = Stacker(random_state=0).fit(scene.members, scene.y, groups=groups)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    honest = next(row.log_loss for row in stacker.table_ if row.kind == "choice")
    return {"rows": rows, "members": members, **figures, "peak_mib": round(peak), "log_loss": honest}


def apart(function: str, *arguments: object) -> dict[str, Any]:
    """A function of this file in a process of its own."""
    command = [sys.executable, __file__, "--call", json.dumps([function, *map(str, arguments)])]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def shown(name: str, found: dict[str, Any]) -> None:
    rate = found["rows"] / found["seconds"]
    work = 1e6 * found["processor_seconds"] / found["rows"]
    print(
        f"{name:44}{found['rows']:>10,} rows{found['seconds']:>9.1f} s{rate:>9,.0f} rows/s"
        f"{work:>7,.0f} µs of a processor a row{found['peak_mib']:>7,} MiB",
        flush=True,
    )


def streaming(texts: str, sizes: list[int]) -> dict[str, Any]:
    """Files of growing size through one ensemble, and the peers on the smallest."""
    from arena_ensemble.pipeline.workflow import build_ensemble, train_members

    found: dict[str, Any] = {"chunks": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frame = battles(texts, folder)
        characters = frame.tail(DISTINCT - TRAIN).select(
            (pl.col("response_a").str.len_chars() + pl.col("response_b").str.len_chars()).mean() / 2
        )
        found["characters_an_answer"] = round(float(characters.item()))
        frame.head(TRAIN).write_csv(folder / "train.csv")
        run = train_members(folder / "train.csv", ["lexical"], workspace=folder / "w", n_folds=FOLDS)
        found["choice"] = build_ensemble(run).card.selection_frequency
        for rows in sizes:
            write_rows(frame, rows, folder / "new.parquet")
            one = apart("predicted", folder / "w", folder / "new.parquet", folder / f"out-{rows}")
            shown(f"{texts} texts, in chunks", one)
            found["chunks"].append(one)
        write_rows(frame, sizes[0], folder / "new.parquet")
        found["in_memory"] = apart("in_memory", folder / "w", folder / "new.parquet")
        shown(f"{texts} texts, the same ensemble in memory", found["in_memory"])
        found["scikit_learn"] = apart("scikit_learn", folder / "train.csv", folder / "new.parquet")
        shown(f"{texts} texts, five TF-IDF regressions", found["scikit_learn"])
    ours = found["chunks"][0]
    for peer in ("in_memory", "scikit_learn"):
        found[f"{peer}_seconds_ratio"] = round(found[peer]["seconds"] / ours["seconds"], 2)
        found[f"{peer}_processor_ratio"] = round(
            found[peer]["processor_seconds"] / ours["processor_seconds"], 2
        )
    print(
        f"the peers' processor seconds beside ours on {sizes[0]:,} rows: in memory "
        f"{found['in_memory_processor_ratio']} ×, scikit-learn {found['scikit_learn_processor_ratio']} ×"
    )
    if len(sizes) > 2:
        before, middle, last = (found["chunks"][k] for k in (-3, -2, -1))
        for kind in ("seconds", "processor_seconds"):
            slopes = [
                (late[kind] - early[kind]) / (late["rows"] - early["rows"])
                for early, late in ((before, middle), (middle, last))
            ]
            found[f"{kind}_growth"] = round(slopes[1] / slopes[0], 3)
        found["memory_growth"] = round(last["peak_mib"] / middle["peak_mib"], 3)
        print(
            f"time a further row, later by earlier (1 is linear): clock {found['seconds_growth']}, "
            f"processor {found['processor_seconds_growth']}; memory, the largest by the one before: "
            f"{found['memory_growth']}"
        )
    return found


def stacking(*, quick: bool) -> list[dict[str, Any]]:
    """The stacker on Kaggle's rows and on a million."""
    found = []
    for rows, members in [(3_000, 4)] if quick else [(57_477, 6), (1_000_000, 4)]:
        found.append(apart("stacked", rows, members))
        shown(f"Stacker.fit, {members} members, nested", found[-1])
    return found


CALLS: dict[str, Any] = {
    "predicted": lambda workspace, file, out: predicted(Path(workspace), Path(file), Path(out)),
    "in_memory": lambda workspace, file: in_memory(Path(workspace), Path(file)),
    "scikit_learn": lambda train, file: scikit_learn(Path(train), Path(file)),
    "stacked": lambda rows, members: stacked(int(rows), int(members)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sections", default="streaming,stacking")
    parser.add_argument("--texts", default="kaggle,short")
    parser.add_argument("--rows", default="10000,100000,1000000")
    parser.add_argument(
        "--quick", action="store_true", help="2,000 and 8,000 short texts; 3,000 rows stacked"
    )
    parser.add_argument("--json", action="store_true", help="a last line with every figure")
    parser.add_argument("--call", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.call:
        name, *arguments = json.loads(options.call)
        print(json.dumps(CALLS[name](*arguments)))
        return
    sizes = [2_000, 8_000] if options.quick else [int(rows) for rows in options.rows.split(",")]
    out: dict[str, Any] = {"cores": len(os.sched_getaffinity(0))}
    if "streaming" in options.sections:
        out["streaming"] = {
            texts: streaming(texts, sizes)
            for texts in (["short"] if options.quick else options.texts.split(","))
        }
    if "stacking" in options.sections:
        out["stacking"] = stacking(quick=options.quick)
    if options.json:
        print(json.dumps(out))


if __name__ == "__main__":
    main()
