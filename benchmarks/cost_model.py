"""What a run costs, hours and dollars: the Kaggle task on one card and on eight, 10^8 pairs on spot nodes.

    python benchmarks/cost_model.py [--sections kaggle,pairs,sensitivity,chunks,cascade] [--quick] [--json]

Nothing is run but planning and simulation: seconds and bytes are the planner's (`planning.estimate`,
`planning.session`), with the share of the card's peak that one H100 reached (docs/performance.md); fleets are
simulated (`planning.simulation`, checked against real runs by cost_check.py); prices are those of
`planning.prices`. The cascade's loss is measured on real votes and predictions (`--data`), where they are.
Every assumption is printed with the section that needs it.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from arena_ensemble.io import read_judgements, read_panel_votes
from arena_ensemble.metrics import log_loss, paired_difference, row_losses
from arena_ensemble.panels import Panel
from arena_ensemble.panels.cascade import Step
from arena_ensemble.panels.cascade import simulate as cascade_rows
from arena_ensemble.pipeline.schedule import Work, lower_bound, makespan
from arena_ensemble.planning import session
from arena_ensemble.planning.estimate import estimate
from arena_ensemble.planning.fleet import HOUR, PARTS, Fleet, Outcome, Stage, Storage
from arena_ensemble.planning.fleet_plan import (
    OBJECT_STORE,
    best_chunk_rows,
    chunk_cost,
    driver_of,
    member_plan,
    stage_of,
)
from arena_ensemble.planning.gpus import gpu_named
from arena_ensemble.planning.lost_work import best_chunk, worker_seconds, young
from arena_ensemble.planning.prices import CPU_SPOT, ON_DEMAND, SPOT, Price
from arena_ensemble.planning.session import SessionPlan
from arena_ensemble.planning.simulation import mean_outcome, simulate
from arena_ensemble.planning.workload import Workload, batch_totals, typical_lengths
from arena_ensemble.recipes import Recipe, load_recipe, packaged_recipe
from arena_ensemble.stacking import Stacker

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
KAGGLE_ROWS, KAGGLE_TEST, FOLDS, MEAN_TOKENS = 57_477, 25_000, 5, 830.0
MEASURED = {"train": 9_995.0, "read": 28_941.0}
"""real tokens a second of a Llama-3.1-8B shape, LoRA r = 64, on one H100 (docs/performance.md, best line)"""
SLOWER = {"train": 6_990.0, "read": 25_137.0}
"""the same on another machine"""
MEMBERS = ("gemma-2-9b-classify", "llama-3.1-8b-generate", "qwen2.5-7b-classify")
PAIRS = 100_000_000
VANISH = 0.05
LEXICAL_ROW = 2 * (33.6 - 9.2) / 90_000
"""seconds of one of two processes for a further row of Kaggle's lengths: five folds of the lexical member,
features and the stacker (docs/scale.md, 10^4 to 10^5 rows)"""
LEXICAL_START = 5.0
RECHECK_ROW = 60e-6
"""seconds to look at a finished shard again, a row of Kaggle's lengths (cost_check.py)"""
SMALL, LARGE = "modernbert-large", "gemma-2-9b-classify"
SHARES = (1.0, 0.4, 0.15)
"""of the pairs that each of three members is asked about"""
CORES = 4


@functools.cache
def recipe(name: str, orders: int = 0) -> Recipe:
    path = packaged_recipe(name)
    assert path is not None, name
    found = load_recipe(path)
    return found.model_copy(update={"read_orders": orders}) if orders else found


@functools.cache
def reached(card: str = "H100", slower: bool = False) -> tuple[float, float]:
    """Share of the card's dense peak that the measured tokens a second are, by the planner's own count.

    Of the operations performed, padding included: so the planner gives the measured seconds back.
    """
    tokens = SLOWER if slower else MEASURED
    one, work = recipe("llama-3.1-8b-classify"), Workload(typical_lengths(743.0), 384, 2)
    found, peak = estimate(one, gpu_named("H100"), work), gpu_named("H100").half
    trained, read = batch_totals(one, work)
    return (
        tokens["train"] * found.performed_flops / trained.real / peak,
        tokens["read"] * found.read_flops / read.real / peak,
    )


