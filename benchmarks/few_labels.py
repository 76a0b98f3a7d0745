"""Regret of the default choice where labels are few, beside the former rule on the same fits.

The former rule: bagged choice by one standard error, without what joined for few rows since: the pools shrunk
toward the equal one and the logistic stacker by evidence. Regret in 1e-4 nats on fresh rows against the best
of the former candidates in hindsight, ± one standard error over files. Simulated files (4,000 fresh rows,
scored by the true probabilities): seven scenes, 12 seeds each at 240 rows and 6 at 585, twice. Real files:
eight random training sets of 300 and of 732 rows, up to 10,000 other rows.

    python benchmarks/few_labels.py [--quick] [--json] [--files FOLDER]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from simulated_oof import SCENES, simulate
from sklearn.linear_model import LogisticRegression
from stacking import DATA, load

from arena_ensemble.folds.split import stratified_group_folds
from arena_ensemble.losses import LOG_FLOOR
from arena_ensemble.stacking import make_design
from arena_ensemble.stacking.candidates import candidates_for
from arena_ensemble.stacking.evidence_logistic import EvidenceLogistic
from arena_ensemble.stacking.nested_cv import _decide_on_all, cross_fit_paths
from arena_ensemble.stacking.row_folds import repeats_for
from arena_ensemble.stacking.selection import averaging_share, decision_log_probs

FRESH = 4000
SEEDS = {240: 12, 585: 6}
REAL = (300, 732)
RULES = ("former", "now", "logistic regression")


def compared(members: dict[str, Any], y: Any, train: Any, test: Any, loss: Any) -> dict[str, float]:
    """Rule → regret of one training set; ``loss`` maps log-probabilities of the test rows to a number."""
    shown = {name: values[train] for name, values in members.items()}
    design, fresh = make_design(shown, None), make_design({n: v[test] for n, v in members.items()}, None)
    labels = y[train]
    now = candidates_for(design)
    joined = ("shrunk pool", EvidenceLogistic().name)
    dropped = {name for name in now.order if name.startswith(joined)}
    former = dataclasses.replace(
        now,
        candidates=tuple(one for one in now.candidates if one.name not in dropped),
        order=tuple(name for name in now.order if name not in dropped),
    )
    groups = np.arange(len(labels))
    runs = []
    for seed in range(repeats_for(len(labels))):
        by = np.asarray(stratified_group_folds(labels, groups, n_folds=5, seed=seed))
        runs.append((by, cross_fit_paths(now.candidates, design, labels, by, seed=seed, pairs=False)))
    fresh_paths = {one.name: one.fit(design, labels, 0).predict_path(fresh) for one in now.candidates}
    tie_logit = now.predicts_tie_logit
    found, hindsight = {}, np.inf
    for rule, candidates in (("former", former), ("now", now)):
        kept = [
            (by, {name: path for name, path in paths.items() if rule == "now" or name not in dropped})
            for by, paths in runs
        ]
        share = averaging_share(len(labels)) if rule == "now" else 0.0
        made = _decide_on_all(candidates, kept, labels, groups, tolerance=1.0, averaging=share)
        found[rule] = loss(decision_log_probs(made, fresh_paths, tie_logit))
        if rule == "former":
            hindsight = min(
                loss(decision_log_probs(made, fresh_paths, tie_logit, name)) for name in candidates.order
            )
    columns = np.hstack([np.maximum(np.log(np.maximum(v, 1e-300)), LOG_FLOOR) for v in members.values()])
    peer = LogisticRegression(C=0.1, max_iter=2000).fit(columns[train], labels)
    found["logistic regression"] = loss(peer.predict_log_proba(columns[test]))
    return {rule: value - hindsight for rule, value in found.items()}


def simulated(rows: int, seeds: range, scenes: list[str]) -> list[dict[str, float]]:
    found = []
    for scene in scenes:
        for seed in seeds:
            one = simulate(scene, SCENES[scene], rows + FRESH, seed)
            test = np.arange(rows, rows + FRESH)

            def loss(log_probs: Any, one: Any = one, test: Any = test) -> float:
                if one.scene == "leaky":
                    return float(-log_probs[np.arange(len(test)), one.y[test]].mean())
                return float(-(np.exp(one.truth[test]) * log_probs).sum(axis=1).mean())

            found.append(compared(one.members, one.y, np.arange(rows), test, loss))
    return found


def real(path: Path, rows: int, draws: int) -> list[dict[str, float]]:
    members, y = load(path, None)
    found = []
    for seed in range(draws):
        order = np.random.default_rng(seed).permutation(len(y))
        train, test = order[:rows], order[rows : rows + 10_000]

        def loss(log_probs: Any, truth: Any = y[test]) -> float:
            return float(-log_probs[np.arange(len(truth)), truth].mean())

        found.append(compared(members, y, train, test, loss))
    return found


def shown(name: str, found: list[dict[str, float]]) -> dict[str, Any]:
    row: dict[str, Any] = {"file": name, "draws": len(found)}
    for rule in RULES:
        values = np.array([one[rule] for one in found]) * 1e4
        row[rule] = {"regret_1e4": float(values.mean()), "se": float(values.std() / len(values) ** 0.5)}
    text = "  ".join(f"{rule} {row[rule]['regret_1e4']:6.1f} ± {row[rule]['se']:4.1f}" for rule in RULES)
    print(f"{name:44s} {text}", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="240 rows, one seed, two scenes, no real file")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    parser.add_argument("--files", type=Path, default=DATA, help="folder of oof_*.csv")
    options = parser.parse_args()
    rows = []
    if options.quick:
        rows.append(shown("simulator, 240 rows", simulated(240, range(1), list(SCENES)[:2])))
    else:
        for size, count in SEEDS.items():
            for part, seeds in (("chose", range(count)), ("confirming", range(count, 2 * count))):
                rows.append(shown(f"simulator, {size} rows, {part}", simulated(size, seeds, list(SCENES))))
        for path in sorted(options.files.glob("oof_*.csv")) if options.files.is_dir() else []:
            rows += [shown(f"{path.stem}, {size} rows", real(path, size, 8)) for size in REAL]
    print(f"ratio now / former, mean over rows: {ratio(rows):.2f}")
    if options.json:
        print(json.dumps({"files": rows, "ratio": ratio(rows)}))


def ratio(rows: list[dict[str, Any]]) -> float:
    now, former = (float(np.mean([row[rule]["regret_1e4"] for row in rows])) for rule in ("now", "former"))
    return now / former


if __name__ == "__main__":
    main()
