"""From a Kaggle-size file to folds and features: seconds and memory, beside the usual pandas way.

Writes a synthetic train.csv of 57,477 rows with the length distribution of Kaggle's (about 184 MB;
84 % single-turn; one prompt in ten repeated, one in fifty edited a little), then reads and validates
it, groups prompts with near-duplicates, folds, and computes all features. The peer, in the same run,
is what public notebooks do: ``pandas.read_csv``, ``json.loads`` and ``re`` in ``apply``, for the same
patterns. pandas is no dependency of ours: give the interpreter of an environment that has it.

    python benchmarks/ingest.py [--rows 57477] [--usual-python PATH] [--usual-rows N] [--keep FILE] [--json]
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
    from arena_ensemble import folds, readers
    from arena_ensemble.features import extract

    seconds: dict[str, float] = {}
    start = last = time.perf_counter()
    cpu = {}
    last_cpu = time.process_time()

    def lap(name: str) -> None:
        nonlocal last, last_cpu
        now, now_cpu = time.perf_counter(), time.process_time()
        seconds[name], last = now - last, now
        cpu[name], last_cpu = now_cpu - last_cpu, now_cpu

    reading = readers.read(path, need_outcomes=True)
    battles = reading.battles
    lap("read and validate")
    group = folds.grouping(battles)
    lap("group with near-duplicates")
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


# The usual way, for an interpreter with pandas and nothing of ours: patterns come as JSON.
USUAL = """
import json, re, resource, sys, time
import pandas as pd
patterns = json.load(open(sys.argv[2]))
start = time.perf_counter()
df = pd.read_csv(sys.argv[1], nrows=int(sys.argv[3]) or None)
for side in ("prompt", "response_a", "response_b"):
    df[side] = df[side].apply(lambda cell: "\\n".join(turn or "" for turn in json.loads(cell)))
read = time.perf_counter() - start
start, start_cpu = time.perf_counter(), time.process_time()
word = re.compile(patterns["word"])
out = {}
low = {side: df[side].str.lower() for side in ("prompt", "response_a", "response_b")}
words = {side: low[side].apply(lambda s: set(word.findall(s))) for side in low}
for side in ("response_a", "response_b"):
    out[side + "_chars"] = df[side].apply(len)
    out[side + "_words"] = low[side].apply(lambda s: len(word.findall(s)))
    out[side + "_in_prompt"] = [len(a & b) for a, b in zip(words["prompt"], words[side])]
    for name, pattern in patterns["marks"].items():
        compiled = re.compile(pattern)
        out[side + "_" + name] = df[side].apply(lambda s: len(compiled.findall(s)))
    for name, pattern in patterns["phrases"].items():
        compiled = re.compile(pattern)
        out[side + "_" + name] = low[side].apply(lambda s: len(compiled.findall(s)))
out["shared"] = [len(a & b) for a, b in zip(words["response_a"], words["response_b"])]
for name, pattern in patterns["requests"].items():
    compiled = re.compile(pattern)
    out["prompt_" + name] = low["prompt"].apply(lambda s: len(compiled.findall(s)))
