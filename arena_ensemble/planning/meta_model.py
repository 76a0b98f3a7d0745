"""A recipe's model with shapes and no weights: its configuration, its number type, the model itself."""

from __future__ import annotations

import copy
from typing import Any, Final

import torch

from ..backbones import head_of
from ..backbones.language import gguf_base, loading
from ..backbones.language.adapters import attach, float32_head, freeze, head_parameters
from ..backbones.language.attention import (
    EXPANDED,
    Card,
    choose_attention,
    expand_shared_heads,
    needs_expanding,
    soft_capped,
)
from ..backbones.language.heads import HeadModel
from ..backbones.language.hidden_head import put_hidden_layer
from ..backbones.language.opening import BuildHead
from ..backbones.language.optimizers import keeps_bf16
from ..backbones.language.precision import precision_on_gpu
from ..backbones.language.text_decoder import DecoderClassifier, auto_class, text_config, text_decoder
from ..backbones.registry import engine_of
from ..errors import RecipeError
from ..recipes import Recipe
from .gpus import Gpu
from .shapes import SHAPES

_TORCH: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def config_of(recipe: Recipe) -> tuple[Any, str]:
    """The base's configuration, and where it came from.

    A GGUF file's header or a local folder first, then what this machine has already downloaded, then the
    table of published shapes, then the hub.

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
    if recipe.base.startswith(gguf_base.PACKAGE) and recipe.base in SHAPES:
        return _published(recipe.base)
    file = gguf_base.gguf_of(recipe)
    if file is not None:
        return gguf_base.config_of(file), str(file)
    source = loading.named_source(recipe)
    if recipe.base_path() is not None:
        return text_config(loading.load_config(source)), source.name
    try:
        found = AutoConfig.from_pretrained(source.name, local_files_only=True, **source.options)
        return text_config(found), "local cache"
    except (OSError, ValueError):
        pass  # never downloaded here
    if recipe.base in SHAPES:
        return _published(recipe.base)
    return text_config(loading.load_config(source)), "hub"


def _published(base: str) -> tuple[Any, str]:
    from transformers import AutoConfig

    shape = SHAPES[base]
    return AutoConfig.for_model(shape.model_type, **shape.values), "table of published shapes"


def dtype_on(gpu: Gpu, recipe: Recipe, config: Any) -> str:
    """What ``train.precision`` comes to on that GPU, as the engine's policy decides on the device."""
    if recipe.train.precision != "auto":
        return recipe.train.precision
    return precision_on_gpu(config, bf16=gpu.bf16)


def attention_for(recipe: Recipe, config: Any, dtype: str) -> str:
    """What ``train.attention`` comes to on a GPU where the model computes in ``dtype``, without flash_attn.

    bf16 stands for compute capability 8.0 and later; float16 and float32 for older cards, whose fused kernel
    wants keys and values repeated.
    """
    card = Card((8, 0) if dtype == "bf16" else (7, 5))
    chosen: str = recipe.train.attention
    if chosen == "auto":
        chosen = choose_attention("auto", config, _TORCH[dtype], card) or "sdpa"
    return EXPANDED if chosen == "sdpa" and needs_expanding(_TORCH[dtype], card) else chosen


def meta_model(recipe: Recipe, config: Any, dtype: str, *, layers: int | None = None) -> HeadModel:
    """The recipe's model on the meta device, with head and adapters, marked for training as the engine does.

    ``layers`` keeps only so many layers, all of them adapted: what one layer costs is measured there.

    Raises
    ------
    RecipeError
        The recipe's head is not registered or stands on no language model.
    """
    from transformers.initialization import no_init_weights

    build: BuildHead = engine_of(recipe.backbone).build
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
    attention = attention_for(recipe, config, dtype)
    if attention == "eager":
        options["attn_implementation"] = "eager"
    fused_cap = attention != "eager" and soft_capped(config)
    labels = head_of(recipe.backbone).labels
    if labels is not None:
        config.num_labels = labels
    loader, own_head = auto_class(config, labels)
    with torch.device("meta"), no_init_weights():
        model = loader.from_config(config, **options)
        if own_head and labels is not None:
            model = DecoderClassifier(model, labels)
        if labels is not None:
            put_hidden_layer(model, recipe.head)
        if fused_cap:  # a kernel that knows the cap keeps what PyTorch's keeps without it
            for part in model.modules():
                if hasattr(part, "attn_logit_softcapping"):
                    part.attn_logit_softcapping = None
            model.config._attn_implementation = "sdpa"
        if attention == EXPANDED:
            expand_shared_heads(text_decoder(model))
        model.tie_weights()  # a model without values is not tied when it is built
        head = head_parameters(model, set()) if labels else set()
        if recipe.has_weights:
            bf16 = keeps_bf16(recipe.train.optimizer, settings.kind, _TORCH[dtype])
            attach(model, settings, head, bf16=bf16)
        else:
            freeze(model, head)
        if dtype != "fp32":
            float32_head(model, head)
        return build(model, recipe, None)
