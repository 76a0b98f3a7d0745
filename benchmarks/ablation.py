"""Head by swap by reading, everything else equal: who learns most from the same votes, and at what cost?

Heads: three labels (classify), verdict token (generate), reward, and three labels on a frozen base. Swap in
training: none, augment, paired. Reading: the shown order, or both (each member reads both once; one order is
then scored alone). Same base, folds and rates; three seeds. Swap shows each battle twice as often as none, so
two controls are made: none with twice the epochs (as many passes and steps as augment), and paired with
half the battles a step (as many steps as augment). The peers are the class frequencies and the lexical member
on the same folds. Members are ordinary artifacts in a workspace under --work: a stopped run goes on.

    python benchmarks/ablation.py --votes ../shared/data/votes [--write docs/ablation.md] [--json] [--quick]
    python benchmarks/ablation.py --base DIR-OR-HUB-ID --adapter lora --rate 1e-4 …     on a base of your own
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ablation_page import contrasts_of, page, short, with_section

from arena_ensemble import metrics, recipes, sample
from arena_ensemble.artifacts import atomic, fold_file
from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.battles import Battles
from arena_ensemble.calibration import fit_temperature
from arena_ensemble.io import read_battles
from arena_ensemble.pipeline import tasks
from arena_ensemble.pipeline.finishing import finish_member
from arena_ensemble.pipeline.orders import second_order_rows
from arena_ensemble.pipeline.tasks import Job
from arena_ensemble.predictions import Predictions, delta_tau

FOLDS = 3
SAMPLE_ROWS = 1200
SHARES = (0.25, 0.5, 0.75)
"""Shares of the rows that are predicted in the swapped order too (``second_order_share``)."""
WAYS = ("drawn", "closest", "surest")
"""How these rows are chosen; the first is ours."""


@dataclass(frozen=True)
class Setting:
    """One way of training: the head, whether the base is frozen, swap, and the work."""

    head: str
    swap: str
    times: int = 1
    """epochs, relative to the shipped recipe"""
    halves: int = 1
    """battles a step are divided by it"""

    @property
    def name(self) -> str:
        """How the tables and the workspace call it."""
        extra = "-twice" if self.times == 2 else "-half" if self.halves == 2 else ""
        return f"{self.head}-{self.swap}{extra}"


SWAPS = [("none", 1, 1), ("none", 2, 1), ("augment", 1, 1), ("paired", 1, 1), ("paired", 1, 2)]
SETTINGS = [Setting(head, *swap) for head in ("classify", "generate", "frozen") for swap in SWAPS]
SETTINGS += [Setting("reward", *swap) for swap in SWAPS[:2]] + [Setting("frozen reward", "none")]
EQUIVARIANT = {"reward", "frozen reward"}


def recipe_of(setting: Setting, seed: int, options: argparse.Namespace) -> recipes.Recipe:
    """The recipe of ``tiny-swap`` (its base, rate, epochs, window), with head and swap exchanged."""
    shipped = recipes.load_recipe(Workspace(Path()).recipe_path("tiny-swap"))
    values = shipped.model_dump(mode="python", exclude_unset=True)
    frozen = setting.head.startswith("frozen")
    values |= {
        "backbone": {"frozen": "classify", "frozen reward": "reward"}.get(setting.head, setting.head),
        "base": options.base or shipped.base,
        "swap": setting.swap,
        "read_orders": 2,
        "seed": seed,
    }
    values["train"] |= {
        "epochs": (options.epochs or shipped.train.epochs) * setting.times,
        "batch_rows": shipped.train.batch_rows // setting.halves,
        "learning_rate": options.rate or shipped.train.learning_rate,
    }
    values["adapter"] |= {"kind": "frozen" if frozen else options.adapter}
    values["prompt"] |= {"max_tokens": options.tokens or shipped.prompt.max_tokens}
    return recipes.recipe_from(values, name=member_of(setting, seed))


def member_of(setting: Setting, seed: int) -> str:
    return f"{setting.name.replace(' ', '-')}-seed{seed}"


def make(job: Job, member: str, recipe: recipes.Recipe) -> Predictions:
    """The member's out-of-fold predictions, by the project's own steps; processor time is kept beside."""
    note = job.root / "cost" / f"{member}.json"
    cost: dict[str, Any] = json.loads(note.read_text()) if note.is_file() else {}
    planned = tasks.plan(job, member, recipe)
    todo = [task for task in planned if not tasks.is_done(job, task)]
    if todo:
        tasks.prepare(job, recipe)
    for task in todo:
        marks = [time.process_time()] * 2

        def mark(done: float, total: float, text: str, marks: list[float] = marks) -> None:
            if text.startswith("loss"):
                marks[1] = time.process_time()

        tasks.run_fold(job, task, mark)
        cost[str(task.fold)] = {"fit": marks[1] - marks[0], "read": time.process_time() - marks[1]}
        atomic.write_json(note, cost)
    finish_member(job, planned)
    return MemberArtifacts(job.workspace, member).load()[0]


def refined(log_probs: np.ndarray, y: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Log-probabilities after a temperature fitted on the other folds' out-of-fold rows."""
    found = log_probs.copy()
    for k in np.unique(fold):
        found[fold == k] = fit_temperature(log_probs[fold != k], y[fold != k]).apply(log_probs[fold == k])
    return found


