"""What a recipe will need before a GPU is rented: parameters, memory, time. All estimates, no download.

The architecture is instantiated from its configuration on the meta device, the engine's own adapters
are attached, and operations and bytes are counted there. What cannot be counted is assumed, and the
assumptions travel with the result.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from ..backbones.language.gradients import ENOUGH_TOKENS
from ..backbones.language.heads import HeadModel
from ..backbones.language.precision import overflows_fp16
from ..recipes import Recipe
from . import flops
from .footprint import Footprint, footprint, trained_depth
from .gpus import GIB, Gpu
from .meta_model import attention_for, config_of, dtype_on, meta_model
from .workload import Workload, batch_totals

CONTEXT: Final = int(0.75 * GIB)
"""CUDA context and libraries"""
FRAGMENTATION: Final = 0.05
EAGER_TRAFFIC: Final = 40.0
"""bytes moved per score and forward pass where attention is not fused: about ten passes over a matrix of
2 to 4 bytes each (scale, soft-cap, mask, softmax in float32, casts); twice that in the backward pass"""
BANDWIDTH_SHARE: Final = 0.8
"""of the GPU's peak bandwidth, for that traffic"""


@dataclass(frozen=True)
class Estimate:
    """Figures of one recipe on one GPU. Bytes, seconds and operations; every one an estimate."""

    name: str
    base: str
    shape_from: str
    card: str
    """the GPU's name"""
    dtype: str
    attention: str
    gradient_checkpointing: bool
    """whether layers are computed again in training, as the recipe says or the card's memory wants it"""
    batch_tokens: int
    """of a micro-batch in training: the recipe's, or a half of it that spares computing layers again"""
    parameters: int
    """of base and head, adapters not counted"""
    trained_parameters: int
    weight_bytes: int
    """frozen weights as stored on the GPU"""
    trained_bytes: int
    """adapters and head (or everything): float32, or bfloat16 with Kahan sums"""
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: int
    """kept for the backward pass of the fullest micro-batch, and what passes beside it"""
    logit_bytes: int
    full_vocabulary_logit_bytes: int
    """what the logits of the whole vocabulary at every position would take; never computed here"""
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
    """all folds, fitting, and predicting the held-out rows"""
    notes: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """Plain JSON values, marked as an estimate."""
        return {"estimate": True, **asdict(self), "notes": list(self.notes)}


def estimate(recipe: Recipe, gpu: Gpu, workload: Workload) -> Estimate:
    """Parameters, memory and time of one recipe on one GPU.

    Raises
    ------
    RecipeError
        As :func:`~.meta_model.config_of`, or settings that do not fit the base.
    """
    config, shape_from = config_of(recipe)
    dtype = dtype_on(gpu, recipe, config)
    model = meta_model(recipe, config, dtype)
    base: Any = model.model
    fused = base.config._attn_implementation != "eager"  # DeBERTa has no other
    attention = attention_for(recipe, config, dtype) if fused else "eager"
    recipe, memory = _as_trained(recipe, config, dtype, model, gpu)
    checkpointed = recipe.train.gradient_checkpointing is True
    passes = flops.count(
        model.model,
        config,
        causal=model.causal,
        fused=fused,
        checkpointed=checkpointed,
    )
    trained, read = batch_totals(recipe, workload)
    needed, performed = passes.training(trained) if recipe.train.epochs else (0.0, 0.0)
    prediction = passes.prediction(read)
    gpu_peak = gpu.single if dtype == "fp32" else gpu.half
    fit_seconds = performed / (gpu_peak * workload.train_utilisation)
    read_seconds = prediction / (gpu_peak * workload.read_utilisation)
    if not fused:
        fit_traffic, read_traffic = eager_seconds(recipe, config, gpu, model)
        fit_seconds += fit_traffic * trained.squares if recipe.train.epochs else 0.0
        read_seconds += read_traffic * read.squares
    return Estimate(
        name=recipe.name,
        base=recipe.base,
        shape_from=shape_from,
        card=gpu.name,
        dtype=dtype,
        attention=attention,
        gradient_checkpointing=checkpointed,
        batch_tokens=recipe.train.batch_tokens,
        train_flops=needed,
        performed_flops=performed,
        read_flops=prediction,
        implied_mfu=needed / (fit_seconds * gpu_peak) if fit_seconds else 0.0,
        fit_seconds=fit_seconds,
        read_seconds=read_seconds,
        gpu_hours=workload.folds * (fit_seconds + read_seconds) / 3600,
        padding_share=trained.padding_share if recipe.train.epochs else read.padding_share,
        train_tokens=round(trained.tokens) if recipe.train.epochs else 0,
        fits_training=needs(memory.train) <= gpu.memory,
        fits_reading=needs(memory.read) <= gpu.memory,
        notes=_notes(recipe, gpu, config, dtype),
        parameters=memory.parameters,
        trained_parameters=memory.trained,
        weight_bytes=memory.weights,
        trained_bytes=memory.own,
        gradient_bytes=memory.own if recipe.train.epochs else 0,
        optimizer_bytes=memory.optimizer,
        activation_bytes=memory.activations,
        logit_bytes=memory.logits,
        full_vocabulary_logit_bytes=memory.full_logits,
        train_peak_bytes=needs(memory.train),
        read_peak_bytes=needs(memory.read),
    )