frame = pd.DataFrame(out)
print(json.dumps({"read": read, "features": time.perf_counter() - start,
                  "features_cpu": time.process_time() - start_cpu, "columns": frame.shape[1],
                  "rows": len(frame), "pandas": pd.__version__,
                  "sums": {k: float(v) for k, v in frame.sum().items()},
                  "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}))
"""


def usual_patterns() -> dict[str, Any]:
    """Our patterns in the notation of Python's ``re``, which knows no scripts by name."""
    import re

    from arena_ensemble import _feature_patterns as features

    scripts = {
        "Cyrillic": "\u0400-\u052f", "Han": "\u3400-\u4dbf\u4e00-\u9fff", "Hiragana": "\u3041-\u309f",
        "Katakana": "\u30a0-\u30ff", "Hangul": "\uac00-\ud7af", "Arabic": "\u0600-\u06ff",
        "Hebrew": "\u0590-\u05ff",
        "Devanagari": "\u0900-\u097f", "Bengali": "\u0980-\u09ff", "Tamil": "\u0b80-\u0bff",
        "Telugu": "\u0c00-\u0c7f", "Thai": "\u0e00-\u0e7f",
    }  # fmt: skip

    def plain(pattern: str) -> str:
        pattern = re.sub(r"\\x\{([0-9A-Fa-f]+)\}", lambda m: re.escape(chr(int(m[1], 16))), pattern)
        pattern = re.sub(r"\\p\{(\w+)\}", lambda m: scripts[m[1]], pattern)
        re.compile(pattern)
        return pattern if pattern.startswith("[") else f"[{pattern}]" if pattern[1:2] == "-" else pattern

    groups = {
        "marks": {**features.MARKS, **features.SCRIPTS},
        "phrases": features.PHRASES,
        "requests": features.REQUESTS,
    }
    return {
        "word": plain(features.WORD),
        **{name: {key: plain(value) for key, value in group.items()} for name, group in groups.items()},
    }


def usual(path: Path, python: str, folder: Path, rows: int) -> dict[str, Any]:
    """The peer's figures, in its own interpreter."""
    patterns = folder / "patterns.json"
    patterns.write_text(json.dumps(usual_patterns()))
    done = subprocess.run(
        [python, "-c", USUAL, str(path), str(patterns), str(rows)], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def agreement(path: Path, sums: dict[str, float], rows: int) -> list[str]:
    """Columns whose sums differ from ours by more than 2 %: the peer computes the same things."""
    from arena_ensemble.features import side_counts
    from arena_ensemble.readers import read_battles

    table = side_counts(read_battles(path).take(range(rows)))
    differ = []
    for name, value in sums.items():
        side, _, measure = name.removeprefix("response_").partition("_")
        column = f"{side}:{measure}"
        if (
            side in ("a", "b")
            and column in table.columns
            and measure not in ("accented", "cyrillic", "cjk", "arabic", "indic")
        ):
            mine = float(table[column].sum())
            if abs(mine - value) > 0.02 * max(abs(value), 50):
                differ.append(f"{column} {mine:.0f} against {value:.0f}")
    return differ


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=57_477)
    parser.add_argument("--usual-python", help="an interpreter that can import pandas")
    parser.add_argument(
        "--usual-rows", type=int, default=0, help="the peer's rows (its time grows linearly); 0: all"
    )
    parser.add_argument("--keep", type=Path, help="write the synthetic file here, or use it if it is there")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    parser.add_argument("--quick", action="store_true", help="under a minute: 6,000 rows")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.rows = 6_000 if options.quick else options.rows
    if options.child:
        print(json.dumps(ours(options.child)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = options.keep or folder / "train.csv"
        if not path.exists():
            write_arena(path, options.rows)
        megabytes = path.stat().st_size / 1e6
        child = [sys.executable, __file__, "--child", str(path)]
        result = json.loads(subprocess.run(child, capture_output=True, text=True, check=True).stdout)
        result["megabytes"] = megabytes
        if options.usual_python:
            result["usual"] = peer = usual(path, options.usual_python, folder, options.usual_rows)
            peer["differ"] = agreement(path, peer.pop("sums"), peer["rows"])
    if options.json:
        print(json.dumps(result))
        return
    print(f"{result['rows']:,} rows, {megabytes:.0f} MB, {result['columns']} feature columns")
    for name, value in result["seconds"].items():
        print(f"  {name:28} {value:6.1f} s, {result['cpu_seconds'][name]:6.1f} s of CPU")
    print(f"  {'all':28} {result['total']:6.1f} s, peak {result['peak_gib']:.2f} GiB (to reach: 45 s, 3 GiB)")
    print(f"  {result['prompts']:,} prompts, {result['groups']:,} groups, largest {result['largest_group']}")
    if options.usual_python:
        features = result["seconds"]["features"]
        print(f"usual way (pandas {peer['pandas']}, re, apply):")
        print(f"  {peer['columns']} of our measures, {peer['rows']:,} rows")
        print(
            f"  read {peer['read']:.1f} s, features {peer['features']:.1f} s, peak {peer['peak_gib']:.2f} GiB"
        )
        share = result["rows"] / peer["rows"]
        ratio = peer["features"] / features * share
        cpu = peer["features_cpu"] / result["cpu_seconds"]["features"] * share
        print(f"  features: ours are {ratio:.1f} times faster (to reach: 8); by CPU seconds {cpu:.1f} times")
        print(f"  columns that differ by more than 2 %: {', '.join(peer['differ']) or 'none'}")
    else:
        print("the usual way was not run: give --usual-python, an interpreter with pandas")


if __name__ == "__main__":
    main()
