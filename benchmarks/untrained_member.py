"""What an untrained language model adds to a small ensemble: is a gain or a loss stable, and is it noise?

The table of ``smollm2.py`` has one set of folds. SmolLM2 as it comes predicts a row the same whatever the
folds, so its predictions (of that benchmark's ``--work`` folder) are taken again under other folds: batch
calibration over the other folds' rows, the lexical member fitted anew, and the default stacker on lexical
and features, with the untrained member, and with the same member after its rows were shuffled, which knows
nothing of its row. What the last one costs or gains is what any column without information does at this
size. Losses are the stacker's nested ones, choosing included. ±: one standard error, clustered by group of
prompts, of row losses averaged over the sets of folds; beside it the standard deviation over these sets.

    python benchmarks/untrained_member.py --work DIR [--files tulu1,mtbench] [--rows 300] [--seeds 5]
                                          [--candidates] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from smollm2 import FOLDS, ROWS, VOTES, recipe_of, sample_votes, sampled

from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.battles import SWAP, Battles
from arena_ensemble.features import extract
from arena_ensemble.folds import Folds, make_folds
from arena_ensemble.io import read_battles
from arena_ensemble.metrics import paired_difference, row_losses
from arena_ensemble.pipeline.cross_fit import cross_fit
from arena_ensemble.predictions import Floats, Predictions, normalised
from arena_ensemble.recipes import load_recipe
from arena_ensemble.stacking import Stacker

WAYS = ("without", "with it", "with its rows shuffled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, help="the --work folder of smollm2.py")
    parser.add_argument("--votes", type=Path, default=VOTES, help="folder of the vote files")
    parser.add_argument("--files", default="tulu1,mtbench")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--seeds", type=int, default=5, help="sets of folds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--candidates", action="store_true", help="every candidate's loss, with and without")
    parser.add_argument("--quick", action="store_true", help="the tiny decoder on the sample arena's votes")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    options = parser.parse_args()
    options.precision = "fp32"
    with tempfile.TemporaryDirectory() as scratch:
        if options.quick:
            options.rows, options.seeds, options.files = 90, 2, "sample"
            options.votes, options.work = Path(scratch), Path(scratch) / "work"
            sample_votes(options.votes / "sample.csv")
        elif options.work is None:
            parser.error("--work DIR: what smollm2.py left there is taken again")
        found = {stem: measure(stem, options) for stem in options.files.split(",")}
    if options.json:
        print(json.dumps(found))


def measure(stem: str, options: argparse.Namespace) -> dict[str, Any]:
    """One file under several sets of folds."""
    battles = sampled(read_battles(options.votes / f"{stem}.csv", need_outcomes=True), options.rows, 0)
    raw, y = untrained(stem, battles, options), battles.outcomes()
    losses: dict[str, list[Floats]] = {way: [] for way in WAYS}
    lines = []
    for seed in range(options.seeds):
        folds = make_folds(battles, FOLDS, seed=seed)
        line: dict[str, Any] = {"seed": seed}
        stackers = {}
        with tempfile.TemporaryDirectory() as place:
            result = cross_fit([load_recipe("lexical")], battles, folds, workspace=Path(place), jobs=1)
            lexical = {"lexical": result.oof("lexical")}
        shuffled = shuffle(raw, seed)
        members = (
            lexical,
            {**lexical, "untrained": calibrated(raw, folds)},
            {**lexical, "untrained": calibrated(shuffled, folds)},
        )
        for way, given in zip(WAYS, members, strict=True):
            stacker = Stacker(random_state=0, honest=not options.quick, threads=options.threads)
            stacker.fit(given, y, features=extract(battles), groups=folds.group, folds=folds.fold)
            stackers[way] = stacker
            losses[way].append(row_losses(stacker.oof_log_proba_, y))
            line[way] = {"log_loss": round(float(losses[way][-1].mean()), 5), "choice": stacker.choice_}
        for way in WAYS[1:]:
            pair = paired_difference(losses[way][-1], losses[WAYS[0]][-1], folds.group)
            line[way] |= {"adds": round(pair.mean, 5), "se": round(pair.se, 5)}
        lines.append(line)
        print(f"{stem}, folds {seed}: " + ", ".join(line_of(line, way) for way in WAYS), flush=True)
        if options.candidates:
            line["candidates"] = candidates(stackers, y)
            for name, row in line["candidates"].items():
                print(f"    {name:34}" + "".join(f"{value:>10}" for value in row))
    mean = {way: np.mean(parts, axis=0) for way, parts in losses.items()}
    found: dict[str, Any] = {"rows": len(y), "sets_of_folds": options.seeds, "lines": lines}
    for way in WAYS[1:]:
        pair = paired_difference(mean[way], mean[WAYS[0]], folds.group)
        spread = float(np.std([line[way]["adds"] for line in lines], ddof=1))
        found[way] = {"adds": round(pair.mean, 5), "se": round(pair.se, 5), "sd_folds": round(spread, 5)}
        print(f"{stem}, {way}: {pair.mean:+.4f} ± {pair.se:.4f}, over sets of folds ± {spread:.4f} (sd)")
    return found


def untrained(stem: str, battles: Battles, options: argparse.Namespace) -> Predictions:
    """What the base gives each row as it comes, both orders."""
    recipe = recipe_of("zeroshot", options)
    place = Workspace(options.work / stem)
    if options.quick:
        folds = make_folds(battles, FOLDS, seed=0)
        return cross_fit(recipe, battles, folds, workspace=place, jobs=1).oof(recipe.name)
    predictions, _ = MemberArtifacts(place, recipe.name).load()
    return predictions.aligned_to(battles.ids, name=recipe.name)


def calibrated(raw: Predictions, folds: Folds) -> Predictions:
    """After batch calibration: each fold by the mean over the other folds' rows, as the engine does."""
    assert raw.swap_log_probs is not None
    shown, other = raw.log_probs.copy(), np.array(raw.swap_log_probs)
    for k in range(folds.n_folds):
        own = folds.rows(k)
        shift = np.log(np.exp(raw.log_probs[folds.rest(k)]).mean(axis=0))
        shown[own] = normalised(shown[own] - shift)
        other[own] = normalised(other[own] - shift[list(SWAP)])
    return Predictions(raw.ids, shown, folds.fold, other)


def shuffle(raw: Predictions, seed: int) -> Predictions:
    """The same values in other rows."""
    assert raw.swap_log_probs is not None
    order = np.random.default_rng(100 + seed).permutation(len(raw))
    return Predictions(raw.ids, raw.log_probs[order], raw.fold, raw.swap_log_probs[order])


def candidates(stackers: dict[str, Stacker], y: Any) -> dict[str, list[str]]:
    """Candidate → its loss and its share in the choice, in each way."""
    names = dict.fromkeys(name for stacker in stackers.values() for name in stacker.candidate_oof_)
    found = {}
    for name in names:
        row = []
        for stacker in stackers.values():
            there = stacker.candidate_oof_.get(name)
            row.append("–" if there is None else f"{float(row_losses(there, y).mean()):.4f}")
            row.append(f"{stacker.selection_frequency_.get(name, 0.0):.2f}")
        found[name] = row
    return found


def line_of(line: dict[str, Any], way: str) -> str:
    own = line[way]
    more = f" ({own['adds']:+.4f} ± {own['se']:.4f})" if "adds" in own else ""
    return f"{way} {own['log_loss']:.4f}{more} by {own['choice']}"


if __name__ == "__main__":
    main()
