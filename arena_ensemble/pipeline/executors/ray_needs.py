"""What a task asks of a Ray cluster, from its recipe: cores, cards, memory, and its process's environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

from ...backbones import head_of
from ...backbones.language import hub
from ...recipes import Recipe
from .processes import THREAD_VARIABLES, WAITING

_GIB: Final = 2**30
_COPIES: Final = 3
"""of a base's file in memory on a CPU: 16-bit weights are computed in 32, and activations come beside"""
_OVERHEAD: Final = 2 * _GIB
"""of Python and the libraries"""
_HANDED_ON: Final = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "TOKENIZERS_PARALLELISM")


@dataclass(frozen=True)
class Needs:
    """Resources of one task; ``memory`` in bytes, 0 where nothing is known."""

    cpus: int
    gpus: int
    memory: int

    def options(self, recipe: Recipe) -> dict[str, Any]:
        """As Ray's ``options`` take them."""
        variables = dict.fromkeys(THREAD_VARIABLES, str(self.cpus)) | {WAITING: "passive"}
        variables |= {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
        if recipe.loader == "unsloth":  # a worker of another environment: its patches change other members
            variables["ARENA_ENSEMBLE_LOADER"] = recipe.loader
        found: dict[str, Any] = {"num_cpus": self.cpus, "runtime_env": {"env_vars": variables}}
        if self.gpus:
            found["num_gpus"] = self.gpus
        if self.memory:
            found["memory"] = self.memory
        return found


def needs(recipe: Recipe, *, gpus: bool) -> Needs:
    """What one fold of a member asks for; ``gpus``: whether the cluster has cards."""
    machine, based = recipe.machine, head_of(recipe.backbone).needs_base
    spread = machine.processes if based else 1
    cards = max(machine.gpus, spread) if based and gpus else 0
    memory = round(machine.memory_gib * _GIB)
    if not memory and based and not recipe.is_tiny:
        size = hub.weight_bytes(recipe)
        memory = 0 if size is None else size * (1 if cards else _COPIES) + _OVERHEAD
    return Needs(max(machine.cpus, spread), cards, memory)
