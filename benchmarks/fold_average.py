"""Does the correction for fold-averaged test predictions hold on real folds? Regret before and after.

Every battle of a labelled file is once a test row: its prompts are left out, members are trained in
five folds on the rest by the command line, the stacker is fitted on their out-of-fold predictions,
and the fold models' predictions of the rows left out are averaged. Each member (after the temperature
that its out-of-fold rows give) and the ensemble are then scored with no correction and with each
kind of correction; the regret is against the best sharpness in hindsight on the same rows.

    python benchmarks/fold_average.py [--data FILE …] [--members NAME,…] [--parts 4] [--keep FOLDER]
                                      [--recipes FOLDER] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.calibration import Temperature, ensemble_gamma, fit_temperature, fold_average_gamma
from arena_ensemble.features import extract
from arena_ensemble.folds import group_keys
from arena_ensemble.io import read_battles
from arena_ensemble.metrics import paired_difference, row_losses
from arena_ensemble.pipeline.ensemble import Ensemble
from arena_ensemble.predictions import Predictions, average_folds

VOTES = Path(__file__).resolve().parents[2] / "shared" / "data" / "votes"
HIDDEN = ("winner_model_a", "winner_model_b", "winner_tie", "model_a", "model_b")


def split(path: Path, folder: Path, part: int, parts: int) -> tuple[Path, Path]:
    """Train and test files of a part: every group of prompts lies in one of them."""
    keys = np.asarray(group_keys(read_battles(path, need_outcomes=True)))
    names = np.unique(keys)
    drawn = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % parts, strict=True))
    held = np.array([drawn[key] == part for key in keys])
    csv.field_size_limit(1 << 30)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    folder.mkdir(parents=True, exist_ok=True)
    for name, kept, dropped in (("train.csv", ~held, ()), ("test.csv", held, HIDDEN)):
        columns = [column for column in rows[0] if column not in dropped]
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(row for row, keep in zip(rows, kept, strict=True) if keep)
    return folder / "train.csv", folder / "test.csv"


def submitted(folder: Path, train: Path, test: Path, members: str, recipes: Path | None) -> Workspace:
    """Out-of-fold members, the stacker, and the fold models' predictions of the test rows."""
    if recipes is not None:
        shutil.copytree(recipes, folder / "models", dirs_exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "arena_ensemble",
        "submission",
        "--data",
        str(train),
        "--test",
        str(test),
    ]
    command += ["--workspace", str(folder), "--models", members]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 4):
        raise SystemExit(done.stderr)
    return Workspace(folder)


def variants(
    workspace: Workspace, train: Path, test: Path, truth: dict[Any, int]
) -> dict[tuple[str, str], tuple[Any, Any]]:
    """(who, correction) → (log-probabilities of the test rows, the labels)."""
    battles, new = read_battles(train, need_outcomes=True), read_battles(test)
    y = battles.outcomes()
    labels = np.array([truth[one] for one in new.ids])
    built, features = Ensemble.load(workspace), extract(new)
    found: dict[tuple[str, str], tuple[Any, Any]] = {}
    parts: dict[str, list[Predictions]] = {}
    gammas: dict[str, float] = {}
    for name in built.members:
        own, _ = MemberArtifacts(workspace, name).load()
        beta = fit_temperature(own.aligned_to(battles.ids).combined().log_probs, y)
        parts[name] = [one.aligned_to(new.ids) for one in MemberArtifacts(workspace, name).load_test()]
        gammas[name] = fold_average_gamma([one.combined().log_probs for one in parts[name]])
        flat = average_folds(parts[name]).log_probs
        found[name, "none"] = beta.apply(flat), labels
        found[name, "member"] = beta.apply(Temperature(gammas[name]).apply(flat)), labels
    ones = dict.fromkeys(gammas, 1.0)
    for kind, used in (("none", ones), ("member", gammas)):
        sharp = {name: [sharpened(one, used[name]) for one in given] for name, given in parts.items()}
        averages = {name: average_folds(given) for name, given in sharp.items()}
        log_probs = built.stacker_log_probs(averages, features)
        found["ensemble", kind] = log_probs, labels
        folds = range(max(map(len, parts.values())))
        single = [
            built.stacker_log_probs({n: p[k % len(p)] for n, p in parts.items()}, features) for k in folds
        ]
        after = [
            built.stacker_log_probs({n: p[k % len(p)] for n, p in sharp.items()}, features) for k in folds
        ]
        gamma = ensemble_gamma(single, after, log_probs)
        found["ensemble", {"none": "ensemble", "member": "both"}[kind]] = (
            Temperature(gamma).apply(log_probs),
            labels,
        )
        print(f"  gamma of the ensemble after {kind}: {gamma:.3f}; members {gammas}", flush=True)
    return found


