"""Tables of 10^8 pairs on spot nodes: kinds of cards, assumptions halved and doubled, sizes of a chunk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from cost_fleet import CARDS, LARGE, PAIRS, Assumed, cascade, in_parts, member_stage, planned, ran, total
from cost_rates import MEAN_TOKENS, VANISH

from arena_ensemble.planning.fleet import HOUR, PARTS, Outcome
from arena_ensemble.planning.fleet_plan import chunk_cost
from arena_ensemble.planning.lost_work import best_chunk, worker_seconds, young


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
    on_l4 = CARDS["L4"]
    for passes in (2, 5, 10):
        stage = member_stage(LARGE, on_l4, 1.0, passes)
        lines.append(shown(f"9B for all, {passes} passes (folds x orders), L4", ran(stage, on_l4)))
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