def workload(rows: int, tokens: float = MEAN_TOKENS, *, slower: bool = False) -> Workload:
    train, read = reached(slower=slower)
    return Workload(typical_lengths(tokens), rows, FOLDS, train, read)


@dataclass(frozen=True)
class FoldCost:
    """Seconds of one fold of a member on one card."""

    load: float
    fit: float
    held: float
    test: float

    @property
    def seconds(self) -> float:
        return self.load + self.fit + self.held + self.test


@functools.cache
def fold_cost(name: str, orders: int, slower: bool = False) -> FoldCost:
    gpu, one = gpu_named("H100"), recipe(name, orders)
    found = estimate(one, gpu, workload(KAGGLE_ROWS, slower=slower))
    test = member_plan(one, gpu, workload(KAGGLE_TEST, slower=slower))
    return FoldCost(test.load_seconds, found.fit_seconds, found.read_seconds, orders * test.order_seconds)


def kaggle() -> dict[str, Any]:
    """Five folds, one member and three, one card and eight."""
    price = ON_DEMAND["H100"]
    train, read = reached()
    print(f"\nKaggle: {KAGGLE_ROWS:,} rows, {KAGGLE_TEST:,} test rows, {FOLDS} folds, both orders everywhere")
    print(
        f"H100 at {price}; {train:.1%} of its dense peak in training and {read:.1%} in prediction "
        f"({MEASURED['train']:,.0f} and {MEASURED['read']:,.0f} tokens a second of an 8B)"
    )
    print(f"{'one fold, h':28}{'load':>8}{'fit':>8}{'held':>8}{'test':>8}{'five':>8}")
    for name in MEMBERS:
        one = fold_cost(name, 2)
        cells = "".join(f"{seconds / HOUR:8.2f}" for seconds in (one.load, one.fit, one.held, one.test))
        print(f"{name:28}{cells}{FOLDS * one.seconds / HOUR:8.1f}", flush=True)
    found: dict[str, Any] = {"price": price.dollars, "train_share": train, "read_share": read, "rows": []}
    for slower in (False, True):
        for members in (MEMBERS[:1], MEMBERS):
            tasks = [
                Work(f"{name} {fold}", name, fold_cost(name, 2, slower).seconds)
                for name in members for fold in range(FOLDS)
            ]  # fmt: skip
            longest = sorted(tasks, key=lambda task: -task.seconds)
            for cards in (1, 8):
                hours = (session.START_SECONDS + makespan(longest, cards)) / HOUR
                best = (session.START_SECONDS + lower_bound([t.seconds for t in tasks], cards)) / HOUR
                row = {
                    "members": len(members), "cards": cards, "slower_machine": slower,
                    "hours": round(hours, 2),
                    "dollars": round(cards * hours * price.dollars, 2), "lower_bound_hours": round(best, 2),
                    "busy": round(sum(t.seconds for t in tasks) / (cards * hours * HOUR), 3),
                }  # fmt: skip
                found["rows"].append(row)
                print(
                    f"{len(members)} member(s), {cards} H100{', slower machine' if slower else ''}: "
                    f"{hours:.1f} h, ${row['dollars']:,.0f}, cards busy {row['busy']:.0%}"
                )
    found["spot"] = spot_training()
    return found


def spot_training() -> list[dict[str, Any]]:
    """15 folds on eight spot cards, each of its own node: a fold lost whole, or from its checkpoint."""
    rows = []
    one = fold_cost(MEMBERS[0], 2)
    for rate in (VANISH, 0.5):
        for minutes in (0, 10):
            steps = 1 if not minutes else math.ceil(one.seconds / (60 * minutes))
            # a fold is a chunk; with checkpoints it is many, each of which is lost alone (and which
            # cards share, as they cannot in truth: the clock is some minutes short)
            stage = Stage("folds", 15 * steps, 1, one.seconds / steps, load_seconds=one.load)
            fleet = Fleet(8, 1, SPOT["H100"].dollars, rate, session.START_SECONDS)
            done = mean_outcome([simulate(stage, fleet, seed=k) for k in range(40)])
            rows.append(
                {"rate": rate, "checkpoint_minutes": minutes, "hours": round(done.hours, 2),
                 "dollars": round(done.dollars, 1), "lost": round(done.shares["lost"], 3)}
            )  # fmt: skip
            kept = f"a checkpoint every {minutes} min" if minutes else "folds lost whole"
            print(
                f"15 folds of {one.seconds / HOUR:.1f} h on 8 spot H100 at {rate:g}/h, {kept}: "
                f"{done.hours:.1f} h, ${done.dollars:,.0f}, {done.shares['lost']:.1%} lost"
            )
    return rows


