"""What the lexical member loses by learning from a sample: log-loss out of fold by rows of training.

    python benchmarks/lexical_rows.py [--votes mtbench,tulu1,pandalm] [--arena 60000] [--quick] [--json]

Real votes: five grouped folds of each file; each fold's model learns from a random eighth, quarter, half and
all of the other folds' rows. The sample arena, whose true probabilities are known: one half is held out, and
the model learns from more and more rows of the other; its loss above the true probabilities' is fitted by
``c rows^-a``, from which the last line says what a model of all of ten million rows would gain on one of
`LEARNED_ROWS`. That is extrapolated. The peer is the class prior of the other folds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from arena_ensemble import metrics
from arena_ensemble.backbones.lexical import model
from arena_ensemble.battles import Battles
from arena_ensemble.folds import make_folds
from arena_ensemble.io import read_battles
from arena_ensemble.recipes import load_recipe
from arena_ensemble.sample import make_arena

SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)
TEN_MILLION = 10_000_000
VOTES = (
    Path(os.environ.get("ARENA_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    / "votes"
)


def losses(train: Battles, held: Battles, truth: Any = None) -> Any:
    """Row losses (m,) of the held-out battles; with their true log-probabilities, expected ones."""
    with tempfile.TemporaryDirectory() as name:
        recipe = load_recipe("lexical")
        fitted = model.fit(train, recipe=recipe, folder=Path(name), cache=Path(name))
    log_probs = model.predict(fitted, held.without_outcomes())
    if truth is None:
        return metrics.row_losses(log_probs, held.outcomes())
    return -(np.exp(truth) * log_probs).sum(axis=1)


def real(name: str) -> dict[str, Any]:
    """Five folds of a file of votes, by share of the training rows."""
    battles = read_battles(VOTES / f"{name}.csv")
    folds = make_folds(battles)
    y = battles.outcomes()
    rng = np.random.default_rng(0)
    found = {share: np.empty(len(battles)) for share in SHARES}
    for fold in range(folds.n_folds):
        held, rest = folds.rows(fold), rng.permutation(folds.rest(fold))
        for share, rows in found.items():
            some = np.sort(rest[: max(50, round(share * len(rest)))])
            rows[held] = losses(battles.take(some), battles.take(held))
    prior = metrics.row_losses(metrics.prior_log_probs(y, folds.fold), y)
    out: dict[str, Any] = {"rows": len(battles), "prior": round(float(prior.mean()), 4), "curve": []}
    for share, rows in found.items():
        gap = rows - found[1.0]
        one = {
            "training_rows": round(share * len(battles) * 0.8),
            "log_loss": round(float(rows.mean()), 4),
            "above_all": round(float(gap.mean()), 4),
            "se": round(metrics.standard_error(gap, folds.group), 4),
        }
        out["curve"].append(one)
        print(
            f"{name:10}{one['training_rows']:>9,} rows{one['log_loss']:>9.4f}"
            f"{one['above_all']:>+9.4f} ± {one['se']:.4f}"
        )
    print(f"{name:10}{'class prior':>14}{out['prior']:>9.4f}", flush=True)
    return out


def arena(rows: int) -> dict[str, Any]:
    """The sample arena's curve, above the true probabilities, and what it says of ten million rows."""
    made = make_arena(rows, seed=0)
    half = rows // 2
    held = np.arange(half, rows)
    truth = made.true_log_probs[held]
    floor = float(-(np.exp(truth) * truth).sum(axis=1).mean())
    out: dict[str, Any] = {"rows": rows, "floor": round(floor, 4), "curve": []}
    sizes = [half // 32, half // 16, half // 8, half // 4, half // 2, half]
    for size in sizes:
        loss = float(losses(made.battles.take(range(size)), made.battles.take(held), truth).mean())
        out["curve"].append(
            {"training_rows": size, "log_loss": round(loss, 5), "above_truth": round(loss - floor, 5)}
        )
        print(f"{'arena':10}{size:>9,} rows{loss:>9.4f}{loss - floor:>+9.4f} above the truth", flush=True)
    gaps = np.array([one["above_truth"] for one in out["curve"]])
    # what a linear model of these columns can never learn stays: fitted with the power, on a grid
    best = min(
        (
            (float(np.sum((np.log(gaps - rest) - np.polyval(line, np.log(sizes))) ** 2)), rest, line)
            for rest in np.linspace(0, 0.98 * gaps.min(), 50)
            for line in [np.polyfit(np.log(sizes), np.log(gaps - rest), 1)]
        ),
        key=lambda one: one[0],
    )
    _, rest, (slope, height) = best
    at = {n: float(rest + np.exp(height) * n**slope) for n in (model.LEARNED_ROWS, TEN_MILLION)}
    out |= {
        "never_learned": round(float(rest), 5),
        "power": round(float(slope), 3),
        "lost_at_ten_million": round(at[model.LEARNED_ROWS] - at[TEN_MILLION], 5),
    }
    print(
        f"{'arena':10}the gap falls as rows^{slope:.2f} to {rest:.4f}; {model.LEARNED_ROWS:,} rows "
        f"in place of ten million lose {out['lost_at_ten_million']:.4f}, extrapolated"
    )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--votes", default="mtbench,tulu1,pandalm")
    parser.add_argument("--arena", type=int, default=60_000)
    parser.add_argument("--quick", action="store_true", help="one file, an arena of 4,000 battles")
    parser.add_argument("--json", action="store_true", help="a last line with every figure")
    options = parser.parse_args()
    names = ["pandalm"] if options.quick else options.votes.split(",")
    out: dict[str, Any] = {name: real(name) for name in names if (VOTES / f"{name}.csv").is_file()}
    out["arena"] = arena(4_000 if options.quick else options.arena)
    if options.json:
        print(json.dumps(out))


if __name__ == "__main__":
    main()
