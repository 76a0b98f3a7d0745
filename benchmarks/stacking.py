"""Our default `Stacker` against every peer, on real and on simulated out-of-fold files.

Outer folds: ``StratifiedKFold(5, shuffle=True, random_state=0)`` on the label; each peer, and ours, is
fitted on four folds and scored on the fifth, so that everything we choose is chosen inside. Peers run
in their own environments: set ARENA_PEERS (and ARENA_PEERS_AUTOGLUON) to a Python there.

On simulated files the score is the expected log-loss under the true probabilities, and the regret is
against the best of our candidates in hindsight.

    python benchmarks/stacking.py [--quick] [--json] [--files FOLDER] [--no-simulator]
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
from simulated_oof import Simulated, grid
from sklearn.model_selection import StratifiedKFold

from arena_ensemble.predictions import Floats
from arena_ensemble.score import log_loss, paired_difference, row_losses, standard_error
from arena_ensemble.stack import Stacker

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


def ours(members: dict[str, Floats], y: Any, folds: Any) -> tuple[Floats, list[str], float]:
    """Log-probabilities (n, 3) by the default stacker fitted on the other folds."""
    out = np.empty((len(y), 3))
    choices = []
    start = time.perf_counter()
    for fold in range(5):
        held = folds == fold
        stacker = Stacker(random_state=0, honest=False)
        stacker.fit({name: values[~held] for name, values in members.items()}, y[~held])
        out[held] = stacker.predict_log_proba({name: values[held] for name, values in members.items()})
        choices.append(stacker.choice_)
    return out, choices, time.perf_counter() - start


def peers(
    members: dict[str, Floats], y: Any, folds: Any
) -> tuple[dict[str, tuple[Floats, float]], list[str]]:
    """Peer → (log-probabilities, seconds), and notes on environments that are not there."""
    found: dict[str, tuple[Floats, float]] = {}
    notes = []
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, probs=np.stack(list(members.values())), y=y, folds=folds)
        for variable in ("ARENA_PEERS", "ARENA_PEERS_AUTOGLUON"):
            python = os.environ.get(variable)
            if not python:
                notes.append(f"{variable} is not set: its peers are skipped")
                python = sys.executable if variable == "ARENA_PEERS" else None
            if python is None:
                continue
            command = [python, str(HERE / "stacking_peers.py"), str(source), str(target)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                notes.append(f"{variable}: {done.stderr.strip().splitlines()[-1]}")
                continue
            read = np.load(target)
            for name in read.files:
                if not name.startswith("seconds:") and name not in found:
                    found[name] = (read[name], float(read[f"seconds:{name}"]))
    return found, notes


def real_file(path: Path, rows: int | None) -> dict[str, Any]:
    members, y = load(path, rows)
    folds = outer_folds(y)
    mine, choices, seconds = ours(members, y, folds)
    others, notes = peers(members, y, folds)
    own = row_losses(mine, y)
    table = {
        name: {
            "log_loss": log_loss(log_probs, y),
            "se": standard_error(row_losses(log_probs, y)),
            "seconds": took,
        }
        for name, (log_probs, took) in others.items()
    }
    best = min(table, key=lambda name: table[name]["log_loss"])
    difference = paired_difference(own, row_losses(others[best][0], y))
    return {
        "file": path.stem,
        "rows": len(y),
        "ours": {"log_loss": float(own.mean()), "se": standard_error(own), "seconds": seconds},
        "choices": choices,
        "peers": table,
        "best_peer": best,
        "difference": difference.mean,
        "difference_se": difference.se,
        "reached": difference.mean <= 0.0003,
        "notes": notes,
    }


def simulated(one: Simulated) -> dict[str, Any]:
    start = time.perf_counter()
    stacker = Stacker(random_state=0).fit(one.members, one.y)
    truth = np.exp(one.truth)
    loss = float(-(truth * stacker.oof_log_proba_).sum(axis=1).mean())
    candidates = {
        name: float(-(truth * values).sum(axis=1).mean()) for name, values in stacker.candidate_oof_.items()
    }
    best = min(candidates, key=lambda name: candidates[name])
    return {
        "file": one.name,
        "log_loss": loss,
        "bayes": float(-(truth * one.truth).sum(axis=1).mean()),
        "best_candidate": best,
        "regret": loss - candidates[best],
        "choice": stacker.choice_,
        "seconds": time.perf_counter() - start,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2,000 rows a file and two simulated files")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    parser.add_argument("--files", type=Path, default=DATA, help="folder of oof_*.csv")
    parser.add_argument("--no-simulator", action="store_true")
    options = parser.parse_args()
    results: dict[str, Any] = {"real": [], "simulated": []}
    paths = sorted(options.files.glob("oof_*.csv")) if options.files.is_dir() else []
    if not paths:
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
        print(f"  chosen: {', '.join(one['choices'])}")
        for note in one["notes"]:
            print(f"  note: {note}")
    for scene in [] if options.no_simulator else grid(quick=options.quick):
        row = simulated(scene)
        results["simulated"].append(row)
        print(
            f"{row['file']:36s} {row['log_loss']:.5f} Bayes {row['bayes']:.5f} regret {row['regret']:+.5f} "
            f"(chose {row['choice']}; best {row['best_candidate']}) {row['seconds']:.1f} s",
            flush=True,
        )
    if results["simulated"]:
        results["mean_regret"] = float(np.mean([row["regret"] for row in results["simulated"]]))
        print(f"mean regret over {len(results['simulated'])} simulated files: {results['mean_regret']:+.5f}")
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
