"""What of a test file the members can predict in a session of so many hours, on cards of one kind.

A notebook predicts and trains nothing: its members were trained elsewhere. A fold model lies on one card;
several cards predict fold models side by side, and split the rows of those that are left over.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from ..backbones import head_of
from ..recipes import Recipe
from . import flops
from .estimate import eager_seconds, needs
from .footprint import reading_bytes, unpacking_bytes
from .gpus import Gpu
from .meta_model import attention_for, config_of, dtype_on, meta_model
from .workload import Workload, batch_totals

LOADING_RATE: Final = 200e6
"""bytes per second at which a base is read and put on a card: network storage, and nothing cached"""
START_SECONDS: Final = 300.0
"""until the first batch: installing, imports, reading the battles, token ids"""
MARGIN_SHARE: Final = 0.02
"""what ``--hours`` keeps for combining and writing"""
SUSTAINED_SHARE: Final = 0.7
"""of the products that a card can keep up, where that is known: the rest goes to all that is no product"""
BANDWIDTH_SHARE: Final = 0.8


@dataclass(frozen=True)
class SessionPlan:
    """One member in one precision on the cards of a session. Seconds and bytes; all estimates."""

    name: str
    quantise: str
    dtype: str
    attention: str
    as_trained: bool
    """whether the recipe says so itself"""
    peak_bytes: int
    batch_tokens: int
    """tokens per batch that fit, by halving the recipe's"""
    fits_card: bool
    load_seconds: float
    order_seconds: float
    """one fold model over all rows in one order, on one card"""
    orders: int
    """orders that the head can be asked in"""
    folds: int
    """fold models that fit in one order, up to the number trained"""
    folds_both: int
    """the same in both orders"""
    second_order_share: float
    """of the rows that fit in the second order beside ``folds`` in one order"""

    def facts(self) -> dict[str, Any]:
        """Plain JSON values, marked as an estimate."""
        return {"estimate": True, **asdict(self)}


def session_seconds(load: float, work: float, folds: int, cards: int) -> float:
    """Seconds until ``folds`` models have predicted: side by side, the rows of the last ones split.

    ``load`` and ``work`` are seconds of one fold model on one card. Those that do not fill all cards are cut
    into equal parts that do, and each part loads the model again.
    """
    whole, rest = divmod(folds, cards)
    seconds = whole * (load + work)
    if rest:
        together = math.gcd(rest, cards)
        seconds += rest // together * load + rest * work / cards
    return seconds


def plan_session(recipe: Recipe, gpu: Gpu, cards: int, workload: Workload, hours: float) -> list[SessionPlan]:
    """The member as its recipe says; where that does not fit the card, in 8 bits and in 4 bits too.

    ``workload`` has the test file's rows and, as ``folds``, how many models were trained.

    Raises
    ------
    RecipeError
        As :func:`~.meta_model.config_of`.
    """
    plans: list[SessionPlan] = []
    recipe = recipe.for_prediction()
    for quantise in _precisions(recipe, gpu):
        plans.append(_plan(recipe, quantise, gpu, cards, workload, hours))
        if plans[0].fits_card:
            break
    return plans


def usable_seconds(hours: float) -> float:
    """What of a session predicts."""
    return 3600 * hours * (1 - MARGIN_SHARE) - START_SECONDS


def rate_of(gpu: Gpu, dtype: str, utilisation: float) -> float:
    """FLOP/s that prediction is assumed to reach."""
    if dtype == "fp32":
        return gpu.single * utilisation
    sustained = math.inf if gpu.sustained is None else gpu.sustained * SUSTAINED_SHARE
    return min(gpu.half * utilisation, sustained)


def _precisions(recipe: Recipe, gpu: Gpu) -> Iterator[str]:
    own = recipe.adapter.quantise
    yield own
    if recipe.adapter.kind != "full":
        yield from (q for q in ("8bit", "4bit") if q != own and (q == "4bit" or gpu.int8))


def _plan(
    recipe: Recipe, quantise: str, gpu: Gpu, cards: int, workload: Workload, hours: float
) -> SessionPlan:
    adapter = recipe.adapter.model_copy(update={"quantise": quantise})
    config, _ = config_of(recipe)
    dtype = dtype_on(gpu, recipe, config)
    changed = recipe.model_copy(update={"adapter": adapter, "read_orders": 1})
    model = meta_model(changed, config, dtype)
    base: Any = model.model
    fused = base.config._attn_implementation != "eager"
    changed, peak = _largest_batch(changed, config, dtype, model, gpu)
    _, read = batch_totals(changed, replace(workload, folds=1))
    passes = flops.count(base, config, causal=model.causal, fused=fused, checkpointed=False)
    seconds = passes.prediction(read) / rate_of(gpu, dtype, workload.read_utilisation)
    if not fused:
        seconds += eager_seconds(changed, config, gpu, model)[1] * read.squares
    seconds += unpacking_bytes(changed, model) / (gpu.bandwidth * BANDWIDTH_SHARE) * read.batches
    stored = 2 * sum(p.numel() for p in model.parameters())
    load, fits = stored / LOADING_RATE, peak <= gpu.memory
    time = usable_seconds(hours) if fits else 0.0

    def most(work: float) -> int:
        able = (k for k in range(workload.folds, 0, -1) if session_seconds(load, work, k, cards) <= time)
        return next(able, 0)

    orders = 1 if head_of(recipe.backbone).swap_equivariant else 2
    folds, share = most(seconds), 0.0
    if folds and orders == 2:
        spare = time - session_seconds(load, seconds, folds, cards)
        share = min(1.0, max(0.0, spare - load) * cards / (folds * seconds))
    return SessionPlan(
        name=recipe.name,
        quantise=quantise,
        dtype=dtype,
        attention=attention_for(recipe, config, dtype) if fused else "eager",
        as_trained=quantise == recipe.adapter.quantise,
        peak_bytes=peak,
        batch_tokens=changed.predict.tokens,
        fits_card=fits,
        load_seconds=load,
        order_seconds=seconds,
        orders=orders,
        folds=folds,
        folds_both=most(2 * seconds) if orders == 2 else 0,
        second_order_share=share,
    )


def _largest_batch(recipe: Recipe, config: Any, dtype: str, model: Any, gpu: Gpu) -> tuple[Recipe, int]:
    """The recipe with the largest batch of prediction that fits, by halves as in the engine, and its peak."""
    while True:
        peak = needs(reading_bytes(recipe, config, dtype, model))
        tokens = recipe.predict.tokens
        if peak <= gpu.memory or tokens // 2 < recipe.prompt.max_tokens:
            return recipe, peak
        predict = recipe.predict.model_copy(update={"tokens": tokens // 2})
        recipe = recipe.model_copy(update={"predict": predict})