def read_partly(reading: Predictions, share: float, how: str = "drawn") -> np.ndarray:
    """Log-probabilities with a ``second_order_share``, fold by fold; or with another choice of the rows."""
    assert reading.swap_log_probs is not None
    found = reading.log_probs.copy()
    for k in np.unique(reading.fold):
        place = np.flatnonzero(reading.fold == k)
        own = reading.take(place)
        assert own.swap_log_probs is not None
        size = np.abs(delta_tau(own.log_probs)[0])
        count = math.ceil(share * len(place))
        if how == "drawn":
            rows = second_order_rows(own.ids, share)
        else:
            rows = np.argsort(size if how == "closest" else -size, kind="stable")[:count]
        found[place[rows]] = own.combined().log_probs[rows]
    return found


def costs(job: Job, member: str, rows: int) -> dict[str, float]:
    """Processor seconds per 1,000 rows (of training, of reading one order); tokens learned from per row."""
    spent = json.loads((job.root / "cost" / f"{member}.json").read_text())
    card = job.artifacts(member).card()
    facts = [] if card is None else card.fold_facts
    learned = rows * (FOLDS - 1)
    cut = [part["truncation"]["truncated_rows"] for part in facts]
    return {
        "cut": sum(part["response_a"] + part["response_b"] for part in cut) / (2 * learned),
        "fit_seconds": 1000 * sum(part["fit"] for part in spent.values()) / learned,
        "read_seconds": 1000 * sum(part["read"] for part in spent.values()) / (2 * rows),
        "tokens": sum(part.get("training_tokens", 0) for part in facts) / learned,
        "steps": sum(part.get("optimizer_steps", 0) for part in facts) / FOLDS,
    }


def cells_of(
    battles: Battles, work: Path, seeds: range, settings: list[Setting], options: argparse.Namespace
) -> dict[str, Any]:
    """All results of one file of votes: losses (seeds, rows) by cell, and what the tables need."""
    job_folds = fold_file.ensure_folds(Workspace(work), battles, n_folds=FOLDS, seed=0)
    job = Job(work, battles, job_folds)
    y, group, fold = battles.outcomes(), job_folds.group, job_folds.fold
    prior = metrics.prior_log_probs(y, fold)
    found: dict[str, Any] = {
        "rows": len(y), "groups": int(group.max()) + 1, "group": group, "cells": {},
        "prior": metrics.row_losses(prior, y),
    }  # fmt: skip
    lexical = recipes.load_recipe(Workspace(Path()).recipe_path("lexical"))
    log_probs = make(job, "lexical", lexical).log_probs
    found["lexical"] = metrics.row_losses(log_probs, y)
    for setting in settings:
        losses: dict[int, list[Any]] = {1: [], 2: []}
        after: dict[int, list[Any]] = {1: [], 2: []}
        partly: dict[tuple[str, float], list[Any]] = {(how, share): [] for how in WAYS for share in SHARES}
        lean, spent = [], []
        for seed in seeds:
            member = member_of(setting, seed)
            start = time.monotonic()
            reading = make(job, member, recipe_of(setting, seed, options))
            for orders, log_probs in ((1, reading.log_probs), (2, reading.combined().log_probs)):
                losses[orders].append(metrics.row_losses(log_probs, y))
                after[orders].append(metrics.row_losses(refined(log_probs, y, fold), y))
            for (how, share), kept in partly.items():
                partial = refined(read_partly(reading, share, how), y, fold)
                kept.append(metrics.row_losses(partial, y))
            lean.append(reading.position_bias())
            spent.append(costs(job, member, len(y)))
            loss = losses[1][-1].mean()
            took = time.monotonic() - start
            print(f"# {work.name} {member}: {loss:.4f}, {took:.0f} s", file=sys.stderr, flush=True)
        cost = {name: float(np.mean([part[name] for part in spent])) for name in spent[0]}
        for orders in (1,) if setting.head in EQUIVARIANT else (1, 2):
            found["cells"][f"{setting.name}/{orders}"] = {
                "losses": np.stack(losses[orders]),
                "refined": np.stack(after[orders]),
                "lean": float(np.mean(lean)),
                "abs_lean": float(np.mean(np.abs(lean))),
                "partly": {way: np.stack(kept) for way, kept in partly.items()},
                **cost,
            }
    return found


