"""Seconds of the lexical member on a fold of Kaggle's size, beside the notebooks' TF-IDF regression.

    python benchmarks/speed_lexical.py [--rows 46000] [--repeats 1] [--quick] [--json]

The texts are those of ``ingest.py``: synthetic, with the length distribution of Kaggle's file. Timed are
``fit`` on all rows and ``predict`` on a quarter of them. The peer, in the same run, is what public
notebooks fit: scikit-learn's TF-IDF of each response, their difference, multinomial logistic regression.
Outcomes are random, so no losses are reported. Processor seconds stand beside those of the clock.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ingest import write_arena
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from arena_ensemble.backbones import lexical
from arena_ensemble.battles import Battles
from arena_ensemble.io import read_battles
from arena_ensemble.recipes import recipe_from


def ours(battles: Battles, held: Battles) -> None:
    recipe = recipe_from({"backbone": "lexical"}, name="lexical")
    with tempfile.TemporaryDirectory() as folder:
        fitted = lexical.fit(battles, recipe=recipe, folder=Path(folder), cache=Path(folder))
        assert np.isfinite(lexical.predict(fitted, held)).all()


def peer(battles: Battles, held: Battles) -> None:
    def texts(rows: Battles, name: str) -> list[str]:
        return ["\n".join(turn or "" for turn in turns or []) for turns in rows.frame[name].to_list()]

    sides = [texts(battles, name) for name in ("response_a", "response_b")]
    words = TfidfVectorizer(min_df=3, max_features=20_000, ngram_range=(1, 2), sublinear_tf=True)
    words.fit(sides[0] + sides[1])
    model = LogisticRegression(max_iter=200)
    model.fit(words.transform(sides[0]) - words.transform(sides[1]), battles.outcomes())
    sides = [texts(held, name) for name in ("response_a", "response_b")]
    model.predict_proba(words.transform(sides[0]) - words.transform(sides[1]))


def timed(call: Callable[[], None], repeats: int) -> dict[str, Any]:
    wall, processor = [], []
    for _ in range(repeats):
        start, worked = time.perf_counter(), time.process_time()
        call()
        wall.append(round(time.perf_counter() - start, 2))
        processor.append(round(time.process_time() - worked, 2))
    return {"seconds": statistics.median(wall), "processor_seconds": statistics.median(processor)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=46_000)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="1,500 rows")
    parser.add_argument("--json", action="store_true", help="a last line with every figure")
    arguments = parser.parse_args()
    rows = 1_500 if arguments.quick else arguments.rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.csv"
        write_arena(path, rows + rows // 4)
        battles = read_battles(path, need_outcomes=True)
    held = battles.take(np.arange(rows, len(battles))).without_outcomes()
    battles = battles.take(np.arange(rows))
    figures: dict[str, Any] = {"rows": rows}
    sides = {"ours": ours, "TF-IDF difference + logistic regression": peer}
    for name, side in sides.items():
        figures[name] = timed(lambda side=side: side(battles, held), arguments.repeats)  # type: ignore[misc]
        found = figures[name]
        print(
            f"{name:40}{found['seconds']:>9.1f} s{found['processor_seconds']:>9.1f} s of a processor"
            f"   {rows:,} rows fitted, {len(held):,} read"
        )
    figures["peak_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(f"peak memory of the whole process: {figures['peak_mib']:,} MiB")
    if arguments.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
