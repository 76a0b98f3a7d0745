"""``doctor --plan --nodes N``: a large file on nodes that may vanish, in hours and dollars."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

from ..errors import InputError
from ..pipeline.run_progress import clock
from ..recipes import Recipe
from . import tables
from .runner import Result

if TYPE_CHECKING:
    from ..planning.fleet import Fleet
    from ..planning.fleet_plan import FleetPlan
    from ..planning.gpus import Gpu
    from ..planning.workload import Workload
    from .plan_options import PlanOptions

log = logging.getLogger(__name__)

PAIRS: Final = 100_000_000
_WIDTH: Final = 132
_MOSTLY: Final = 0.9
"""share of the time after the start that makes the driver what limits"""


def plan_fleets(
    recipes: Mapping[str, Recipe],
    skipped: Mapping[str, str],
    gpu: Gpu,
    cards: int,
    workload: Workload,
    options: PlanOptions,
    lengths: str,
) -> Result:
    """Hours, dollars and where they go, per recipe: each one predicts all rows."""
    from ..planning import fleet_plan, session
    from ..planning.fleet import Fleet
    from ..planning.prices import price_of

    if options.nodes is None or options.nodes < 1:
        raise InputError(f"--nodes {options.nodes}: give at least 1")
    if options.spot_rate < 0 or options.chunk_rows < 1 or (options.price is not None and options.price <= 0):
        raise InputError("--spot-rate must be 0 or more, --chunk-rows at least 1, and --price above 0")
    if options.price is None:
        found = price_of(gpu.name, spot=options.spot_rate > 0)
        price, source = cards * found.dollars, f"{found.what}; {found.source}"
    else:
        price, source = options.price, "--price"
    fleet = Fleet(options.nodes, cards, price, options.spot_rate, session.START_SECONDS)
    plans = []
    for name, recipe in recipes.items():
        log.info("planning %s", name)
        plans.append(fleet_plan.plan_fleet(recipe, gpu, workload, fleet, options.chunk_rows))
    assumed = _assumptions(gpu, workload, fleet, source)
    facts = {
        "estimate": True,
        "card": gpu.name,
        "cards": cards,
        "nodes": fleet.nodes,
        "price": price,
        "spot_rate": fleet.vanish,
        "rows": workload.rows,
        "plans": [one.facts() for one in plans],
        "assumptions": assumed,
        "skipped": dict(skipped),
    }
    kind = f"{cards} x {gpu.name}" if cards > 1 else f"one {gpu.name}"
    title = (
        f"ESTIMATES, nothing run: {workload.rows:,} battles ({lengths}), one model in one order, on "
        f"{fleet.nodes:,} nodes of {kind}"
    )
    lines = [title, tables.rendered(_table(plans), width=_WIDTH), ""]
    lines += [_advice(one, gpu, fleet) for one in plans]
    lines += ["", "Assumed:", *(f"- {one}" for one in assumed)]
    if skipped:
        lines.append(f"not planned: {', '.join(skipped)}")
    return Result(facts, "\n".join(lines))


def _table(plans: list[FleetPlan]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    heads = ("weights", "row", "load", "clock", "node-hours", "dollars", "vanished")
    for name in (*heads, "compute", "starts", "lost", "waiting", "idle"):
        table.add_column(name, justify="right", no_wrap=True)
    units = ("", "ms", "", "h", "", "", "nodes", *["of what is paid"] + [""] * 4)
    table.add_row("", *(Text(unit, style="dim") for unit in units))
    for one in plans:
        share, done = one.outcome.shares, one.outcome
        table.add_row(
            one.stage.name,
            "16 bits" if one.plan.quantise == "none" else one.plan.quantise.replace("bit", " bits"),
            f"{1000 * one.stage.row_seconds:.3g}",
            clock(one.stage.load_seconds),
            f"{done.hours:,.1f}",
            f"{done.node_seconds / 3600:,.0f}",
            f"{done.dollars:,.0f}",
            f"{done.vanished:,}",
            f"{share['compute']:.1%}",
            f"{share['start'] + share['again']:.1%}",
            f"{share['lost']:.1%}",
            f"{share['storage'] + share['stalls'] + share['driver']:.1%}",
            f"{share['idle']:.1%}",
        )
    return table


def _advice(one: FleetPlan, gpu: Gpu, fleet: Fleet) -> str:
    """What limits a member, and what to change."""
    from ..planning.fleet_plan import driver_of

    name, stage, shares = one.stage.name, one.stage, one.outcome.shares
    if not one.plan.fits_card:
        return (
            f"{name}: DOES NOT FIT the {gpu.name} in any precision: the figures are of a card with more "
            "memory; give another --card."
        )
    driver = driver_of(stage.chunk_rows)
    serial = stage.chunks * (driver.hand_out_seconds + driver.note_seconds)
    worst = max((name for name in shares if name != "compute"), key=lambda part: shares[part])
    text = f"{name}: {shares['compute']:.0%} of what is paid computes; of the rest, most is {_WORDS[worst]}"
    text += f"; one driver hands out rows for {serial / 3600:,.1f} h"
    if serial > _MOSTLY * (one.outcome.seconds - fleet.start_seconds - stage.load_seconds):
        return f"{text}: IT IS WHAT LIMITS, split the file among several runs."
    if one.best_chunk_rows is not None and not 0.5 < one.best_chunk_rows / stage.chunk_rows < 2:
        text += f"; chunks of about {one.best_chunk_rows:,} rows lose least (--chunk-rows)"
    return f"{text}."


_WORDS: Final = {
    "start": "the first start of the nodes",
    "again": "starting nodes again",
    "storage": "reading and writing",
    "stalls": "storage that stalls",
    "driver": "waiting for the driver",
    "lost": "work that was lost with a node",
    "idle": "idle workers at the end",
}


def _assumptions(gpu: Gpu, workload: Workload, fleet: Fleet, source: str) -> list[str]:
    from ..planning import fleet_plan, session

    store = fleet_plan.OBJECT_STORE
    rate = session.rate_of(gpu, "fp16", workload.read_utilisation)
    gone = f"a node vanishes {fleet.vanish:g} times an hour" if fleet.vanish else "no node vanishes"
    return [
        f"a node costs ${fleet.price:g} an hour, by the second ({source})",
        f"{gone}; it is replaced at once; {session.START_SECONDS / 60:.0f} minutes of each start are paid",
        f"the {gpu.name} computes {rate / 1e12:.1f} TFLOP/s in 16 bits; a base is loaded at "
        f"{session.LOADING_RATE / 1e6:.0f} MB/s",
        f"object storage: {store.latency:g} s until the first byte, {store.bytes_per_second / 1e6:.0f} MB/s, "
        f"{store.stall_share:.1%} of transfers stall {store.stall_seconds:g} s or longer (Pareto, tail "
        f"{store.stall_tail:g}); reading, computing and writing of a chunk do not overlap",
        f"the driver takes {1e6 * fleet_plan.HAND_OUT_ROW_SECONDS:.0f} µs to hand out a row and "
        f"{1000 * fleet_plan.NOTE_SECONDS:.0f} ms to note a chunk",
        "one driver for all nodes; predict --shards is a run for each part of a file (docs/cost.md)",
    ]
