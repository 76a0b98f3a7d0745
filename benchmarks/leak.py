"""What a leak flatters: the lexical member under random folds against grouped folds, on the same votes.

The peer is the usual way: stratified random folds over rows, as most public notebooks use. Both runs
are the same member on the same rows; only who is held out together differs. The gap is no gain: it is
prompts (and answers) that the models had already seen.

    python benchmarks/leak.py --data FILE [--members lexical] [--seeds 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedKFold

from arena_ensemble import backbones, folds, metrics
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.battles import Battles
from arena_ensemble.io import read_battles
from arena_ensemble.recipes import Recipe, load_recipe


def losses(battles: Battles, fold: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Out-of-fold loss of every row, (n,)."""
    backbone = backbones.get(recipe.backbone)
    log_probs = np.zeros((len(battles), 3))
    for k in np.unique(fold):
        held = fold == k
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            fitted = backbone.fit(
                battles.take(np.flatnonzero(~held)), recipe=recipe, folder=place, cache=place
            )
            log_probs[held] = backbone.predict(fitted, battles.take(np.flatnonzero(held)).without_outcomes())
    return metrics.row_losses(log_probs, battles.outcomes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    battles = read_battles(options.data, need_outcomes=True)
    recipe = load_recipe(Workspace(Path()).recipe_path("lexical"))
    y, groups = battles.outcomes(), folds.group_keys(battles)
    rows: dict[str, list[np.ndarray]] = {"random folds": [], "grouped folds": []}
    for seed in range(options.seeds):
        random = np.zeros(len(y), dtype=np.int64)
        for k, (_, held) in enumerate(StratifiedKFold(5, shuffle=True, random_state=seed).split(y, y)):
            random[held] = k
        grouped = folds.make_folds(battles, seed=seed).fold
        rows["random folds"].append(losses(battles, random, recipe))
        rows["grouped folds"].append(losses(battles, grouped, recipe))
    mean = {name: np.mean(found, axis=0) for name, found in rows.items()}
    gap = mean["grouped folds"] - mean["random folds"]
    prior = metrics.row_losses(metrics.prior_log_probs(y), y)
    figures = {
        "rows": len(y),
        "prompts": int(groups.max()) + 1,
        "seeds": options.seeds,
        "prior": round(float(prior.mean()), 4),
        **{name: round(float(found.mean()), 4) for name, found in mean.items()},
        "flattered_by": round(float(gap.mean()), 4),
        "standard_error": round(metrics.standard_error(gap, groups), 4),
    }
    for key, value in figures.items():
        print(f"{key:<16} {value}")
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
