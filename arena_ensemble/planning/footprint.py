"""Memory of one recipe: weights, gradients, moments, and activations simulated on shallow models."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Final

import torch

from ..backbones import head_of
from ..backbones.language import loading
from ..backbones.language.adapters import layer_of
from ..backbones.language.heads import HeadModel
from ..backbones.language.optimizers import state_bytes
from ..recipes import Recipe
from . import flops
from .memory import Act, MemoryUse, simulate_batch
from .meta_model import meta_model

_simulations: dict[Any, MemoryUse] = {}
_QUANTISED: Final = {"4bit": 0.5 + 1 / 64 + 4 / (64 * 256), "8bit": 1.0}
"""Bytes per weight. NF4 has one 8-bit scale per 64 weights and a float32 per 256 of those
(Dettmers et al. 2023, arXiv:2305.14314)."""
_BYTES: Final = {"fp32": 4, "bf16": 2, "fp16": 2}


@dataclass(frozen=True)
class Footprint:
    """Parameters (counts) and memory (bytes) of one recipe; ``train`` and ``read`` are sums, no overhead."""

    parameters: int
    trained: int
    weights: int
    own: int
    """of the trained weights; their gradients take as much"""
    optimizer: int
    activations: int
    logits: int
    full_logits: int
    train: int
    read: int


def footprint(recipe: Recipe, config: Any, dtype: str, head_model: HeadModel) -> Footprint:
    """Parameters and memory of a recipe whose model is ``head_model`` (on the meta device)."""
    train = recipe.train
    trained = sum(p.numel() for p in head_model.parameters() if p.requires_grad)
    weights, widest = _frozen_bytes(recipe, head_model, dtype)
    moving = [p for p in head_model.parameters() if p.requires_grad]
    moments = state_bytes(train.optimizer, moving)
    moments += (4 * trained if train.ema else 0) + (4 * trained if train.early_stopping else 0)
    optimizer = moments if train.epochs else 0
    own = sum(p.numel() * p.element_size() for p in moving)
    fixed = weights + own + _unpacked(recipe, widest, dtype)
    depth = trained_depth(recipe, config, head_model)
    kept = activation_bytes(recipe, config, dtype, depth) if train.epochs else 0
    fit_rows, fit_length = _shape(recipe, train.batch_tokens)
    vocabulary = int(config.vocab_size) if head_of(recipe.backbone).causal else 0
    return Footprint(
        parameters=sum(p.numel() for name, p in head_model.model.named_parameters() if "lora_" not in name),
        trained=trained,
        weights=weights,
        own=own,
        optimizer=optimizer,
        activations=kept,
        logits=fit_rows * 3 * 4,
        full_logits=fit_rows * fit_length * vocabulary * (_BYTES[dtype] + 4),
        train=fixed + own + optimizer + kept if train.epochs else fixed,
        read=fixed + _prediction_bytes(recipe, config, dtype),
    )


def reading_bytes(recipe: Recipe, config: Any, dtype: str, head_model: HeadModel) -> int:
    """Bytes of prediction alone: weights, adapters and head, and the fullest batch; no overhead."""
    weights, widest = _frozen_bytes(recipe, head_model, dtype)
    own = sum(p.numel() * p.element_size() for p in head_model.parameters() if p.requires_grad)
    fixed = weights + own + _unpacked(recipe, widest, dtype)
    return fixed + _prediction_bytes(recipe, config, dtype)


def unpacking_bytes(recipe: Recipe, head_model: HeadModel) -> float:
    """Bytes moved per batch to unpack quantised weights: each is read packed, written and read in 16 bits."""
    packed = _QUANTISED.get(recipe.adapter.quantise)
    if packed is None:
        return 0.0
    weights = sum(p.numel() for name, p in head_model.named_parameters() if _is_packed(name, p))
    return weights * (packed + 4)


def _is_packed(name: str, parameter: torch.Tensor) -> bool:
    """Whether a weight is among those that quantising packs: frozen matrices of the layers."""
    frozen = not parameter.requires_grad
    return frozen and parameter.ndim == 2 and layer_of(name) is not None


def _unpacked(recipe: Recipe, widest: int, dtype: str) -> int:
    """Bytes of the largest quantised weight while it is multiplied."""
    return widest * _BYTES[dtype] if recipe.adapter.quantise != "none" else 0


def _prediction_bytes(recipe: Recipe, config: Any, dtype: str) -> int:
    rows, length = _shape(recipe, recipe.predict.tokens)
    used = _simulated(recipe, config, dtype, 1, rows, length, "read")
    return used.kept + used.passing


def _frozen_bytes(recipe: Recipe, head_model: HeadModel, dtype: str) -> tuple[int, int]:
    """Bytes of the weights that are not trained, and the largest quantised one's count of weights."""
    packed = _QUANTISED.get(recipe.adapter.quantise)
    total, widest = 0.0, 0
    for name, parameter in head_model.named_parameters():
        if parameter.requires_grad:
            continue
        if packed is not None and _is_packed(name, parameter):
            total += packed * parameter.numel()
            widest = max(widest, parameter.numel())
        else:
            total += _BYTES[dtype] * parameter.numel()
    return round(total), widest


