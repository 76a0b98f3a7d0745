"""From a recipe to a model on its device, before any training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from ...errors import RecipeError
from ...recipes import Recipe
from ..registry import engine_of
from . import adapters, loading, spread, tiny, unsloth_loader
from .encoder import PromptEncoder
from .heads import HeadModel
from .hidden_head import HiddenHead
from .kept import between_folds_of
from .model import MemberModel
from .reward_base import take_score
from .speedups import liger
from .speedups.fused_lora import fuse
from .text_decoder import refuse_packing, text_config

RUNNING: Final = ("device", "dtype", "attention", "kernels", "quantise")
"""Facts of a model that its predictions depend on beside its weights."""
BuildHead = Callable[[Any, Recipe, Any], HeadModel]
"""``build(model, recipe, tokenizer)``: the head over a loaded model. ``tokenizer`` is None where only shapes
matter, as in a plan."""


def open_encoder(recipe: Recipe, cache: Path, source: loading.Source | None = None) -> PromptEncoder:
    """The recipe's tokenizer and template. ``source`` is where the base lies, if not where the recipe says.

    Raises
    ------
    RecipeError, ArtifactError
        No such base, a window that it cannot take, or a tiny base that was not built yet.
    """
    if source is None:
        source = tiny.prepared(recipe, cache) if recipe.is_tiny else loading.source_of(recipe, cache)
    return PromptEncoder.open(recipe, source, cache)


def open_model(recipe: Recipe, *, cache: Path, source: loading.Source | None = None) -> MemberModel:
    """The recipe's base with fresh adapters and a fresh head, seeded by the recipe, in evaluation mode.

    Parameters
    ----------
    cache
        Folder of token ids, tiny bases and hidden states; a tiny base must have been prepared there.
    source
        Where the base lies, if not where the recipe says.

    Raises
    ------
    RecipeError, ArtifactError
        As :func:`open_encoder`, or the head is not registered or stands on no language model.
    """
    build: BuildHead = engine_of(recipe.backbone).build
    return fresh_model(open_encoder(recipe, cache, source), build)


def fresh_model(encoder: PromptEncoder, build: BuildHead) -> MemberModel:
    """As :func:`open_model`, of an encoder that is open already."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(encoder.recipe.seed)
        return build_model(encoder, build)


def build_model(encoder: PromptEncoder, build: BuildHead) -> MemberModel:
    """Base, adapters and head on the device. What is fresh is drawn from torch's random state, which the
    caller has seeded by the recipe."""
    return between_folds_of(encoder, partial(_built, encoder, build))


def _built(encoder: PromptEncoder, build: BuildHead) -> MemberModel:
    recipe = encoder.recipe
    unsloth = recipe.loader == "unsloth"
    policy = loading.choose_policy(recipe, encoder.config)
    if recipe.train.packing:
        refuse_packing(encoder.config)
    model, fresh = loading.load_model(encoder.source, recipe, policy, labels=encoder.head.labels)
    fast = not unsloth and liger.wanted(
        recipe.train.kernels, encoder.config, cuda=policy.device.type == "cuda"
    )
    if fast:
        liger.apply(model)
    head = adapters.head_parameters(model, fresh) if encoder.head.labels is not None else set()
    if recipe.has_weights:
        insert = partial(unsloth_loader.insert_adapters, model, recipe, head) if unsloth else None
        bf16 = loading.trains_bf16(recipe, policy)
        adapters.attach(model, recipe.adapter, head, bf16=bf16, insert=insert)
        if recipe.adapter.kind == "lora" and not unsloth:
            fuse(model)
    else:
        adapters.freeze(model, head)
    own_score = recipe.backbone == "reward" and take_score(model, Path(encoder.source.name), fresh)
    if recipe.backbone == "reward" and not recipe.has_weights and not own_score:
        raise RecipeError(
            f"member {recipe.name!r}: train.epochs = 0 takes the base's own score, and base {recipe.base!r} "
            "has no head of one output; give a reward model, set train.start to its adapter, or train it"
        )
    if policy.autocast:
        adapters.float32_head(model, head)
        adapters.leave_casts_to_autocast(model)
    if recipe.train.gradient_checkpointing is True and not unsloth:  # its own was turned on with the adapters
        loading.recompute_activations(model)
    head_model = build(model, recipe, encoder.tokenizer).to(policy.home)
    if not unsloth:
        head_model.patch_last_layer()
    head_model.eval()
    names = [f"model.{name}" for name in head]
    names += [name for name, _ in head_model.named_parameters() if not name.startswith("model.")]
    facts = {**_facts(model, head_model, policy, names), "quantise": recipe.adapter.quantise}
    facts["kernels"] = recipe.loader if unsloth else "liger" if fast else "plain"
    if own_score:
        facts["score"] = "the base's own"
    running = {name: facts[name] for name in RUNNING}
    facts |= spread.shard(head_model, policy.device, names)
    member = MemberModel(encoder, head_model, policy, names, facts, running=running)
    if recipe.adapter.kind == "frozen" and recipe.has_weights and _only_last_layer(head_model, head):
        member.hidden = _hidden_folder(member)
    return member


def _facts(model: Any, head_model: HeadModel, policy: loading.Policy, names: list[str]) -> dict[str, Any]:
    on_cpu = policy.device.type == "cpu"
    return {
        "device": str(policy.device) if on_cpu else torch.cuda.get_device_name(policy.device),
        "dtype": str(policy.dtype).removeprefix("torch."),
        "attention": str(getattr(text_config(model.config), "_attn_implementation", policy.attention)),
        "architecture": type(model).__name__,
        "last_layer": "where it is read" if head_model.positions else "whole",
        "parameters": sum(p.numel() for p in model.parameters()),
        "head_parameters": sorted(names),
    }


def _hidden_folder(member: MemberModel) -> Path:
    """The folder of a frozen base's vectors: one for each base, type and way to load it."""
    encoder, recipe = member.encoder, member.encoder.recipe
    kind = [encoder.base().digest(), member.facts["dtype"], member.facts["architecture"]]
    kind += [recipe.loader, recipe.adapter.quantise]
    return encoder.cache / "hidden" / hashlib.sha256(json.dumps(kind).encode()).hexdigest()[:16]


def _only_last_layer(head_model: HeadModel, head: set[str]) -> bool:
    """Whether all that a frozen base's head trains stands after its features, so these can be kept."""
    names = {name.rpartition(".")[0] for name in head}
    if not head:
        return True
    own = head_model.model.get_submodule(head_model.head_name)
    if isinstance(own, HiddenHead):
        return all(name.startswith(f"{head_model.head_name}.") for name in names)
    return names == {head_model.head_name} and isinstance(own, torch.nn.Linear)
