"""Our default `Stacker` against every peer, on real and on simulated out-of-fold files.

Outer folds: ``StratifiedKFold(5, shuffle=True, random_state=0)`` on the label; each peer, and ours, is
fitted on four folds and scored on the fifth, so that everything we choose is chosen inside. Peers run
in their own environments: set ARENA_PEERS (and ARENA_PEERS_AUTOGLUON) to a Python there.

On simulated files the score is the expected log-loss under the true probabilities (scenes with a leak:
on the drawn outcomes), and the regret is against the best of our candidates in hindsight; draws of
one scene and size are averaged first.

    python benchmarks/stacking.py [--quick] [--json] [--files FOLDER] [--no-simulator] [--sizes 300 732]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from simulated_oof import Simulated, grid
from sklearn.model_selection import StratifiedKFold

from arena_ensemble.metrics import paired_difference, row_losses, standard_error
from arena_ensemble.predictions import Floats
from arena_ensemble.stacking import Stacker

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data" / "oof"


def load(path: Path, rows: int | None) -> tuple[dict[str, Floats], Any]:
    table = pl.read_csv(path)
    table = table if rows is None else table.head(rows)
    names = [column[:-2] for column in table.columns if column.endswith("_a")]
    members = {}
    for name in names:
        probs = table.select(f"{name}_a", f"{name}_b", f"{name}_tie").to_numpy().astype(np.float64)
        members[name] = probs / probs.sum(axis=1, keepdims=True)
    return members, table["label"].to_numpy()


def outer_folds(y: Any) -> Any:
    folds = np.empty(len(y), dtype=np.int64)
    splitter = StratifiedKFold(5, shuffle=True, random_state=0)
    for fold, (_, held) in enumerate(splitter.split(np.zeros(len(y)), y)):
        folds[held] = fold
    return folds


@dataclass(frozen=True)
class Read:
    """What one method gave the held rows: log-probabilities (n, 3), and its seconds for five folds."""

    log_probs: Floats
    seconds: float


def ours(members: dict[str, Floats], y: Any, folds: Any) -> tuple[Read, list[str]]:
    """The default stacker fitted on the other folds, and what it chose in each."""
    out = np.empty((len(y), 3))
    choices = []
    start = time.perf_counter()
    for fold in range(5):
        held = folds == fold
        stacker = Stacker(random_state=0, honest=False)
        stacker.fit({name: values[~held] for name, values in members.items()}, y[~held])
        out[held] = stacker.predict_log_proba({name: values[held] for name, values in members.items()})
        choices.append(
            ", ".join(f"{name} {share:.0%}" for name, share in stacker.selection_frequency_.items())
        )
    return Read(out, time.perf_counter() - start), choices


def peers(files: list[tuple[dict[str, Floats], Any, Any]]) -> tuple[list[dict[str, Read]], list[str]]:
    """For each (members, y, folds): peer → its reading; and notes on environments that are not there."""
    found: list[dict[str, Read]] = [{} for _ in files]
    notes = []
    with tempfile.TemporaryDirectory() as folder:
        pairs = [(Path(folder, f"in-{i}.npz"), Path(folder, f"out-{i}.npz")) for i in range(len(files))]
        for (source, _), (members, y, folds) in zip(pairs, files, strict=True):
            np.savez(source, probs=np.stack(list(members.values())), y=y, folds=folds)
        for variable in ("ARENA_PEERS", "ARENA_PEERS_AUTOGLUON"):
            python = os.environ.get(variable)
            if not python:
                notes.append(f"{variable} is not set: its peers are skipped")
                python = sys.executable if variable == "ARENA_PEERS" else None
            if python is None:
                continue
            paths = [str(path) for pair in pairs for path in pair]
            command = [python, str(HERE / "stacking_peers.py"), *paths]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                notes.append(f"{variable}: {done.stderr.strip().splitlines()[-1]}")
                continue
            for (_, target), into in zip(pairs, found, strict=True):
                read = np.load(target)
                for name in read.files:
                    if not name.startswith("seconds:") and name not in into:
                        into[name] = Read(read[name], float(read[f"seconds:{name}"]))
    return found, notes


def compared(
    name: str, mine: Read, others: dict[str, Read], losses: Callable[[Floats], Floats]
) -> dict[str, Any]:
    """Ours beside every peer on one file; ``losses`` scores log-probabilities (n, 3) row by row."""
    own = losses(mine.log_probs)
    table = {
        peer: {
            "log_loss": float(values.mean()),
            "se": standard_error(values),
            "seconds": others[peer].seconds,
        }
        for peer, values in ((peer, losses(read.log_probs)) for peer, read in others.items())
    }
    best = min(table, key=lambda peer: table[peer]["log_loss"])
    difference = paired_difference(own, losses(others[best].log_probs))
    return {
        "file": name,
        "rows": len(own),
        "ours": {"log_loss": float(own.mean()), "se": standard_error(own), "seconds": mine.seconds},
        "peers": table,
        "best_peer": best,
        "difference": difference.mean,
        "difference_se": difference.se,
        "reached": difference.mean <= 0.0003,
    }


def real_file(path: Path, rows: int | None) -> dict[str, Any]:
    members, y = load(path, rows)
    folds = outer_folds(y)
    mine, choices = ours(members, y, folds)
    others, notes = peers([(members, y, folds)])
    found = compared(path.stem, mine, others[0], lambda log_probs: row_losses(log_probs, y))
    return {**found, "choices": choices, "notes": notes}


def simulated(one: Simulated, folds: Any, others: dict[str, Read]) -> dict[str, Any]:
    mine, choices = ours(one.members, one.y, folds)
    # The candidates of the same outer folds: fitted, tuned and sharpened on the other four.
    hindsight = Stacker(random_state=0).fit(one.members, one.y, folds=folds).candidate_oof_
    candidates = {name: float(one.losses(values).mean()) for name, values in hindsight.items()}
    best = min(candidates, key=lambda name: candidates[name])
    found = compared(one.scene, mine, others, one.losses)
    return {
        **found,
        "bayes": float(one.losses(one.truth).mean()),
        "best_candidate": best,
        "regret": found["ours"]["log_loss"] - candidates[best],
        "choices": choices,
    }


def over_the_grid(scenes: list[Simulated]) -> dict[str, Any]:
    """Every simulated file, printed as it is done, and the mean regret by size and over all sizes."""
    folds = [outer_folds(one.y) for one in scenes]
    others, notes = peers([(one.members, one.y, by) for one, by in zip(scenes, folds, strict=True)])
    rows = []
    for one, by, read in zip(scenes, folds, others, strict=True):
        row = simulated(one, by, read)
        rows.append(row)
        print(
            f"{row['file']:22s} {row['rows']:6d} rows  {row['ours']['log_loss']:.5f}"
            f"  Bayes {row['bayes']:.5f}  regret {row['regret']:+.5f} ({row['best_candidate']})"
            f"  minus {row['best_peer']} {row['difference']:+.5f} ± {row['difference_se']:.5f}"
            f"  {row['ours']['seconds']:.1f} s",
            flush=True,
        )
    sizes = sorted({row["rows"] for row in rows})
    by_size = {n: float(np.mean([row["regret"] for row in rows if row["rows"] == n])) for n in sizes}
    against = {n: float(np.mean([row["difference"] for row in rows if row["rows"] == n])) for n in sizes}
    for n in sizes:
        print(
            f"{n:6d} rows: mean regret {by_size[n]:+.5f}, mean difference to the best peer {against[n]:+.5f}"
        )
    mean = float(np.mean(list(by_size.values())))
    print(f"mean regret over {len(sizes)} sizes: {mean:+.5f}")
    for note in notes:
        print(f"note: {note}")
    return {"simulated": rows, "regret_by_size": by_size, "mean_regret": mean}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2,000 rows a file and two simulated files")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    parser.add_argument("--files", type=Path, default=DATA, help="folder of oof_*.csv")
    parser.add_argument("--no-simulator", action="store_true", help="the real files only")
    parser.add_argument("--no-real", action="store_true", help="the simulator only")
    parser.add_argument("--sizes", type=int, nargs="*", help="simulated files of these sizes only")
    options = parser.parse_args()
    results: dict[str, Any] = {"real": []}
    paths = sorted(options.files.glob("oof_*.csv")) if options.files.is_dir() else []
    paths = [] if options.no_real else paths
    if not paths and not options.no_real:
        print(f"no oof_*.csv in {options.files}: real files are skipped")
    for path in paths:
        one = real_file(path, 2000 if options.quick else None)
        results["real"].append(one)
        print(f"\n{one['file']}: {one['rows']} rows")
        for name, row in sorted(one["peers"].items(), key=lambda item: item[1]["log_loss"]):
            print(f"  {name:42s} {row['log_loss']:.5f} ± {row['se']:.4f} {row['seconds']:8.1f} s")
        mine, ours_name = one["ours"], "arena-ensemble Stacker"
        print(f"  {ours_name:42s} {mine['log_loss']:.5f} ± {mine['se']:.4f} {mine['seconds']:7.1f} s")
        print(
            f"  minus {one['best_peer']}: {one['difference']:+.5f} ± {one['difference_se']:.5f}", flush=True
        )
        for fold, chosen in enumerate(one["choices"]):
            print(f"  fold {fold}: {chosen}")
        for note in one["notes"]:
            print(f"  note: {note}")
    if not options.no_simulator:
        scenes = [one for one in grid(quick=options.quick) if not options.sizes or one.rows in options.sizes]
        results.update(over_the_grid(scenes))
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