@dataclass(frozen=True)
class Assumed:
    """Everything that the table of 10^8 pairs rests on and that may be halved or doubled."""

    card: str = "L4"
    nodes: int = 256
    cards: int = 1
    price: float = SPOT["L4"].dollars
    vanish: float = VANISH
    start: float = session.START_SECONDS
    load_rate: float = 1.0
    compute: float = 1.0
    """times the planner's seconds a row"""
    storage: Storage = OBJECT_STORE
    chunk_rows: int = 0
    """0: what loses least"""
    driver_scale: float = 1.0
    shares: tuple[float, ...] = SHARES
    cpu_nodes: int = 64
    cpu_price: float = CPU_SPOT.dollars
    lexical_row: float = LEXICAL_ROW
    tokens: float = MEAN_TOKENS
    runs: int = 2


CARDS = {
    "L4": Assumed(),
    "A10G": Assumed(card="A10G", price=SPOT["A10G"].dollars),
    "H100": Assumed(card="H100", nodes=4, cards=8, price=8 * SPOT["H100"].dollars),
}


@functools.cache
def planned(name: str, card: str, rows: int, tokens: float) -> SessionPlan:
    return member_plan(recipe(name), gpu_named(card), workload(rows, tokens))


def member_stage(name: str, given: Assumed, share: float, passes: int = 1) -> Stage:
    plan = planned(name, given.card, PAIRS, given.tokens)
    stage = stage_of(plan, workload(PAIRS, given.tokens), 4096, passes)
    stage = replace(
        stage, rows=round(share * PAIRS), row_seconds=given.compute * stage.row_seconds,
        load_seconds=stage.load_seconds / given.load_rate,
    )  # fmt: skip
    return replace(stage, chunk_rows=given.chunk_rows or least_lost(stage, given))


def fleet_of(given: Assumed) -> Fleet:
    return Fleet(given.nodes, given.cards, given.price, given.vanish, given.start)


def least_lost(stage: Stage, given: Assumed) -> int:
    return best_chunk_rows(stage, fleet_of(given), given.storage) or 4096


def ran(stage: Stage, given: Assumed) -> Outcome:
    fleet = fleet_of(given)
    driver = driver_of(stage.chunk_rows)
    driver = replace(
        driver, hand_out_seconds=given.driver_scale * driver.hand_out_seconds,
        note_seconds=given.driver_scale * driver.note_seconds,
    )  # fmt: skip
    return mean_outcome([simulate(stage, fleet, given.storage, driver, seed=k) for k in range(given.runs)])