def trained_depth(recipe: Recipe, config: Any, head_model: HeadModel) -> int:
    """Layers whose activations are kept: those at or above the lowest that is trained."""
    layers = int(config.num_hidden_layers)
    lowest = flops.lowest_trained(head_model.model)
    return 0 if lowest is None else layers - lowest


def _shape(recipe: Recipe, budget: int) -> tuple[int, int]:
    """(sequences, tokens each) of the fullest micro-batch."""
    length = recipe.prompt.max_tokens
    head = head_of(recipe.backbone)
    paired = recipe.swap == "paired" and not head.swap_equivariant and budget == recipe.train.batch_tokens
    together = head.sequences_per_battle * (2 if paired else 1)
    return max(1, budget // (length * together)) * together, length


def _simulated(
    recipe: Recipe,
    config: Any,
    dtype: str,
    layers: int,
    rows: int,
    length: int,
    act: Act,
    checkpointed: bool = False,
) -> MemoryUse:
    # recipes that differ in data or schedule alone share a rehearsal
    what = (recipe.base, recipe.revision, recipe.backbone, recipe.adapter, recipe.train.attention)
    key = (
        *what,
        recipe.train.optimizer,
        bool(recipe.train.epochs),
        dtype,
        layers,
        rows,
        length,
        act,
        checkpointed,
    )
    if key in _simulations:
        return _simulations[key]

    def build() -> HeadModel:
        head_model = meta_model(recipe, config, dtype, layers=layers)
        if checkpointed:
            loading.recompute_activations(head_model.model)
        return head_model

    half = None if dtype == "fp32" else torch.bfloat16  # as wide as float16, and known to a CPU's kernels
    used = simulate_batch(build, rows, length, act, half)
    return _simulations.setdefault(key, used)


def activation_bytes(recipe: Recipe, config: Any, dtype: str, depth: int) -> int:
    """Bytes beside weights, gradients and moments at the fullest moment of a micro-batch."""
    rows, length = _shape(recipe, recipe.train.batch_tokens)
    simulated = functools.partial(_simulated, recipe, config, dtype)
    one = simulated(1, rows, length, "step")
    if depth == 0:
        return one.kept + one.passing
    period = _period(config)
    checkpointed = recipe.train.gradient_checkpointing is True
    if checkpointed:
        # what lies between layers is kept; one layer at a time lives through its own step
        first = simulated(1, rows, length, "keep", True).kept
        more = simulated(1 + period, rows, length, "keep", True).kept
        return round((depth - 1) * (more - first) / period) + one.kept + one.passing
    more = simulated(1 + period, rows, length, "keep").kept
    return round(one.kept + (depth - 1) * (more - one.kept) / period) + one.passing


def _period(config: Any) -> int:
    """Layers after which their kinds repeat (sliding and full attention in turn)."""
    kinds = list(getattr(config, "layer_types", None) or [])
    for period in range(1, len(kinds)):
        if kinds[period:] == kinds[:-period]:
            return period
    return 1
