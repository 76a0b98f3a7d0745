"""What the lean of members that predicted one order is worth: the stacker with and without it, and a peer.

Simulated files: trained on some rows, scored on 20,000 fresh ones by the true probabilities; the peer is a
logistic regression with intercepts on log-probabilities. Arena battles with three judges' hard verdicts of
one order: each judge is a member by its smoothed, swap-equivariant table of the other four folds, and the
gain is of the whole nested procedure, paired. Boosted trees are left out on both sides unless asked for.

    python benchmarks/lean.py [--quick] [--json] [--trees] [--verdicts FILE] [--sizes 300 2874]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from simulated_oof import SCENES, simulate
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from arena_ensemble.metrics import group_codes, log_loss, paired_difference, row_losses
from arena_ensemble.stacking import Stacker, make_design
from arena_ensemble.stacking.candidates import candidates_for
from arena_ensemble.stacking.row_folds import LabelledRows, fold_codes

FILE = Path(__file__).resolve().parents[2] / "shared" / "data" / "judges" / "arena3_26919.csv"
FRESH = 20_000
DRAWS = {300: 6, 732: 4, 2874: 2, 14_370: 1}
TABLE_ROWS = 10.0
"""rows of the other verdicts' mean that a judge's table is smoothed by"""


def fitted(members: dict[str, Any], y: Any, folds: Any, *, lean: bool, honest: bool, trees: bool) -> Stacker:
    design = make_design(members, None, one_order=tuple(members) if lean else ())
    codes = group_codes(None, len(y))
    by = fold_codes(y, codes, folds, n_folds=5, seed=0)
    candidates = candidates_for(design, trees=trees)
    return Stacker(honest=honest).fit_source(design, candidates, LabelledRows(y, codes, by))


def leaning(stacker: Stacker) -> float:
    return sum(share for name, share in stacker.selection_frequency_.items() if name.endswith("lean"))


def scene(name: str, rows: int, draws: int, *, trees: bool) -> dict[str, Any]:
    """Mean over draws of the differences in 1e-4 nats, and of the weight of candidates with a lean."""
    gains, against, shares = [], [], []
    for seed in range(draws):
        one = simulate(name, SCENES[name], rows + FRESH, seed)
        shown = {member: values[:rows] for member, values in one.members.items()}
        fresh = {member: values[rows:] for member, values in one.members.items()}
        truth = np.exp(one.truth[rows:])
        losses = []
        for lean in (False, True):
            stacker = fitted(shown, one.y[:rows], None, lean=lean, honest=False, trees=trees)
            losses.append(float(-(truth * stacker.predict_log_proba(fresh)).sum(axis=1).mean()))
        columns, new = (np.hstack([np.log(v) for v in part.values()]) for part in (shown, fresh))
        peer = LogisticRegression(C=1.0, max_iter=3000).fit(columns, one.y[:rows])
        theirs = float(-(truth * peer.predict_log_proba(new)).sum(axis=1).mean())
        gains.append(losses[1] - losses[0])
        against.append([losses[0] - theirs, losses[1] - theirs])
        shares.append(leaning(stacker))
    error = float(np.std(gains) / (len(gains) - 1) ** 0.5) * 1e4 if len(gains) > 1 else None
    before, after = (float(np.mean(column)) for column in zip(*against, strict=True))
    row = {
        "scene": name,
        "rows": rows,
        "draws": draws,
        "difference_1e4": float(np.mean(gains)) * 1e4,
        "se_1e4": error,
        "without_minus_peer_1e4": before * 1e4,
        "with_minus_peer_1e4": after * 1e4,
        "weight_of_lean": float(np.mean(shares)),
    }
    print(
        f"{name:22s} {rows:6d} rows: with minus without {row['difference_1e4']:+6.1f}"
        f" ± {'?' if error is None else format(error, '.1f')}"
        f"  minus peer {row['without_minus_peer_1e4']:+6.1f} → {row['with_minus_peer_1e4']:+6.1f}"
        f"  weight {row['weight_of_lean']:.2f}",
        flush=True,
    )
    return row


def verdict_members(table: pl.DataFrame, y: Any, folds: Any) -> dict[str, Any]:
    """Judge → (n, 3) by its table of the other folds; verdicts A and B share their counts, exchanged."""
    names = [
        name for name in table.columns if name not in ("id", "question_id", "winner", "model_a", "model_b")
    ]
    code = {"model_a": 0, "model_b": 1}
    members = {}
    for name in names:
        verdict = np.array([code.get(str(value), 2) for value in table[name].to_list()])
        out = np.empty((len(y), 3))
        for fold in range(5):
            kept = folds != fold
            counts = np.zeros((3, 3))
            np.add.at(counts, (verdict[kept], y[kept]), 1.0)
            counts = counts + counts[[1, 0, 2]][:, [1, 0, 2]]
            smoothed = counts + TABLE_ROWS * counts.sum(axis=0) / counts.sum()
            out[~kept] = (smoothed / smoothed.sum(axis=1, keepdims=True))[verdict[~kept]]
        members[name] = out
    return members


def arena(path: Path, rows: int | None, *, trees: bool) -> dict[str, Any]:
    table = pl.read_csv(path)
    table = table if rows is None else table.head(rows)
    code = {"model_a": 0, "model_b": 1}
    y = np.array([code.get(value, 2) for value in table["winner"].to_list()])
    folds = np.empty(len(y), dtype=np.int64)
    splitter = StratifiedKFold(5, shuffle=True, random_state=0).split(np.zeros(len(y)), y)
    for fold, (_, held) in enumerate(splitter):
        folds[held] = fold
    members = verdict_members(table, y, folds)
    plain, lean = (fitted(members, y, folds, lean=one, honest=True, trees=trees) for one in (False, True))
    gain = paired_difference(row_losses(lean.oof_log_proba_, y), row_losses(plain.oof_log_proba_, y))
    row = {
        "file": path.name,
        "rows": len(y),
        "without": log_loss(plain.oof_log_proba_, y),
        "with": log_loss(lean.oof_log_proba_, y),
        "difference": gain.mean,
        "se": gain.se,
        "weight_of_lean": leaning(lean),
        "choice": lean.choice_,
    }
    print(
        f"{path.name}: {row['without']:.5f} without, {row['with']:.5f} with,"
        f" {gain.mean:+.5f} ± {gain.se:.5f}; {lean.choice_}, weight of lean {row['weight_of_lean']:.2f}"
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two scenes of 732 rows, 2,000 verdicts")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    parser.add_argument("--trees", action="store_true", help="with boosted trees and their blends")
    parser.add_argument("--verdicts", type=Path, default=FILE, help="arena3_26919.csv")
    parser.add_argument("--sizes", type=int, nargs="*", default=list(DRAWS), help="rows of simulated files")
    parser.add_argument("--scenes", nargs="*", default=list(SCENES), help="simulated scenes by name")
    options = parser.parse_args()
    found: dict[str, Any] = {"scenes": []}
    if options.verdicts.is_file():
        found["verdicts"] = arena(options.verdicts, 2000 if options.quick else None, trees=options.trees)
        found["ratio"] = found["verdicts"]["with"] / found["verdicts"]["without"]
    else:
        print(f"no {options.verdicts}: the verdicts are skipped")
    names = sorted(options.scenes, key=lambda name: name != "leaning and swapped")
    for rows in [732] if options.quick else options.sizes:
        for name in names[:2] if options.quick else names:
            if name != "leaky":  # what a leak gains does not hold on fresh rows
                draws = 1 if options.quick else DRAWS.get(rows, 1)
                found["scenes"].append(scene(name, rows, draws, trees=options.trees))
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