def reward_ignores_swap(battles: Battles, work: Path, options: argparse.Namespace) -> dict[str, float]:
    """Largest difference between reward members trained paired and none, and between the two orders."""
    job = Job(work, battles, fold_file.ensure_folds(Workspace(work), battles, n_folds=FOLDS, seed=0))
    orders = [
        make(job, member_of(s, 0), recipe_of(s, 0, options))
        for s in (Setting("reward", "none"), Setting("reward", "paired"))
    ]
    both = orders[0].swap_log_probs
    assert both is not None
    return {
        "reward_swap_changes": float(np.abs(orders[0].log_probs - orders[1].log_probs).max()),
        "reward_order_changes": float(np.abs(orders[0].log_probs - both).max()),
    }


@contextlib.contextmanager
def place_of(work: Path | None) -> Iterator[Path]:
    if work is not None:
        yield work
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def votes(options: argparse.Namespace) -> dict[str, Battles]:
    found = {"sample": arena_of(options).battles}
    for name in () if options.quick else options.files.split(","):
        path = options.votes / f"{name}.csv"
        if path.is_file():
            battles = read_battles(path, need_outcomes=True)
            rows = np.random.default_rng(0).permutation(len(battles))[: options.rows or None]
            found[name] = battles.take(np.sort(rows))
        else:
            print(f"{name}: skipped, there is no {path.name} in --votes", file=sys.stderr)
    return found


def arena_of(options: argparse.Namespace) -> sample.Arena:
    rows = 120 if options.quick else min(options.rows or SAMPLE_ROWS, SAMPLE_ROWS)
    return sample.make_arena(rows, seed=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--votes", type=Path, default=Path("../shared/data/votes"), help="folder of vote files"
    )
    parser.add_argument("--files", default="tulu1,pandalm", help="names of real files in --votes")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, help="workspaces are kept here; a stopped run goes on")
    parser.add_argument("--base", default="", help="another base: a folder or a hub id")
    parser.add_argument(
        "--heads", default="classify,generate,frozen,reward", help="an encoder has no generate"
    )
    parser.add_argument("--adapter", default="full", choices=["full", "lora"])
    parser.add_argument("--rate", type=float, default=0.0, help="learning rate; 0 is the shipped recipe's")
    parser.add_argument("--epochs", type=int, default=0, help="0 is the shipped recipe's")
    parser.add_argument("--rows", type=int, default=0, help="battles of each file, drawn at random; 0 is all")
    parser.add_argument("--swaps", default="", help="which of none,none-twice,augment,paired,paired-half")
    parser.add_argument("--tokens", type=int, default=0, help="the window; 0 is the shipped recipe's")
    parser.add_argument("--write", type=Path, help="write the page here")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="120 rows, one seed, five settings")
    options = parser.parse_args()
    options.folds = FOLDS
    settings = SETTINGS
    if options.quick:
        options.seeds = 1
        wanted = ("classify-none", "classify-paired", "generate-paired", "frozen-none", "reward-none")
        settings = [s for s in SETTINGS if s.name in wanted]
    settings = [s for s in settings if s.head.split()[0] in options.heads.split(",")]
    if options.swaps:
        settings = [s for s in settings if s.name.removeprefix(f"{s.head}-") in options.swaps.split(",")]
    results: dict[str, Any] = {}
    with place_of(options.work) as work:
        files = votes(options)
        # seed by seed, so that a run that is stopped has whole seeds of everything
        for seeds in range(1, options.seeds + 1):
            for name, battles in files.items():
                part = range(seeds)
                results[name] = cells_of(battles, work / name, part, settings, options)
        checks = {}
        if any(setting.head == "reward" for setting in settings):
            checks = reward_ignores_swap(files["sample"], work / "sample", options)
    results["sample"]["floor"] = arena_of(options).bayes_log_loss
    text = page(results, settings, checks, options)
    print(text)
    if options.write is not None:
        options.write.write_text(with_section(options.write, text, pretrained=False), encoding="utf-8")
    if options.json:
        print(json.dumps(figures_of(results, checks)))


def figures_of(results: dict[str, Any], checks: dict[str, float]) -> dict[str, float]:
    """Every cell's loss and every contrast, flat, by dotted names."""
    figures: dict[str, float] = dict(checks)
    for data, found in results.items():
        figures[f"{data}.prior"] = round(float(found["prior"].mean()), 4)
        figures[f"{data}.lexical"] = round(float(found["lexical"].mean()), 4)
        for name, cell in found["cells"].items():
            mean, error = short(cell["losses"], found["group"])
            figures[f"{data}.{name}"] = round(mean, 4)
            figures[f"{data}.{name}.se"] = round(error, 4)
            figures[f"{data}.{name}.position_bias"] = round(cell["abs_lean"], 4)
    for data, _, name, mean, error in contrasts_of(results):
        figures[f"{data}.contrast.{name}"] = round(mean, 4)
        figures[f"{data}.contrast.{name}.se"] = round(error, 4)
    return figures


if __name__ == "__main__":
    main()