def sharpened(one: Predictions, gamma: float) -> Predictions:
    """A member's reading of one fold, multiplied by gamma in (delta, tau)."""
    plain = one.combined()
    return Predictions(plain.ids, Temperature(gamma).apply(plain.log_probs), plain.fold)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", help="labelled files (default: the real votes)")
    parser.add_argument("--members", default="lexical,tiny-classify,tiny-generate,tiny-swap")
    parser.add_argument("--recipes", type=Path, help="folder of further recipes, NAME/recipe.toml")
    parser.add_argument("--parts", type=int, default=4, help="how many test sets a file is cut into")
    parser.add_argument("--keep", type=Path, help="keep the workspaces here, and go on where it stopped")
    parser.add_argument("--quick", action="store_true", help="one file, one part, the lexical member")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    options = parser.parse_args()
    paths = options.data or [VOTES / f"{name}.csv" for name in ("mtbench", "tulu1", "pandalm")]
    paths = [path for path in paths if path.is_file()]
    if not paths:
        print("no labelled files here: nothing to measure")
        return
    members, parts = options.members, options.parts
    if options.quick:
        paths, members = paths[-1:], "lexical"
    every: dict[tuple[str, str], list[tuple[Any, Any]]] = {}
    with contextlib.ExitStack() as stack:
        root = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for path in paths:
            labelled = read_battles(path, need_outcomes=True)
            truth = dict(zip(labelled.ids.to_list(), labelled.outcomes(), strict=True))
            for part in range(1 if options.quick else parts):
                folder = root / f"{path.stem}-{part}"
                train, test = split(path, folder / "data", part, parts)
                workspace = submitted(folder / "work", train, test, members, options.recipes)
                print(f"{path.stem}, part {part}", flush=True)
                for key, found in variants(workspace, train, test, truth).items():
                    every.setdefault(key, []).append(found)
    report = summary(every)
    if options.json:
        print(json.dumps(report))


def summary(every: dict[tuple[str, str], list[tuple[Any, Any]]]) -> dict[str, Any]:
    """Regret against the best sharpness of each file and part, and the gain over no correction."""
    report: dict[str, Any] = {}
    for (who, kind), found in every.items():
        losses = np.concatenate([row_losses(log_probs, y) for log_probs, y in found])
        base = np.concatenate([row_losses(log_probs, y) for log_probs, y in every[who, "none"]])
        best = np.concatenate(
            [row_losses(fit_temperature(lp, y).apply(lp), y) for lp, y in every[who, "none"]]
        )
        gain = paired_difference(losses, base)
        report[f"{who}, {kind}"] = {
            "rows": len(losses),
            "log_loss": float(losses.mean()),
            "regret": float(losses.mean() - best.mean()),
            "minus_none": gain.mean,
            "minus_none_se": gain.se,
        }
        print(
            f"{who:16s} {kind:9s} {losses.mean():.5f}  regret {losses.mean() - best.mean():+.5f}"
            f"  minus none {gain.mean:+.5f} ± {gain.se:.5f}"
        )
    return report


if __name__ == "__main__":
    main()
