"""The registry of backbones: a name, the module that makes it. Nothing is imported until asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Final, cast

from ..errors import RecipeError
from .base import Backbone

MODULES: Final = {
    "classify": "arena_ensemble.backbones.classify",
    "generate": "arena_ensemble.backbones.generate",
    "reward": "arena_ensemble.backbones.reward",
    "lexical": "arena_ensemble.backbones.lexical",
}


def get(name: str) -> Backbone:
    """The backbone of that name: a module with ``prepare``, ``fit``, ``load`` and ``predict``.

    Raises
    ------
    RecipeError
        No backbone has that name.
    """
    if name not in MODULES:
        raise RecipeError(f"unknown backbone {name!r}; there are: {', '.join(MODULES)}")
    return cast(Backbone, import_module(MODULES[name]))