def _as_trained(
    recipe: Recipe, config: Any, dtype: str, model: HeadModel, gpu: Gpu
) -> tuple[Recipe, Footprint]:
    """The recipe with ``gradient_checkpointing = "auto"`` resolved in the engine's order, and its memory.

    The engine tries it out on the card; here the estimated memory decides.
    """
    train = recipe.train
    if train.gradient_checkpointing != "auto":
        return recipe, footprint(recipe, config, dtype, model)
    tokens, choices = train.batch_tokens, []
    if recipe.loader != "unsloth":  # whose own is always on
        choices.append((tokens, False))
        while (tokens := tokens // 2) >= ENOUGH_TOKENS:
            choices.append((tokens, False))
    for tokens, again in [*choices, (train.batch_tokens, True)]:
        update = {"batch_tokens": tokens, "gradient_checkpointing": again}
        chosen = recipe.model_copy(update={"train": train.model_copy(update=update)})
        memory = footprint(chosen, config, dtype, model)
        if needs(memory.train) <= gpu.memory or not train.epochs:
            break
    return chosen, memory


def eager_seconds(recipe: Recipe, config: Any, gpu: Gpu, model: HeadModel) -> tuple[float, float]:
    """Seconds per squared row length, in training and in prediction, that unfused attention adds.

    Whole score matrices wait for memory, not for arithmetic.
    """
    traffic = EAGER_TRAFFIC * int(config.num_attention_heads) / (gpu.bandwidth * BANDWIDTH_SHARE)
    layers, depth = int(config.num_hidden_layers), trained_depth(recipe, config, model)
    often = layers + depth * (3 if recipe.train.gradient_checkpointing is True else 2)
    return traffic * often, traffic * layers


def needs(bytes_: float) -> int:
    """Bytes with fragmentation and the CUDA context."""
    return round(bytes_ * (1 + FRAGMENTATION)) + CONTEXT


def _notes(recipe: Recipe, gpu: Gpu, config: Any, dtype: str) -> tuple[str, ...]:
    notes = []
    if dtype == "bf16" and not gpu.bf16:
        notes.append(f"bf16 is not native on the {gpu.name}: far slower than these figures")
    if dtype == "fp16" and overflows_fp16(config):
        notes.append("this family overflows fp16")
    if recipe.adapter.quantise != "none":
        notes.append(f"{recipe.adapter.quantise}: the time to unpack weights is not counted")
    if not recipe.train.epochs:
        notes.append("nothing is trained" if recipe.has_weights else "zero-shot: nothing is trained")
    return tuple(notes)
