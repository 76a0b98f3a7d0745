"""Seconds of a run's parts: the planner's, with the share of the card's peak that one H100 reached."""

from __future__ import annotations

import functools

from arena_ensemble.planning.estimate import estimate
from arena_ensemble.planning.gpus import gpu_named
from arena_ensemble.planning.workload import Workload, batch_totals, typical_lengths
from arena_ensemble.recipes import Recipe, load_recipe, packaged_recipe

FOLDS, MEAN_TOKENS = 5, 830.0
MEASURED = {"train": 9_995.0, "read": 28_941.0}
"""real tokens a second of a Llama-3.1-8B shape, LoRA r = 64, on one H100 (docs/performance.md, best line)"""
SLOWER = {"train": 6_990.0, "read": 25_137.0}
"""the same on another machine"""
VANISH = 0.05
"""of the spot nodes, an hour"""


@functools.cache
def recipe(name: str, orders: int = 0) -> Recipe:
    path = packaged_recipe(name)
    assert path is not None, name
    found = load_recipe(path)
    return found.model_copy(update={"read_orders": orders}) if orders else found


@functools.cache
def reached(slower: bool = False) -> tuple[float, float]:
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
