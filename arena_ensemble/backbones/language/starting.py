"""Weights to start from: another member's fold, or a PEFT adapter that another tool trained."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch

from ...errors import ArtifactError, RecipeError
from . import adapters
from .base_folder import ADAPTER_CONFIG
from .base_identity import BaseIdentity
from .model import MemberModel
from .peft_import import completed, read_adapter
from .reward_base import with_own_score

_log = logging.getLogger(__name__)
_REWARD_HEADS = ("model.score.", "model.classifier.")


def start_from(member: MemberModel, folder: Path) -> dict[str, Any]:
    """Put the weights of ``folder`` into a fresh model; facts for the card.

    Low-rank weights must all be there. A head of another kind or size is left out where training follows:
    the member's own then starts fresh. A reward model's head of one output becomes the score of the reward
    head, whose ties start at nothing.

    Parameters
    ----------
    folder
        A PEFT adapter, or a fitted fold of this package.

    Raises
    ------
    ArtifactError
        It is neither, is broken, or lacks a weight that is not trained here.
    RecipeError
        It was trained on another base or with other adapter settings than the recipe's.
    """
    recipe = member.encoder.recipe
    trained = adapters.trained_parameters(member.head_model)
    if (folder / ADAPTER_CONFIG).is_file():
        kind = "PEFT adapter"
        tensors = completed(read_adapter(folder, recipe.adapter), trained, folder)
    else:
        kind = "fold"
        _check_fold(member, folder)
        tensors = adapters.read_weights(folder / adapters.WEIGHTS)
    one_output = _take_reward_score(tensors, trained) if recipe.backbone == "reward" else []
    fresh: list[str] = []
    if recipe.train.epochs:
        heads = {name for name in (*tensors, *member.head_parameters) if _is_head(name, member)}
        fresh = sorted(
            name
            for name in heads & trained.keys()
            if name not in tensors or tensors[name].shape != trained[name].shape
        )
        tensors = {name: t for name, t in tensors.items() if name not in heads or name in trained}
        tensors |= {name: trained[name].detach() for name in fresh}
        if fresh:
            _log.info("start %s: its head is of another kind; %s starts fresh", folder, ", ".join(fresh))
    adapters.put_weights(member.head_model, tensors, str(folder))
    return {"kind": kind, "fresh": fresh, **({"one_output": one_output} if one_output else {})}


def _is_head(name: str, member: MemberModel) -> bool:
    known = name in member.head_parameters or not name.startswith("model.")
    return known or name.removeprefix("model.").split(".")[0] in ("score", "classifier")


def _check_fold(member: MemberModel, folder: Path) -> None:
    """That a fitted fold was trained on this base, with these adapters."""
    try:
        kept = json.loads((folder / adapters.SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"train.start: {folder} is neither a PEFT adapter ({ADAPTER_CONFIG}) nor a fitted fold "
            f"({adapters.SETTINGS}): {error}"
        ) from None
    base = BaseIdentity.read(folder / adapters.BASE_RECORD, remedy="train the first stage again")
    if difference := base.difference(member.encoder.base()):
        raise RecipeError(
            f"train.start: {folder} was trained on another base ({kept.get('base')!r}): {difference}; give "
            "that base, or export the first stage with --merged and give its folder as base"
        )
    own = member.encoder.recipe.adapter.model_dump(mode="json")
    theirs = kept.get("adapter") or {}
    decisive = ("kind", "r", "alpha", "rslora", "dora", "target", "first_layer", "also")
    if wrong := [key for key in decisive if theirs.get(key, own[key]) != own[key]]:
        settings = ", ".join(f"{key} = {json.dumps(theirs[key])}" for key in wrong)
        raise RecipeError(f"train.start: {folder} was trained otherwise: under [adapter] write {settings}")


def _take_reward_score(tensors: dict[str, torch.Tensor], trained: dict[str, torch.nn.Parameter]) -> list[str]:
    """Make a reward model's one output the first of our two, ties at zero; the names that this changed."""
    taken = []
    for name in [name for name in tensors if name.startswith(_REWARD_HEADS) and name in trained]:
        own = with_own_score(tensors[name], trained[name].shape)
        if own is not None and len(tensors[name]) < len(trained[name]):
            tensors[name] = own
            taken.append(name)
    if taken:
        tensors.setdefault("tie_bias", torch.zeros(()))
    return taken
