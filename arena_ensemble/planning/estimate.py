"""What a recipe will need before a GPU is rented: parameters, memory, time. All estimates, no download.

The architecture is instantiated from its configuration on the meta device, the engine's own adapters
are attached, and operations and bytes are counted there. What cannot be counted is assumed, and the
assumptions travel with the result.
"""

from __future__ import annotations

import copy
import functools
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import nn

from ..backbones.language import loading
from ..backbones.language.adapters import attach, float32_head, head_parameters, layer_of
from ..backbones.language.heads import (
    ClassificationHeadModel,
    GenerationHeadModel,
    HeadModel,
    RewardHeadModel,
)
from ..errors import RecipeError
from ..recipes import Recipe
from . import flops
from . import memory as memory_use
from .gpus import GIB, Gpu
from .shapes import SHAPES
from .workload import Workload, batch_totals

CONTEXT: Final = int(0.75 * GIB)
"""CUDA context and libraries"""
FRAGMENTATION: Final = 0.05
EAGER_TRAFFIC: Final = 40.0
"""bytes moved per score and forward pass where attention is not fused: about ten passes over a matrix of
2 to 4 bytes each (scale, soft-cap, mask, softmax in float32, casts); twice that in the backward pass"""
BANDWIDTH_SHARE: Final = 0.8
"""of the card's peak bandwidth, for that traffic"""
_simulations: dict[Any, memory_use.MemoryUse] = {}
_QUANTISED: Final = {"4bit": 0.5 + 1 / 64 + 4 / (64 * 256), "8bit": 1.0}
"""Bytes per weight. NF4 has one 8-bit scale per 64 weights and a float32 per 256 of those
(Dettmers et al. 2023, arXiv:2305.14314)."""
_BYTES: Final = {"fp32": 4, "bf16": 2, "fp16": 2}
_TORCH: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Estimate:
    """Figures of one recipe on one card. Bytes, seconds and operations; every one an estimate."""

    name: str
    base: str
    shape_from: str
    card: str
    dtype: str
    attention: str
    parameters: int
    """of base and head, adapters not counted"""
    trained_parameters: int
    weight_bytes: int
    """frozen weights as stored on the card"""
    trained_bytes: int
    """adapters and head (or everything), float32"""
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: int
    """kept for the backward pass of the fullest micro-batch, and what passes beside it"""
    logit_bytes: int
    full_vocabulary_logit_bytes: int
    """what the logits of the whole vocabulary at every place would take; never made here"""
    train_peak_bytes: int
    read_peak_bytes: int
    fits_training: bool
    fits_reading: bool
    padding_share: float
    train_tokens: int
    """per fold, all epochs and orders, padding included"""
    train_flops: float
    """per fold, as the model needs them"""
    performed_flops: float
    """per fold, with what is computed twice"""
    read_flops: float
    implied_mfu: float
    """model-FLOPs utilisation that the assumed utilisation amounts to in training; 0 without training"""
    fit_seconds: float
    read_seconds: float
    gpu_hours: float
    """all folds, fitting and reading the held-out rows"""
    notes: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """Plain JSON values, marked as an estimate."""
        return {"estimate": True, **asdict(self), "notes": list(self.notes)}


def config_of(recipe: Recipe) -> tuple[Any, str]:
    """The base's configuration, and where it came from.

    A local folder first, then what this machine has already downloaded, then the table of published
    shapes, then the hub.

    Raises
    ------
    RecipeError
        The base is tiny or lexical (built on the spot), or nothing here knows its shape.
    """
    from transformers import AutoConfig

    if not recipe.base or recipe.is_tiny:
        raise RecipeError(
            f"member {recipe.name!r}: base {recipe.base!r} is built on the spot; no plan is needed"
        )
    source = loading.source_of(recipe)
    if recipe.base_path() is not None:
        return loading.load_config(source), source.name
    try:
        return AutoConfig.from_pretrained(source.name, local_files_only=True, **source.options), "local cache"
    except (OSError, ValueError):
        pass  # never downloaded here
    if recipe.base in SHAPES:
        shape = SHAPES[recipe.base]
        return AutoConfig.for_model(shape.model_type, **shape.values), "table of published shapes"
    return loading.load_config(source), "hub"


