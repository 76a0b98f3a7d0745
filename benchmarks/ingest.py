"""From a Kaggle-size file to folds and features: seconds and memory, beside the usual pandas way.

Writes a synthetic train.csv of 57,477 rows with the length distribution of Kaggle's (about 184 MB;
84 % single-turn; one prompt in ten repeated, one in fifty edited a little), then reads and validates
it, groups prompts with near-duplicates, folds, and computes all features. The peer, in the same run,
is what public notebooks do: ``pandas.read_csv``, ``json.loads`` and ``re`` in ``apply``, for the same
patterns. pandas is no dependency of ours: give the interpreter of an environment that has it.

    python benchmarks/ingest.py [--usual-python PATH] [--rows 57477] [--growth 500000] [--keep DIR] [--json]
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ingest_peer import agreement, usual

SYLLABLES = [c + v for c in "bcdfghjklmnprstvwz" for v in ("a", "e", "i", "o", "u", "ai", "er", "on")]


def write_arena(path: Path, rows: int, seed: int = 0) -> None:
    """A seeded file in Kaggle's columns; sizes are log-normal, fitted to the first 100 real rows."""
    rng = np.random.default_rng(seed)
    words = np.array(["".join(rng.choice(SYLLABLES, int(rng.integers(1, 5)))) for _ in range(20_000)])
    weight = 1 / np.arange(1, len(words) + 1)
    pool = rng.choice(words, 400_000, p=weight / weight.sum()).tolist()
    for place in rng.integers(0, len(pool), len(pool) // 12).tolist():  # what answers are dressed with
        marks = (
            "\n\n",
            "\n- ",
            "\n1. ",
            "**bold**",
            "```python\nx = 1\n```",
            "\n## ",
            "`code`",
            "? ",
            "! ",
            "привет",
            "你好",
            "😀",
        )
        pool[place] += marks[int(rng.integers(len(marks)))]
    for place in rng.integers(0, len(pool), len(pool) // 9).tolist():
        pool[place] += ". The"

    def speech(size: float) -> str:
        count = max(1, int(size / 6))
        start = int(rng.integers(0, max(1, len(pool) - count)))
        return " ".join(pool[start : start + count])[: int(size)]

    def question(size: float) -> str:
        return " ".join(words[rng.choice(len(words), max(1, int(size / 6)))].tolist())

    prompts: list[str] = []
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
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
        )
        for name in rng.permutation(np.arange(rows) * 7919 + 30192).tolist():
            turns = 1 if rng.random() < 0.86 else int(rng.integers(2, 6))
            kind = rng.random()
            if prompts and kind < 0.10:
                first = prompts[int(rng.integers(len(prompts)))]
            elif prompts and kind < 0.12:
                first = prompts[int(rng.integers(len(prompts)))] + " please"
            else:
                first = question(min(20_000, rng.lognormal(np.log(95), 1.45)))
            prompts.append(first)
            asked = [first, *(question(60) for _ in range(turns - 1))]
            sizes = np.minimum(60_000, rng.lognormal(np.log(840), 0.98, 2))
            sides = [[speech(size / turns + 1) for _ in range(turns)] for size in sizes]
            winner = int(rng.choice(3, p=[0.35, 0.34, 0.31]))
            hot = [int(k == winner) for k in range(3)]
            cells = [json.dumps(side, ensure_ascii=bool(rng.random() < 0.5)) for side in (asked, *sides)]
            writer.writerow([name, "model-1", "model-2", *cells, *hot])


def ours(path: Path) -> dict[str, Any]:
    """Run in a process of its own, so that the peak of memory is its own."""
    from arena_ensemble import folds
    from arena_ensemble.features import extract
    from arena_ensemble.io import load_battles

    seconds: dict[str, float] = {}
    start = last = time.perf_counter()
    cpu = {}
    last_cpu = time.process_time()

    def lap(name: str) -> None:
        nonlocal last, last_cpu
        now, now_cpu = time.perf_counter(), time.process_time()
        seconds[name], last = now - last, now
        cpu[name], last_cpu = now_cpu - last_cpu, now_cpu

    loaded = load_battles(path, need_outcomes=True)
    battles = loaded.battles
    lap("read_and_validate")
    group = folds.grouping(battles)
    lap("group_with_near_duplicates")
    # the fold file's parts one by one; make_folds does the same in one call
    from arena_ensemble.folds.split import stratified_group_folds

    fold = stratified_group_folds(battles.outcomes(), group.group, n_folds=5, seed=0)
    lap("fold")
    battles.digest()
    lap("digest")
    features = extract(battles)
    lap("features")
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "total": time.perf_counter() - start,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "rows": len(battles),
        "prompts": group.prompts,
        "groups": group.groups,
        "largest_group": group.largest,
        "joined_by_similarity": group.joined_by_similarity,
        "fold_rows": np.bincount(fold).tolist(),
        "columns": features.odd.shape[1] + features.even.shape[1],
    }


def measured(path: Path) -> dict[str, Any]:
    """Our figures, from a process of their own."""
    child = [sys.executable, __file__, "--child", str(path)]
    return dict(json.loads(subprocess.run(child, capture_output=True, text=True, check=True).stdout))


def middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The run of median total time, with the median of every lap."""
    runs = sorted(runs, key=lambda run: run["total"])
    found = dict(runs[len(runs) // 2])
    for kind in ("seconds", "cpu_seconds"):
        found[kind] = {name: float(np.median([run[kind][name] for run in runs])) for name in found[kind]}
    return found


def arena_file(folder: Path, rows: int) -> Path:
    path = folder / f"train-{rows}.csv"
    if not path.exists():
        write_arena(path, rows)
    return path


def validated(path: Path) -> float:
    """Seconds of ``arena-ensemble validate``, the start of Python included."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "arena_ensemble", "validate", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=57_477)
    parser.add_argument("--usual-python", help="an interpreter that can import pandas")
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of each side, in turns (medians are shown)"
    )
    parser.add_argument("--growth", type=int, default=0, metavar="ROWS", help="our side on so many rows too")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write the files here, or use those there")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    parser.add_argument("--quick", action="store_true", help="under a minute: 6,000 rows, once")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.rows, options.repeats = 6_000, 1
    if options.child:
        print(json.dumps(ours(options.child)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        path = arena_file(folder, options.rows)
        runs, peers, checks = [], [], []
        for _ in range(options.repeats):
            runs.append(measured(path))
            checks.append(validated(path))
            if options.usual_python:
                peers.append(usual(path, options.usual_python, Path(temporary)))
        mine = middle(runs)
        figures = {
            "rows": mine["rows"],
            "megabytes": path.stat().st_size / 1e6,
            "repeats": options.repeats,
            "feature_columns": mine["columns"],
            **{f"{name}_s": value for name, value in mine["seconds"].items()},
            **{f"{name}_cpu_s": value for name, value in mine["cpu_seconds"].items()},
            "total_s": mine["total"],
            "peak_gib": max(run["peak_gib"] for run in runs),
            "validate_s": float(np.median(checks)),
            "prompts": mine["prompts"],
            "groups": mine["groups"],
            "largest_group": mine["largest_group"],
        }
        show(figures)
        if peers:
            found = against(mine, peers)
            figures |= found
            differ = agreement(path, peers[0]["sums"])
            show_peer(found, peers[0], differ)
        else:
            print("the usual way was not run: give --usual-python, an interpreter with pandas")
        if options.growth:
            large = measured(arena_file(folder, options.growth))
            share = large["rows"] / mine["rows"]
            grown = {
                "growth_rows": large["rows"],
                "growth_s": large["total"],
                "growth_peak_gib": large["peak_gib"],
                "growth_time_per_row": large["total"] / mine["total"] / share,
                "growth_cpu_per_row": sum(large["cpu_seconds"].values())
                / sum(mine["cpu_seconds"].values())
                / share,
            }
            figures |= grown
            print(f"{large['rows']:,} rows: {large['total']:.1f} s, peak {large['peak_gib']:.2f} GiB")
            for name, value in large["seconds"].items():
                per_row = value / mine["seconds"][name] / share
                print(f"  {name:28} {value:6.1f} s, {per_row:.2f} of the time per row at {mine['rows']:,}")
            print(f"  {'all':28} {grown['growth_time_per_row']:.2f} (to reach: 1; by CPU seconds "
                  f"{grown['growth_cpu_per_row']:.2f})")  # fmt: skip
    if options.json:
        print(json.dumps(figures))


def show(figures: dict[str, Any]) -> None:
    print(
        f"{figures['rows']:,} rows, {figures['megabytes']:.0f} MB, {figures['feature_columns']} feature "
        f"columns, median of {figures['repeats']}"
    )
    for key, cpu in figures.items():
        if key.endswith("_cpu_s"):
            name = key.removesuffix("_cpu_s")
            print(f"  {name:28} {figures[name + '_s']:6.1f} s, {cpu:6.1f} s of CPU")
    total, peak = figures["total_s"], figures["peak_gib"]
    print(f"  {'all':28} {total:6.1f} s, peak {peak:.2f} GiB (to reach: 45 s, 3 GiB)")
    print(f"  {'the verb validate':28} {figures['validate_s']:6.1f} s (to reach: 10 s)")
    print(
        f"  {figures['prompts']:,} prompts, {figures['groups']:,} groups, largest {figures['largest_group']}"
    )


def against(mine: dict[str, Any], peers: list[dict[str, Any]]) -> dict[str, Any]:
    """The peer's medians and the ratios."""
    wall, cpu, read = (
        float(np.median([peer[name] for peer in peers])) for name in ("features", "features_cpu", "read")
    )
    return {
        "usual_read_s": read,
        "usual_features_s": wall,
        "usual_features_cpu_s": cpu,
        "usual_peak_gib": max(peer["peak_gib"] for peer in peers),
        "features_times_faster": wall / mine["seconds"]["features"],
        "features_times_less_cpu": cpu / mine["cpu_seconds"]["features"],
    }


def show_peer(found: dict[str, Any], peer: dict[str, Any], differ: list[str]) -> None:
    print(f"usual way (pandas {peer['pandas']}, re, apply): {peer['columns']} of our measures")
    print(
        f"  read {found['usual_read_s']:.1f} s, features {found['usual_features_s']:.1f} s, "
        f"peak {found['usual_peak_gib']:.2f} GiB"
    )
    print(
        f"  features: ours are {found['features_times_faster']:.1f} times faster (to reach: 8); by CPU "
        f"seconds {found['features_times_less_cpu']:.1f} times"
    )
    print(f"  columns that differ by more than 2 %: {', '.join(differ) or 'none'}")


if __name__ == "__main__":
    main()
