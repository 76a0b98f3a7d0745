"""``doctor --plan --hours H``: what of a test file fits in a session of so many hours that only predicts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from ..pipeline.run_progress import clock
from ..recipes import Recipe
from . import tables
from .runner import Result

if TYPE_CHECKING:
    from ..planning.gpus import Gpu
    from ..planning.session import SessionPlan
    from ..planning.workload import Workload

log = logging.getLogger(__name__)

_COLUMNS = (
    ("weights", ""),
    ("type", ""),
    ("attention", ""),
    ("peak", "GB"),
    ("batch", "tokens"),
    ("load", ""),
    ("fold model", "1 order, 1 card"),
    ("1 order", "folds"),
    ("2 orders", "folds"),
)
_WORTH = 0.05
"""share of rows below which a second order is not spoken of"""


def plan_sessions(
    recipes: Mapping[str, Recipe],
    skipped: Mapping[str, str],
    gpu: Gpu,
    cards: int,
    workload: Workload,
    hours: float,
    lengths: str,
) -> Result:
    """A plan per recipe, the assumptions, and per recipe what to do or what to change."""
    from ..planning import session

    plans: list[SessionPlan] = []
    advice = []
    for name, recipe in recipes.items():
        log.info("planning %s", name)
        found = session.plan_session(recipe, gpu, cards, workload, hours)
        plans += found
        advice.append(_advice(name, found, gpu, cards, workload.folds, hours))
    many = f"{cards} x {gpu.name}" if cards > 1 else f"one {gpu.name}"
    assumed = _assumptions(gpu, workload, hours)
    facts = {
        "estimate": True,
        "card": gpu.name,
        "cards": cards,
        "hours": hours,
        "rows": workload.rows,
        "folds": workload.folds,
        "sessions": [one.facts() for one in plans],
        "advice": advice,
        "assumptions": assumed,
        "skipped": dict(skipped),
    }
    title = (
        f"ESTIMATES from shapes, nothing run: members trained elsewhere predict {workload.rows:,} battles "
        f"({lengths}) in {hours:g} h on {many}"
    )
    lines = [title, tables.rendered(_table(plans)), "", *advice, "", "Assumed:"]
    lines += [f"- {one}" for one in assumed]
    if skipped:
        lines.append(f"not planned: {', '.join(skipped)}")
    return Result(facts, "\n".join(lines))


def _table(plans: list[SessionPlan]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name, _ in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row("", *(Text(unit, style="dim") for _, unit in _COLUMNS))
    for one in plans:
        bits = "16 bits" if one.dtype != "fp32" else "32 bits"
        table.add_row(
            one.name,
            bits if one.quantise == "none" else one.quantise.replace("bit", " bits"),
            one.dtype,
            one.attention.removeprefix("arena_").replace("_", " "),
            f"{one.peak_bytes / 1e9:.1f}",
            f"{one.batch_tokens:,}",
            clock(one.load_seconds),
            clock(one.order_seconds),
            str(one.folds) if one.fits_card else "no room",
            "–" if one.orders == 1 else str(one.folds_both) if one.fits_card else "no room",
        )
    return table


def _advice(name: str, plans: list[SessionPlan], gpu: Gpu, cards: int, folds: int, hours: float) -> str:
    """What to do with one member, in a sentence or two."""
    fitting = [one for one in plans if one.fits_card]
    if not fitting:
        least = min(one.peak_bytes for one in plans)
        return (
            f"{name}: DOES NOT FIT the {gpu.name} in any precision: at least {least / 1e9:.1f} of its "
            f"{gpu.memory / 1e9:.1f} GB. Take a card with more memory, or train on a smaller base."
        )
    best = fitting[0]
    text = f"{name}: "
    if best is not plans[0]:
        text += (
            _no_room(plans[0], gpu, cards) + f' Set [predict] quantise = "{best.quantise}" in its recipe. '
        )
    if not best.folds:
        return text + (
            f"ONE FOLD MODEL DOES NOT FIT: {clock(best.load_seconds + best.order_seconds / cards)} on the "
            f"cards together, of {hours:g} h. Use more or faster cards, a smaller base, or train with a "
            "smaller prompt.max_tokens."
        )
    text += f"{best.folds} of {folds} fold models predict in time in one order"
    if best.folds < folds:
        chosen = ",".join(map(str, range(best.folds)))
        text += f" (predict --use-folds {chosen}, or leave it to predict --hours {hours:g})"
    if best.folds_both == folds:
        return text + ", and in both orders."
    if best.second_order_share >= _WORTH:
        text += f"; then {best.second_order_share:.0%} of the rows in the second order"
    if best.folds_both:
        text += f"; or {best.folds_both} in both orders"
    return text + "."


def _no_room(plan: SessionPlan, gpu: Gpu, cards: int) -> str:
    text = (
        f"in {plan.dtype} it needs {plan.peak_bytes / 1e9:.1f} GB, the {gpu.name} has {gpu.memory / 1e9:.1f}"
    )
    if cards > 1 and plan.peak_bytes <= cards * gpu.memory:
        text += f" ({cards} together would hold it, but a model lies on one card here)"
    return text + "."


def _assumptions(gpu: Gpu, workload: Workload, hours: float) -> list[str]:
    from ..planning import session
    from ..planning.lengths import BYTES_PER_TOKEN

    rate = session.rate_of(gpu, "fp16", workload.read_utilisation)
    why = f"{workload.read_utilisation:.0%} of its dense peak of {gpu.half / 1e12:.0f}"
    if gpu.sustained is not None and rate < gpu.half * workload.read_utilisation:
        why = (
            f"{session.SUSTAINED_SHARE:.0%} of the {gpu.sustained / 1e12:.0f} that it sustains at its power "
            f"limit, of a peak of {gpu.half / 1e12:.0f}"
        )
    found = [
        f"the {gpu.name} computes {rate / 1e12:.1f} TFLOP/s in 16 bits ({why})",
        f"{workload.lengths.sum(axis=1).mean():.0f} tokens per battle before the cut to a recipe's window, "
        f"from {BYTES_PER_TOKEN:g} bytes of text per token; padding as the engine's own batches have it",
        f"a base is loaded at {session.LOADING_RATE / 1e6:.0f} MB/s from its 16-bit files, once per fold "
        "model",
        f"{session.START_SECONDS / 60:.0f} minutes until the first batch, and {session.MARGIN_SHARE:.0%} of "
        f"the session kept for writing: {clock(session.usable_seconds(hours))} predict",
        f"{session.BANDWIDTH_SHARE:.0%} of {gpu.bandwidth / 1e9:.0f} GB/s for eager attention's score "
        "matrices, and for unpacking 8-bit and 4-bit weights; those multiply as fast as 16 bits (not "
        "measured)",
        "fold models side by side on the cards, the rows of the last ones split; a batch that is halved "
        "until it fits; 5 % fragmentation and 0.75 GiB of CUDA context",
    ]
    if not gpu.bf16:
        found.append(f"the {gpu.name} has no bf16: fp16, and fp32 for families that overflow it")
    if gpu.name == "P100":
        found.append(
            "PyTorch is built for it: wheels for CUDA 12.8 and later leave Pascal out "
            "(torch.cuda.get_arch_list() must have sm_60)"
        )
    return found