def dtype_on(card: Gpu, recipe: Recipe, config: Any) -> str:
    """What ``train.precision`` comes to on that card, as the engine's policy decides on the device."""
    if recipe.train.precision != "auto":
        return recipe.train.precision
    if card.bf16:
        return "bf16"
    overflows = any(name in str(config.model_type) for name in loading.OVERFLOWS_FP16)
    return "fp32" if overflows else "fp16"


def estimate(recipe: Recipe, card: Gpu, work: Workload) -> Estimate:
    """Parameters, memory and time of one recipe on one card.

    Raises
    ------
    RecipeError
        As :func:`config_of`, or settings that do not fit the base.
    """
    config, shape_from = config_of(recipe)
    dtype = dtype_on(card, recipe, config)
    model = built(recipe, config, dtype)
    base: Any = model.model
    attention = str(base.config._attn_implementation)
    fused = attention != "eager"
    memory = _memory(recipe, config, dtype, model)
    passes = flops.count(
        model.model,
        config,
        causal=model.causal,
        fused=fused,
        checkpointed=recipe.train.gradient_checkpointing,
    )
    trained, read = batch_totals(recipe, work)
    needed, performed = passes.training(trained) if recipe.train.epochs else (0.0, 0.0)
    reading = passes.reading(read)
    card_peak = card.single if dtype == "fp32" else card.half
    fit_seconds = performed / (card_peak * work.train_utilisation)
    read_seconds = reading / (card_peak * work.read_utilisation)
    if not fused:  # whole score matrices wait for memory, not for arithmetic
        traffic = EAGER_TRAFFIC * int(config.num_attention_heads) / (card.bandwidth * BANDWIDTH_SHARE)
        layers, depth = int(config.num_hidden_layers), _depth(recipe, config, model)
        often = layers + depth * (3 if recipe.train.gradient_checkpointing else 2)
        fit_seconds += traffic * often * trained.squares if recipe.train.epochs else 0.0
        read_seconds += traffic * layers * read.squares
    return Estimate(
        name=recipe.name,
        base=recipe.base,
        shape_from=shape_from,
        card=card.name,
        dtype=dtype,
        attention=attention,
        train_flops=needed,
        performed_flops=performed,
        read_flops=reading,
        implied_mfu=needed / (fit_seconds * card_peak) if fit_seconds else 0.0,
        fit_seconds=fit_seconds,
        read_seconds=read_seconds,
        gpu_hours=work.folds * (fit_seconds + read_seconds) / 3600,
        padding_share=trained.padding_share if recipe.train.epochs else read.padding_share,
        train_tokens=round(trained.tokens) if recipe.train.epochs else 0,
        fits_training=_needs(memory.train) <= card.memory,
        fits_reading=_needs(memory.read) <= card.memory,
        notes=_notes(recipe, card, config, dtype),
        parameters=memory.parameters,
        trained_parameters=memory.trained,
        weight_bytes=memory.weights,
        trained_bytes=4 * memory.trained,
        gradient_bytes=4 * memory.trained if recipe.train.epochs else 0,
        optimizer_bytes=memory.optimizer,
        activation_bytes=memory.activations,
        logit_bytes=memory.logits,
        full_vocabulary_logit_bytes=memory.full_logits,
        train_peak_bytes=_needs(memory.train),
        read_peak_bytes=_needs(memory.read),
    )


def _needs(bytes_: float) -> int:
    return round(bytes_ * (1 + FRAGMENTATION)) + CONTEXT


