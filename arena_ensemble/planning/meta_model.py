"""A recipe's model with shapes and no weights: its configuration, its number type, the model itself."""

from __future__ import annotations

import copy
from typing import Any, Final

import torch

from ..backbones import head_of
from ..backbones.language import loading
from ..backbones.language.adapters import attach, float32_head, head_parameters
from ..backbones.language.heads import HeadModel
from ..backbones.language.opening import BuildHead
from ..backbones.registry import engine_of
from ..errors import RecipeError
from ..recipes import Recipe
from .gpus import Gpu
from .shapes import SHAPES

_TORCH: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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


def dtype_on(gpu: Gpu, recipe: Recipe, config: Any) -> str:
    """What ``train.precision`` comes to on that GPU, as the engine's policy decides on the device."""
    if recipe.train.precision != "auto":
        return recipe.train.precision
    return loading.precision_on_gpu(config, bf16=gpu.bf16)


def meta_model(recipe: Recipe, config: Any, dtype: str, *, layers: int | None = None) -> HeadModel:
    """The recipe's model on the meta device, with head and adapters, marked for training as the engine does.

    ``layers`` keeps only so many layers, all of them adapted: what one layer costs is measured there.

    Raises
    ------
    RecipeError
        The recipe's head is not registered or stands on no language model.
    """
    import transformers
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
    chosen = recipe.train.attention
    if getattr(config, "attn_logit_softcapping", None):
        chosen = "eager"
    elif chosen == "flash_attention_2":  # counts and keeps the same, and need not be installed here
        chosen = "sdpa"
    if chosen != "auto":
        options["attn_implementation"] = chosen
    labels = head_of(recipe.backbone).labels
    if labels is not None:
        config.num_labels = labels
    loader = transformers.AutoModelForSequenceClassification if labels else transformers.AutoModelForCausalLM
    with torch.device("meta"), no_init_weights():
        model = loader.from_config(config, **options)
        model.tie_weights()  # a model without values is not tied when it is built
        head = head_parameters(model, set()) if labels else set()
        if recipe.train.epochs:
            attach(model, settings, head)
        else:
            model.requires_grad_(False)
        if dtype != "fp32":
            float32_head(model, head)
        return build(model, recipe, None)
