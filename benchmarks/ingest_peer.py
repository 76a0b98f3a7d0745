"""The peer of ``ingest.py``: pandas, ``json.loads`` and ``re`` in ``apply``, as public notebooks count."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

# The usual way, for an interpreter with pandas and nothing of ours: patterns come as JSON.
USUAL = """
import json, re, resource, sys, time
import pandas as pd
patterns = json.load(open(sys.argv[2]))
start = time.perf_counter()
df = pd.read_csv(sys.argv[1])
for side in ("prompt", "response_a", "response_b"):
    df[side] = df[side].apply(lambda cell: "\\n".join(turn or "" for turn in json.loads(cell)))
read = time.perf_counter() - start
start, start_cpu = time.perf_counter(), time.process_time()
word = re.compile(patterns["word"])
out = {}
low = {side: df[side].str.lower() for side in ("prompt", "response_a", "response_b")}
def words_in(text):
    found = word.findall(text)
    return len(found), set(found)
found = {side: low[side].apply(words_in) for side in low}
words = {side: found[side].apply(lambda pair: pair[1]) for side in low}
for side in ("response_a", "response_b"):
    out[side + "_chars"] = df[side].apply(len)
    out[side + "_words"] = found[side].apply(lambda pair: pair[0])
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

    from arena_ensemble.features import patterns as features

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


def usual(path: Path, python: str, folder: Path) -> dict[str, Any]:
    """The peer's figures, in its own interpreter."""
    patterns = folder / "patterns.json"
    patterns.write_text(json.dumps(usual_patterns()))
    done = subprocess.run(
        [python, "-c", USUAL, str(path), str(patterns)], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def agreement(path: Path, sums: dict[str, float]) -> list[str]:
    """Columns whose sums differ from ours by more than 2 %: the peer computes the same things."""
    from arena_ensemble.features import side_counts
    from arena_ensemble.io import read_battles

    table = side_counts(read_battles(path))
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