def _notes(recipe: Recipe, card: Gpu, config: Any, dtype: str) -> tuple[str, ...]:
    notes = []
    if dtype == "bf16" and not card.bf16:
        notes.append(f"bf16 is not native on a {card.name}: far slower than these figures")
    if dtype == "fp16" and any(name in str(config.model_type) for name in loading.OVERFLOWS_FP16):
        notes.append("this family overflows fp16")
    if recipe.adapter.quantise != "none":
        notes.append(f"{recipe.adapter.quantise}: the time to unpack weights is not counted")
    if not recipe.train.epochs:
        notes.append("zero-shot: nothing is trained")
    return tuple(notes)


def built(recipe: Recipe, config: Any, dtype: str, *, layers: int | None = None) -> HeadModel:
    """The recipe's scorer on the meta device, with adapters, marked for training as the engine does.

    ``layers`` makes it as shallow, every layer adapted: what one layer costs is read off there.
    """
    import transformers
    from transformers.initialization import no_init_weights

    config = copy.deepcopy(config)
    config.use_cache = False
    config.pad_token_id = 0 if getattr(config, "pad_token_id", None) is None else config.pad_token_id
    settings = recipe.adapter
    if layers is not None:
        config.num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:layers]
        settings = settings.model_copy(update={"first_layer": 0})
    options: dict[str, Any] = {"dtype": _TORCH[dtype]}
    chosen = recipe.train.attention
    if getattr(config, "attn_logit_softcapping", None):
        chosen = "eager"
    elif chosen == "flash_attention_2":  # counts and keeps the same, and need not be installed here
        chosen = "sdpa"
    if chosen != "auto":
        options["attn_implementation"] = chosen
    labels = {"classify": 3, "reward": 2}.get(recipe.backbone)
    if labels is not None:
        config.num_labels = labels
    loader = transformers.AutoModelForSequenceClassification if labels else transformers.AutoModelForCausalLM
    with torch.device("meta"), no_init_weights():
        model = loader.from_config(config, **options)
        model.tie_weights()  # a model without values was not tied as it was made
        head = head_parameters(model, set()) if labels else set()
        if recipe.train.epochs:
            attach(model, settings, head)
        else:
            model.requires_grad_(False)
        if dtype != "fp32":
            float32_head(model, head)
        return _scorer(recipe, model)


def _scorer(recipe: Recipe, model: nn.Module) -> HeadModel:
    if recipe.backbone == "classify":
        return ClassificationHeadModel(model)
    if recipe.backbone == "reward":
        return RewardHeadModel(model)
    own = recipe.adapter.kind == "frozen" and recipe.train.epochs > 0
    return GenerationHeadModel(model, (0, 1, 2), own_rows=own)


@dataclass(frozen=True)
class _Memory:
    parameters: int
    trained: int
    weights: int
    optimizer: int
    activations: int
    logits: int
    full_logits: int
    train: int
    read: int


def _memory(recipe: Recipe, config: Any, dtype: str, head_model: HeadModel) -> _Memory:
    train = recipe.train
    trained = sum(p.numel() for p in head_model.parameters() if p.requires_grad)
    weights, widest = _frozen_bytes(recipe, head_model, dtype)
    moments = 8 * trained + (4 * trained if train.ema else 0) + (4 * trained if train.early_stopping else 0)
    optimizer = moments if train.epochs else 0
    unpacked = widest * _BYTES[dtype] if recipe.adapter.quantise != "none" else 0
    depth = _depth(recipe, config, head_model)
    kept = _activations(recipe, config, dtype, depth) if train.epochs else 0
    rows, length = _shape(recipe, train.predict_tokens)
    reading = _simulated(recipe, config, dtype, 1, rows, length, "read")
    fit_rows, fit_length = _shape(recipe, train.batch_tokens)
    vocabulary = int(config.vocab_size) if recipe.backbone == "generate" else 0
    fixed = weights + 4 * trained + unpacked
    return _Memory(
        parameters=sum(p.numel() for name, p in head_model.model.named_parameters() if "lora_" not in name),
        trained=trained,
        weights=weights,
        optimizer=optimizer,
        activations=kept,
        logits=fit_rows * 3 * 4,
        full_logits=fit_rows * fit_length * vocabulary * (_BYTES[dtype] + 4),
        train=fixed + 4 * trained + optimizer + kept if train.epochs else fixed,
        read=fixed + reading.kept + reading.passing,
    )


