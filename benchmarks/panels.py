"""Panels of judges against what people take instead: one judge, the mean, the majority, logistic regression.

Files of `../shared/data/judges`, five folds, seed 0 (stratified on arena3, elsewhere grouped by pair or
document). Every row is out of fold: judges are calibrated (`panels.fit_encoder`), the logistic regressions
fitted and the panel chosen without the fold that scores them; the best judge is taken in hindsight. Where no
vote is a tie, a tied or missing verdict counts half in the accuracy of bare verdicts. Differences are paired,
the panel's loss minus the other's, standard errors clustered by group; seconds are the panel's, choosing and
nested score included (CPU seconds beside them, for a busy machine).

    python benchmarks/panels.py [--data FOLDER] [--files NAME …] [--documents N] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from arena_ensemble.calibration import fit_temperature
from arena_ensemble.folds.split import stratified_group_folds
from arena_ensemble.io import read_judgements, read_panel_votes
from arena_ensemble.judgements import Judgements, Verdicts
from arena_ensemble.metrics import (
    accuracy,
    group_codes,
    log_loss,
    paired_difference,
    prior_log_probs,
    row_losses,
    standard_error,
)
from arena_ensemble.panels import Panel, fit_encoder
from arena_ensemble.predictions import from_delta_tau, normalised

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "judges"
FILES = {
    "arena3": (("arena3_26919.csv",), "arena3_26919.csv"),
    "llmbar": (("llmbar_verdicts.csv",), "llmbar_battles.csv"),
    "llmeval2": (("llmeval2_verdicts.csv",), "llmeval2_battles.csv"),
    "summeval": (("summeval_scores.csv",), "summeval_scores.csv"),
    "pandalm": (("pandalm_annotators.csv",), "pandalm_annotators.csv"),
}
FOLDS = 5
Array = Any


@dataclass(frozen=True)
class Case:
    """Judgements (n pairs), their majority votes, groups and folds (n,)."""

    judgements: Judgements
    y: Array
    groups: Array
    folds: Array


def read(folder: Path, name: str, documents: int) -> Case:
    given, voted = FILES[name]
    votes = read_panel_votes(folder / voted)
    ids, y = votes.ids, votes.majority
    groups = np.arange(len(y))
    if votes.groups is not None:
        document = votes.groups.cast(str).str.split(":").list.first()
        kept = document.unique(maintain_order=True).shuffle(seed=0)[:documents]
        rows = np.flatnonzero(document.is_in(kept.implode()).to_numpy())
        ids, y = ids[rows], y[rows]
        groups = group_codes(document[rows].to_numpy(), len(rows))
    judgements = read_judgements(*(folder / one for one in given)).aligned_to(ids)
    if name == "arena3":
        folds = np.empty(len(y), dtype=np.int64)
        split = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(y, y)
        for fold, (_, held) in enumerate(split):
            folds[held] = fold
    else:
        folds = stratified_group_folds(y, groups, n_folds=FOLDS, seed=0)
    return Case(judgements, y, groups, folds)


def out_of_fold(case: Case, predict: Callable[[Array, Array], Array]) -> Array:
    """(n, 3) log-probabilities: ``predict(train rows, held rows)`` for every fold."""
    found = np.empty((len(case.y), 3))
    for fold in range(FOLDS):
        held = np.flatnonzero(case.folds == fold)
        found[held] = predict(np.flatnonzero(case.folds != fold), held)
    return found


def encoded(case: Case, name: str, train: Array, rows: Array) -> Array:
    column = case.judgements.columns[name]
    return from_delta_tau(*fit_encoder(column.take(train), case.y[train]).encode(column.take(rows)))


def shares_of(judgements: Judgements, *, ties: bool) -> Array:
    """(n, 3) share of each verdict, both orders counted; a tie is half A, half B where no vote is one."""
    counts = np.full((len(judgements), 3), 0.5)
    for column in judgements.columns.values():
        for code in range(3):
            counts[:, code] += (column.slot_verdicts == code).sum(axis=1)
    if not ties:
        counts = np.stack(
            [counts[:, 0] + counts[:, 2] / 2, counts[:, 1] + counts[:, 2] / 2, 0 * counts[:, 2]], axis=1
        )
    return counts / counts.sum(axis=1, keepdims=True)


def majority_of(shares: Array) -> Array:
    """The likeliest outcome; a draw is a tie."""
    top = shares.max(axis=1, keepdims=True)
    return np.where((shares >= top - 1e-9).sum(axis=1) > 1, 2, shares.argmax(axis=1))


def logistic(case: Case, inputs: Callable[[Array, Array], Array], strength: float) -> Array:
    def predict(train: Array, held: Array) -> Array:
        model = LogisticRegression(C=strength, max_iter=2000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(inputs(train, train), case.y[train])
        probs = np.full((len(held), 3), 1e-12)
        probs[:, model.classes_] = model.predict_proba(inputs(train, held))
        return normalised(np.log(np.maximum(probs, 1e-12)))

    return out_of_fold(case, predict)


def bare_accuracy(verdicts: Array, y: Array) -> float:
    right = (verdicts == y).astype(float)
    if not (y == 2).any():
        right[(verdicts == 2) | (verdicts < 0)] = 0.5
    return float(right.mean())


def measure(case: Case, *, threads: int) -> dict[str, Any]:
    judges, y = case.judgements, case.y
    rows: dict[str, Array] = {"prior": prior_log_probs(y, case.folds)}
    bare: dict[str, float] = {}
    for name in judges.judges:
        rows[f"judge {name}"] = out_of_fold(
            case, lambda train, held, name=name: encoded(case, name, train, held)
        )
        bare[f"judge {name}"] = bare_accuracy(judges.columns[name].verdicts, y)
    shares = shares_of(judges, ties=bool((y == 2).any()))
    mean = np.log(np.maximum(shares, 1e-12))
    rows["mean of verdicts, temperature"] = out_of_fold(
        case, lambda train, held: fit_temperature(mean[train], y[train]).apply(mean[held])
    )
    majority = Verdicts.from_codes(majority_of(shares))
    bare["majority, calibrated"] = bare_accuracy(majority_of(shares), y)
    rows["majority, calibrated"] = out_of_fold(
        case,
        lambda train, held: from_delta_tau(
            *fit_encoder(majority.take(train), y[train]).encode(majority.take(held))
        ),
    )
    one_hot = np.concatenate(
        [
            np.eye(4)[judges.columns[name].slot_verdicts[:, slot] + 1]
            for name in judges.judges
            for slot in range(3)
        ],
        axis=1,
    )
    rows["logistic on one-hot verdicts"] = logistic(case, lambda _, of: one_hot[of], 0.1)
    rows["logistic on log-probabilities"] = logistic(
        case,
        lambda train, of: np.maximum(
            np.concatenate([encoded(case, name, train, of) for name in judges.judges], axis=1), -12
        ),
        0.1,
    )
    start, cpu = time.perf_counter(), time.process_time()
    panel = Panel(threads=threads).fit(judges, y, groups=case.groups, folds=case.folds)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    rows["equal pool of calibrated judges"] = panel.candidate_oof_["geometric mean"]
    rows["panel"] = panel.oof_log_proba_
    best = min((name for name in rows if name.startswith("judge ")), key=lambda name: log_loss(rows[name], y))
    own = row_losses(rows["panel"], y)
    report: dict[str, Any] = {
        "rows": len(y),
        "judges": len(judges.judges),
        "seconds": seconds,
        "cpu_seconds": cpu,
        "best": best,
    }
    report["choice"] = panel.selection_frequency_
    report["bare accuracy"] = {
        "best judge": max(value for name, value in bare.items() if name.startswith("judge ")),
        "majority": bare["majority, calibrated"],
    }
    report["scores"] = {
        name: {
            "log_loss": log_loss(one, y),
            "se": standard_error(row_losses(one, y), case.groups),
            "accuracy": accuracy(one, y),
            "bare_accuracy": bare.get(name),
            **_paired(own, row_losses(one, y), case.groups),
        }
        for name, one in rows.items()
    }
    return report


def _paired(own: Array, other: Array, groups: Array) -> dict[str, float]:
    found = paired_difference(own, other, groups)
    return {"panel_minus": found.mean, "panel_minus_se": found.se}


def show(name: str, report: dict[str, Any], *, every: bool) -> None:
    print(
        f"\n{name}: {report['rows']:,} pairs, {report['judges']} judges, panel in {report['seconds']:.0f} s "
        f"({report['cpu_seconds']:.0f} of CPU)"
    )
    print(f"{'':38s} log-loss  ± s.e.  accuracy  bare verdicts  panel minus it")
    for row, one in report["scores"].items():
        if row.startswith("judge ") and row != report["best"] and not every:
            continue
        shown = f"best {row}" if row == report["best"] else row
        bare = "" if one["bare_accuracy"] is None else f"{one['bare_accuracy']:.4f}"
        print(
            f"{shown[:38]:38s} {one['log_loss']:8.4f}  {one['se']:.4f}  {one['accuracy']:8.4f}  {bare:>13s}"
            f"  {one['panel_minus']:+.4f} ± {one['panel_minus_se']:.4f}",
        )
    bare = report["bare accuracy"]
    print(f"accuracy of bare verdicts: best judge {bare['best judge']:.4f}, majority {bare['majority']:.4f}")
    shares = "; ".join(f"{key} {value:.0%}" for key, value in report["choice"].items())
    print(f"chosen: {shares}", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the files of judgements")
    parser.add_argument("--files", nargs="*", choices=FILES, default=list(FILES))
    parser.add_argument("--documents", type=int, default=25, help="documents of summeval, drawn by seed 0")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="llmeval2 alone")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    options = parser.parse_args(argv)
    report = {}
    for name in ["llmeval2"] if options.quick else options.files:
        if not (options.data / FILES[name][0][0]).is_file():
            print(f"{name}: no file here, nothing to measure")
            continue
        case = read(options.data, name, options.documents)
        report[name] = measure(case, threads=options.threads)
        show(name, report[name], every=len(case.judgements.judges) <= 8)
    if options.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