def in_parts(stage: Stage, given: Assumed) -> tuple[float, float]:
    """Hours until the last part is done, and dollars, where each card has a part of the file and its own run.

    That is what `predict --shards` does today: no part's chunks go to another node, and a run that goes on
    looks at its finished shards again.
    """
    count = given.nodes * given.cards
    part = replace(stage, rows=-(-stage.rows // count))
    fleet = Fleet(1, 1, given.price / given.cards, given.vanish, given.start,
                  recheck_seconds=part.chunk_rows * RECHECK_ROW)  # fmt: skip
    driver = driver_of(part.chunk_rows)
    runs = [simulate(part, fleet, given.storage, driver, seed=k) for k in range(count)]
    return max(one.hours for one in runs), sum(one.dollars for one in runs)


def lexical(given: Assumed) -> Outcome:
    stage = Stage("lexical", round(given.shares[0] * PAIRS), 65_536, given.lexical_row, LEXICAL_START,
                  4 * given.tokens, 40.0)  # fmt: skip
    return ran(stage, replace(given, nodes=given.cpu_nodes, cards=CORES, price=given.cpu_price))


def cascade(given: Assumed) -> list[tuple[str, Outcome]]:
    """Its members one after the other."""
    found = [("lexical", lexical(given))]
    for name, share in zip((SMALL, LARGE), given.shares[1:], strict=True):
        found.append((name, ran(member_stage(name, given, share), given)))
    return found


def total(outcomes: Sequence[Outcome]) -> dict[str, float]:
    return {
        "hours": sum(one.hours for one in outcomes), "dollars": sum(one.dollars for one in outcomes),
    }  # fmt: skip


def shown(label: str, done: Outcome) -> dict[str, Any]:
    share = done.shares
    print(
        f"{label:44}{done.hours:8.1f} h{done.node_seconds / HOUR:10,.0f} node-h{done.dollars:9,.0f} $"
        + "".join(f"{share[part]:8.2%}" for part in PARTS)
        + f"{done.vanished:7,}",
        flush=True,
    )
    return {"label": label, **done.facts()}


def pairs() -> dict[str, Any]:
    """10^8 pairs: one 9B for all, and a cascade, on three kinds of cards."""
    lines = []
    print(
        f"\n{PAIRS:,} pairs of {MEAN_TOKENS:.0f} tokens, one fold model, one order; spot, {VANISH:g} "
        "vanish an hour"
    )
    print(f"{'':44}{'clock':>10}{'':17}{'':11}" + "".join(f"{part:>8}" for part in PARTS) + f"{'gone':>7}")
    print("one driver hands out all rows; chunks that lose least")
    for card, given in CARDS.items():
        stage = member_stage(LARGE, given, 1.0)
        nodes = f"{given.nodes} x {given.cards} {card}"
        plan = planned(LARGE, card, PAIRS, given.tokens)
        bits = "16 bits" if plan.quantise == "none" else plan.quantise
        if not plan.fits_card:
            print(f"{LARGE} does not fit a {card}")
        done = shown(f"9B for all, {nodes}, {bits}, chunk {stage.chunk_rows:,}", ran(stage, given))
        lines.append(done | {"card": card, "row_seconds": stage.row_seconds, "quantise": plan.quantise})
        hours, dollars = in_parts(stage, given)
        count = given.nodes * given.cards
        print(f"  the same file in {count} parts, a run each: {hours:.1f} h, ${dollars:,.0f}")
        lines.append({"label": "9B for all, in parts", "card": card, "hours": hours, "dollars": dollars})
        parts = cascade(given)
        for name, one in parts:
            lines.append(shown(f"  cascade: {name}", one) | {"card": card})
        both = total([one for _, one in parts])
        print(f"  cascade, {nodes}: {both['hours']:.1f} h, ${both['dollars']:,.0f}")
        lines.append({"label": "cascade", "card": card, **both})
    dear = CARDS["L4"]
    for passes in (2, 5, 10):
        stage = member_stage(LARGE, dear, 1.0, passes)
        lines.append(shown(f"9B for all, {passes} passes (folds x orders), L4", ran(stage, dear)))
    return {"lines": lines}


def sensitivity() -> dict[str, Any]:
    """Each assumption halved and doubled, all others as they are; the same seeds."""
    base = CARDS["L4"]
    whole = replace(base, shares=(1.0, 1.0, 1.0))

    def all_pairs(given: Assumed) -> dict[str, float]:
        return total([ran(member_stage(LARGE, given, 1.0), given)])

    def in_cascade(given: Assumed) -> dict[str, float]:
        return total([one for _, one in cascade(given)])

    def scaled(name: str) -> Callable[[Assumed, float], Assumed]:
        if name.startswith("storage."):
            field = name.removeprefix("storage.")
            return lambda given, by: replace(
                given, storage=replace(given.storage, **{field: by * getattr(given.storage, field)})
            )
        if name == "shares":
            return lambda given, by: replace(given, shares=(1.0, *(by * s for s in given.shares[1:])))
        return lambda given, by: replace(
            given, **{name: type(getattr(given, name))(by * getattr(given, name))}
        )

    names = {
        "price": "price of a node", "compute": "seconds a row (1 / share of the peak)",
        "tokens": "tokens of a pair", "shares": "shares that go on", "nodes": "nodes",
        "vanish": "how often a node vanishes",
        "start": "start of a node", "load_rate": "rate at which a base is loaded",
        "storage.latency": "latency of storage", "storage.stall_share": "transfers that stall",
        "storage.stall_seconds": "length of stalls", "driver_scale": "driver's seconds",
        "chunk_rows": "rows of a chunk (of those that lose least)", "lexical_row": "lexical seconds a row",
    }  # fmt: skip
    stage = member_stage(LARGE, base, 1.0)
    rows = []
    for label, given, run in (("9B for all", whole, all_pairs), ("cascade", base, in_cascade)):
        start = run(given)
        print(f"\n{label}, 256 x L4: {start['hours']:.1f} h, ${start['dollars']:,.0f}; halved and doubled:")
        for name, words in names.items():
            if label == "9B for all" and name in ("shares", "lexical_row"):
                continue
            fixed = replace(given, chunk_rows=stage.chunk_rows) if name == "chunk_rows" else given
            low, high = (run(scaled(name)(fixed, by)) for by in (0.5, 2.0))
            row = {"case": label, "assumption": words}
            for key, one in (("halved", low), ("doubled", high)):
                row |= {
                    f"{key}_{unit}": round(one[unit] / start[unit] - 1, 4) for unit in ("dollars", "hours")
                }
            rows.append(row)
            print(
                f"{words:44} $ {row['halved_dollars']:+8.1%} {row['doubled_dollars']:+8.1%}   clock "
                f"{row['halved_hours']:+8.1%} {row['doubled_hours']:+8.1%}",
                flush=True,
            )
    return {"rows": rows}


def chunks(quick: bool) -> dict[str, Any]:
    """The chunk that costs least, simulated, beside Young's and the exact one; and the engine's 4,096."""
    rows = []
    count = 5_000 if quick else 60_000
    print(f"\nchunks of the 9B: simulated best beside Young's; 8 nodes, {count:,} of the shortest chunks")
    for card in ("L4", "H100"):
        given = replace(CARDS[card], nodes=8, cards=1, price=1.0, runs=2 if quick else 6)
        whole = member_stage(LARGE, given, 1.0)
        cost = chunk_cost(given.storage)
        for vanish in (0.005, 0.05, 0.5, 2.0):
            between = HOUR / vanish
            ideal = young(cost, between)
            grid = [ideal * 2.0**k for k in np.arange(-3, 3.5, 0.5)]
            stage = replace(whole, rows=round(count * grid[0] / whole.row_seconds))
            paid = []
            for seconds in grid:
                size = max(1, round(seconds / stage.row_seconds))
                paid.append(ran(replace(stage, chunk_rows=size), replace(given, vanish=vanish)).dollars)
            least = int(np.argmin(paid))
            usual = ran(replace(stage, chunk_rows=4096), replace(given, vanish=vanish)).dollars
            exact = best_chunk(cost, between)
            usual_work = 4096 * stage.row_seconds
            mean = worker_seconds(1, usual_work, cost, 0.0, between) / usual_work
            row = {
                "card": card, "vanish": vanish, "young_seconds": round(ideal, 1),
                "exact_seconds": round(exact, 1), "simulated_seconds": round(grid[least], 1),
                "simulated_rows": round(grid[least] / stage.row_seconds),
                "engine_4096": round(usual / paid[least] - 1, 4),
                "youngs": round(paid[len(grid) // 2] / paid[least] - 1, 5),
                "daly_4096": round(mean - 1, 4),
            }  # fmt: skip
            rows.append(row)
            print(
                f"{card:5}{vanish:6g}/h: Young {ideal:6.0f} s, exact {exact:6.0f} s, simulated "
                f"{grid[least]:6.0f} s ({row['simulated_rows']:,} rows); Young's costs {row['youngs']:+.2%}, "
                f"4,096 rows ({usual_work:,.0f} s) {row['engine_4096']:+.2%}",
                flush=True,
            )
    return {"rows": rows}


def cascade_table(label: str, steps: Sequence[Step], y: Any, folds: Any) -> dict[str, Any]:
    """Log-loss by the share that goes on to the second step."""
    first, last = (one.log_probs for one in steps)
    paired = paired_difference(row_losses(first, y), row_losses(last, y))
    print(
        f"\n{label}, {len(y):,} rows: {steps[0].judge} {log_loss(first, y):.4f}, with {steps[1].judge} "
        f"{log_loss(last, y):.4f}, gain {paired.mean:.4f} ± {paired.se:.4f}"
    )
    rows = []
    for row in cascade_rows(steps, y, folds):
        kept = (log_loss(first, y) - row.log_loss) / paired.mean
        rows.append(
            {"asked": round(row.asked[1], 3), "log_loss": round(row.log_loss, 4),
             "se": round(row.log_loss_se, 4), "gain_kept": round(kept, 3)}
        )  # fmt: skip
        print(
            f"  asked about {row.asked[1]:6.1%}: {row.log_loss:.4f} ± {row.log_loss_se:.4f}, "
            f"{kept:.0%} of the gain"
        )
    return {"rows": rows, "gain": round(paired.mean, 4), "gain_se": round(paired.se, 4)}


def cascade_loss(folder: Path) -> dict[str, Any]:
    """What is lost where only some rows go on: lexical before an LLM, a cheap judge before a dear one."""
    file, judged = folder / "oof" / "oof_3members_2874.csv", folder / "judges" / "arena3_26919.csv"
    found: dict[str, Any] = {}
    if file.is_file():
        frame = pl.read_csv(file)
        y = frame["label"].to_numpy()
        folds = np.random.default_rng(0).permutation(len(y)) % FOLDS
        names = ("lexical_lr", "minilm_lr", "llm_3")
        steps = []
        for count in (1, 3):
            part = {}
            for name in names[:count]:
                probs = frame.select(*(f"{name}_{end}" for end in ("a", "b", "tie"))).to_numpy()
                part[name] = probs / probs.sum(axis=1, keepdims=True)
            fitted = Stacker(random_state=0).fit(part, y, folds=folds)
            steps.append(Step(names[count - 1], 1.0, fitted.oof_log_proba_))
        found["members"] = cascade_table("members", steps, y, folds)
    if judged.is_file():
        votes = read_panel_votes(judged)
        judgements, y = read_judgements(judged).aligned_to(votes.ids), votes.majority
        folds = np.random.default_rng(0).permutation(len(y)) % FOLDS
        steps = []
        for names in (("gpt-3.5-turbo",), ("gpt-3.5-turbo", "gpt-4-0125-preview")):
            panel = Panel(random_state=0).fit(judgements.select(list(names)), y, folds=folds)
            steps.append(Step(names[-1], 1.0, panel.oof_log_proba_))
        found["judges"] = cascade_table("judges", steps, y, folds)
    if not found:
        print(f"\n{folder} holds no predictions and no judgements: the cascade's loss is not measured")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sections", default="kaggle,pairs,sensitivity,chunks,cascade")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of oof/ and judges/")
    parser.add_argument(
        "--price", help="CARD=DOLLARS,… a card and hour, in place of the prices that are assumed"
    )
    parser.add_argument("--quick", action="store_true", help="neither sensitivity nor cascade; fewer chunks")
    parser.add_argument("--json", action="store_true", help="a last line with every figure")
    given = parser.parse_args()
    for one in given.price.split(",") if given.price else []:
        card, dollars = one.split("=")
        CARDS[card] = replace(CARDS[card], price=CARDS[card].cards * float(dollars))
        ON_DEMAND[card] = Price(float(dollars), card, "--price")
    begun = time.perf_counter()
    wanted = given.sections.split(",")
    out: dict[str, Any] = {}
    if "kaggle" in wanted:
        out["kaggle"] = kaggle()
    if "pairs" in wanted:
        out["pairs"] = pairs()
    if "sensitivity" in wanted and not given.quick:
        out["sensitivity"] = sensitivity()
    if "chunks" in wanted:
        out["chunks"] = chunks(given.quick)
    if "cascade" in wanted and not given.quick:
        out["cascade"] = cascade_loss(given.data)
    out["seconds"] = round(time.perf_counter() - begun, 1)
    if given.json:
        print(json.dumps(out))


if __name__ == "__main__":
    main()