def _frozen_bytes(recipe: Recipe, head_model: HeadModel, dtype: str) -> tuple[int, int]:
    """Bytes of the weights that are not trained, and the largest quantised one's count of weights."""
    packed = _QUANTISED.get(recipe.adapter.quantise)
    total, widest = 0.0, 0
    for name, parameter in head_model.named_parameters():
        if parameter.requires_grad:
            continue
        if packed is not None and parameter.ndim == 2 and layer_of(name) is not None:
            total += packed * parameter.numel()
            widest = max(widest, parameter.numel())
        else:
            total += _BYTES[dtype] * parameter.numel()
    return round(total), widest


def _depth(recipe: Recipe, config: Any, head_model: HeadModel) -> int:
    """Layers whose activations are kept: those at or above the lowest that is trained."""
    layers = int(config.num_hidden_layers)
    lowest = flops.lowest_trained(head_model.model)
    return 0 if lowest is None else layers - lowest


def _shape(recipe: Recipe, budget: int) -> tuple[int, int]:
    """(sequences, tokens each) of the fullest micro-batch."""
    length = recipe.prompt.max_tokens
    paired = recipe.swap == "paired" and recipe.backbone != "reward"
    together = 2 if recipe.backbone == "reward" or (paired and budget == recipe.train.batch_tokens) else 1
    return max(1, budget // (length * together)) * together, length


def _simulated(
    recipe: Recipe,
    config: Any,
    dtype: str,
    layers: int,
    rows: int,
    length: int,
    act: memory_use.Act,
    checkpointed: bool = False,
) -> memory_use.MemoryUse:
    # recipes that differ in data or schedule alone share a rehearsal
    what = (recipe.base, recipe.revision, recipe.backbone, recipe.adapter, recipe.train.attention)
    key = (*what, bool(recipe.train.epochs), dtype, layers, rows, length, act, checkpointed)
    if key in _simulations:
        return _simulations[key]

    def build() -> HeadModel:
        head_model = built(recipe, config, dtype, layers=layers)
        if checkpointed:
            loading.recompute_activations(head_model.model)
        return head_model

    half = None if dtype == "fp32" else torch.bfloat16  # as wide as float16, and known to a CPU's kernels
    lived = memory_use.simulate_batch(build, rows, length, act, half)
    return _simulations.setdefault(key, lived)


def _activations(recipe: Recipe, config: Any, dtype: str, depth: int) -> int:
    """Bytes beside weights, gradients and moments at the fullest moment of a micro-batch."""
    rows, length = _shape(recipe, recipe.train.batch_tokens)
    simulate_batch = functools.partial(_simulated, recipe, config, dtype)
    one = simulate_batch(1, rows, length, "step")
    if depth == 0:
        return one.kept + one.passing
    period = _period(config)
    checkpointed = recipe.train.gradient_checkpointing
    if checkpointed:
        # what lies between layers is kept; one layer at a time lives through its own step
        first = simulate_batch(1, rows, length, "keep", True).kept
        more = simulate_batch(1 + period, rows, length, "keep", True).kept
        return round((depth - 1) * (more - first) / period) + one.kept + one.passing
    more = simulate_batch(1 + period, rows, length, "keep").kept
    return round(one.kept + (depth - 1) * (more - one.kept) / period) + one.passing


def _period(config: Any) -> int:
    """Layers after which their kinds repeat (sliding and full attention in turn)."""
    kinds = list(getattr(config, "layer_types", None) or [])
    for period in range(1, len(kinds)):
        if kinds[period:] == kinds[:-period]:
            return period
    return 1
