"""What length and formatting features add to members, on real votes, with error bars.

Members are cross-fitted on each labelled file by the command line; the default stacker is then fitted
on each set of members with and without features, on the same folds and groups. Every loss is the
nested out-of-fold one, choosing included; differences are paired, standard errors clustered by prompt.

    python benchmarks/features_add.py [--data FILE …] [--members NAME,…] [--recipes FOLDER]
                                      [--keep FOLDER] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from arena_ensemble.artifacts import fold_file
from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.features import extract
from arena_ensemble.io import read_battles
from arena_ensemble.metrics import paired_difference, row_losses, standard_error
from arena_ensemble.predictions import Predictions
from arena_ensemble.stacking import Stacker

VOTES = Path(__file__).resolve().parents[2] / "shared" / "data" / "votes"
TEXT_MEMBER = "lexical"
"""The member that reads length and words by itself, told apart from the language models."""


def cross_fitted(data: Path, folder: Path, members: str, recipes: Path | None) -> Workspace:
    if recipes is not None:
        shutil.copytree(recipes, folder / "models", dirs_exist_ok=True)
    command = [sys.executable, "-m", "arena_ensemble", "oof", "--data", str(data)]
    command += ["--workspace", str(folder), "--models", members]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 4):
        raise SystemExit(done.stderr)
    return Workspace(folder)


def sets_of(names: list[str]) -> dict[str, list[str]]:
    models = [name for name in names if name != TEXT_MEMBER]
    found = {"language models": models, TEXT_MEMBER: [TEXT_MEMBER], "all members": names}
    return {name: list(members) for name, members in found.items() if members and set(members) <= set(names)}


def one_file(data: Path, workspace: Workspace, names: list[str], *, quick: bool) -> dict[str, Any]:
    battles = read_battles(data, need_outcomes=True)
    folds, y = fold_file.read_folds(workspace, battles), battles.outcomes()
    features = extract(battles)
    members: dict[str, Predictions] = {
        name: MemberArtifacts(workspace, name).load()[0].aligned_to(battles.ids) for name in names
    }

    def losses(chosen: list[str], *, with_features: bool) -> tuple[Any, str]:
        stacker = Stacker(random_state=0, honest=not quick)
        stacker.fit(
            {name: members[name] for name in chosen},
            y,
            features=features if with_features else None,
            groups=folds.group,
            folds=folds.fold,
        )
        return row_losses(stacker.oof_log_proba_, y), stacker.choice_

    alone, choice = losses([], with_features=True)
    scored = {"log_loss": float(alone.mean()), "se": standard_error(alone, folds.group), "choice": choice}
    report: dict[str, Any] = {"rows": len(y), "features only": scored}
    print(
        f"{data.stem}: {len(y)} battles; features only {scored['log_loss']:.4f} ± {scored['se']:.4f}",
        flush=True,
    )
    for name, chosen in sets_of(names).items():
        without, choice_without = losses(chosen, with_features=False)
        with_them, choice_with = losses(chosen, with_features=True)
        gain = paired_difference(with_them, without, folds.group)
        members_add = paired_difference(with_them, alone, folds.group)
        report[name] = {
            "without": float(without.mean()),
            "with": float(with_them.mean()),
            "difference": gain.mean,
            "difference_se": gain.se,
            "members_add": members_add.mean,
            "members_add_se": members_add.se,
            "choices": [choice_without, choice_with],
        }
        print(
            f"  {name:16s} without {without.mean():.4f}  with {with_them.mean():.4f}"
            f"  features add {gain.mean:+.4f} ± {gain.se:.4f}"
            f"  members add {members_add.mean:+.4f} ± {members_add.se:.4f}",
            flush=True,
        )
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", help="labelled files (default: the real votes)")
    parser.add_argument("--members", default="lexical,tiny-classify,tiny-generate,tiny-swap")
    parser.add_argument("--recipes", type=Path, help="folder of further recipes, NAME/recipe.toml")
    parser.add_argument("--keep", type=Path, help="keep the workspaces here, and go on where it stopped")
    parser.add_argument(
        "--quick", action="store_true", help="one file, the lexical member, choices not nested"
    )
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    options = parser.parse_args()
    paths = options.data or [VOTES / f"{name}.csv" for name in ("mtbench", "tulu1", "pandalm")]
    paths = [path for path in paths if path.is_file()]
    if not paths:
        print("no labelled files here: nothing to measure")
    members = options.members
    if options.quick:
        paths, members = paths[-1:], TEXT_MEMBER
    report = {}
    with contextlib.ExitStack() as stack:
        root = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for path in paths:
            workspace = cross_fitted(path, root / path.stem, members, options.recipes)
            report[path.stem] = one_file(path, workspace, members.split(","), quick=options.quick)
    if len(report) > 1:
        pooled = np.average(
            [one["all members"]["difference"] for one in report.values()],
            weights=[one["rows"] for one in report.values()],
        )
        print(f"features add to all members, mean by rows: {pooled:+.4f}")
    if options.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
