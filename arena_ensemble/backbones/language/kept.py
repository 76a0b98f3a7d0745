"""One base for several folds: a model goes back to what it was when it was built, to the bit.

Folds of one member start from the same seed, so what a fresh model has is the same each time: the frozen
base, adapters and head as they were drawn, and the random state after that. Trained weights are small where
the base is frozen and are kept as copies. Where prediction merges the adapters into the base, adding and
subtracting does not give the old bits back, so the merged layers' weights are kept too, on the device or in
main memory, where one of them holds them. Else the base is loaded again, as without all this.
"""

from __future__ import annotations

import copy
import gc
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from .. import between_folds
from .adapters import merged_layers, trained_parameters
from .encoder import PromptEncoder
from .model import MemberModel
from .out_of_memory import random_state, set_random_state

_MODEL: Final = "model"
_PREDICTION: Final = ("description", "read_orders", "second_order_share", "predict")
_SCHEDULE: Final = ("epochs", "early_stopping", "batch_tokens", "checkpoint_minutes", "checkpoint_every")
"""Settings that no built model depends on, and that differ between the folds' models and the refit's."""
_SHARE_OF_MEMORY: Final = 0.5
"""of what is free may hold copies of merged layers"""


def between_folds_of(encoder: PromptEncoder, build: Callable[[], MemberModel]) -> MemberModel:
    """What ``build`` returns once the recipe's seed was set; built once where bases are kept."""
    shelf = between_folds.shelf()
    if shelf is None or not _may_be_kept(encoder):
        if shelf is not None:
            _release(shelf)
        return build()
    key = _key(encoder)
    kept: KeptModel | None = shelf.get(_MODEL)
    if kept is None or kept.key != key or not kept.restore():
        del kept
        _release(shelf)
        shelf[_MODEL] = kept = KeptModel.of(key, build())
    return kept.member(encoder)


def _release(shelf: between_folds.Shelf) -> None:
    """Drop the kept model before another is loaded: both may be too many for the memory."""
    if shelf.pop(_MODEL, None) is not None:
        gc.collect()  # modules refer to each other in circles


def _may_be_kept(encoder: PromptEncoder) -> bool:
    """Not where the base itself is trained, is patched by unsloth, or has positions that remember lengths."""
    recipe = encoder.recipe
    if recipe.loader == "unsloth" or recipe.adapter.kind == "full" or recipe.adapter.also:
        return False
    config = encoder.config
    rope = json.dumps(
        [getattr(config, name, None) for name in ("rope_parameters", "rope_scaling")], default=str
    )
    return "dynamic" not in rope and "longrope" not in rope


def _key(encoder: PromptEncoder) -> str:
    recipe = encoder.recipe
    values = {name: value for name, value in recipe.settings().items() if name not in _PREDICTION}
    values["train"] = {name: value for name, value in values["train"].items() if name not in _SCHEDULE}
    values["weights"] = recipe.has_weights
    values["source"] = [encoder.source.name, encoder.source.options, encoder.base().digest()]
    return json.dumps([values, encoder.store.digest], sort_keys=True, default=str)


@dataclass(eq=False)
class KeptModel:
    """A model as it was built, and what it takes to make it so again."""

    key: str
    built: MemberModel
    initial: list[tuple[torch.Tensor, torch.Tensor]]
    """trained weights and buffers, and what was in them"""
    random: dict[str, torch.Tensor]
    base_weights: list[tuple[Any, torch.Tensor]]
    """layers with adapters and their base weights before a merge; empty until there is one"""
    lost: bool = False
    """whether adapters were merged without a copy"""

    @classmethod
    def of(cls, key: str, built: MemberModel) -> KeptModel:
        """Of a model that was built just now."""
        head_model = built.head_model
        tensors = [*trained_parameters(head_model).values(), *head_model.buffers()]
        initial = [(tensor.detach(), tensor.detach().clone()) for tensor in tensors]
        return cls(key, built, initial, random_state(built.policy.device), [])

    def member(self, encoder: PromptEncoder) -> MemberModel:
        """The model under an encoder of its own, whose recipe may predict otherwise."""
        facts = copy.deepcopy(self.built.facts)
        return replace(self.built, encoder=encoder, facts=facts, before_merge=self.keep_base_weights)

    def keep_base_weights(self) -> None:
        """Copy what merging is about to change, once, if the memory allows it."""
        if self.base_weights or self.lost:
            return
        layers = merged_layers(self.built.head_model)
        place = room_for(
            sum(weight.numel() * weight.element_size() for _, weight in layers), self.built.policy.device
        )
        if place is None:
            self.lost = True
            return
        self.base_weights = [(layer, weight.detach().to(place, copy=True)) for layer, weight in layers]

    def restore(self) -> bool:
        """Make everything what it was when it was built; False where that cannot be."""
        if self.lost:
            return False
        head_model = self.built.head_model
        with torch.no_grad():
            for layer, weight in self.base_weights:
                layer.get_base_layer().weight.copy_(weight)
                layer.merged_adapters.clear()
            for tensor, value in self.initial:
                tensor.copy_(value)
        for parameter in head_model.parameters():
            parameter.grad = None
        head_model.eval()
        set_random_state(self.random, self.built.policy.device)
        return True


def room_for(size: int, device: torch.device) -> torch.device | None:
    """Where copies of so many bytes may lie: on the device, else in main memory, else nowhere."""
    places = dict.fromkeys((device, torch.device("cpu")))
    return next((place for place in places if size <= _SHARE_OF_MEMORY * free_bytes(place)), None)


def free_bytes(device: torch.device) -> int:
    """Memory that is free on the device, or on this machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        [line] = [line for line in lines if line.startswith("MemAvailable:")]
        return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
