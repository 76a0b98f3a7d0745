"""The heads by name: what is true of each, and the module that holds it.

Recipes are validated against this table and the planner asks it, so a new head is its module, one entry
here and a test. Nothing heavy is imported: a head's module is, when it is first asked for.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

from ..errors import RecipeError

if TYPE_CHECKING:
    from .base import Backbone


@dataclass(frozen=True)
class Head:
    """What the rest of the package must know of a kind of member without importing it.

    Parameters
    ----------
    module
        Dotted path of the module with ``prepare``, ``fit``, ``load`` and ``predict``; a head over a
        language model has an ``engine`` too (a ``LanguageModel`` of :mod:`.language.backbone`).
    needs_base
        Whether it stands on a pretrained or tiny language model. Without one it is small and needs no GPU.
    labels
        Outputs of the classification layer on top of the base; None where there is no such layer.
    causal
        Whether it predicts the next token, so that the base must be a causal language model.
    sequences_per_battle
        Sequences that a battle becomes: 1 where both responses stand in one, 2 where each has its own.
    swap_equivariant
        Whether exchanging the responses exchanges P(A) and P(B) whatever was learned. Such a head gains
        nothing from training on both orders or from predicting in both.
    zero_shot
        Whether ``train.epochs = 0`` makes sense: it may predict before any training.
    """

    module: str
    needs_base: bool = True
    labels: int | None = None
    causal: bool = False
    sequences_per_battle: int = 1
    swap_equivariant: bool = False
    zero_shot: bool = False


HEADS: Final[dict[str, Head]] = {
    "classify": Head("arena_ensemble.backbones.classify", labels=3),
    "generate": Head("arena_ensemble.backbones.generate", causal=True, zero_shot=True),
    # two outputs per response: its score s, and its share t in a tie
    "reward": Head(
        "arena_ensemble.backbones.reward",
        labels=2,
        sequences_per_battle=2,
        swap_equivariant=True,
        zero_shot=True,
    ),
    "lexical": Head("arena_ensemble.backbones.lexical", needs_base=False, swap_equivariant=True),
}
"""Every head by the name that a recipe's ``backbone`` gives it. A plain dictionary: a test or an extension
may add an entry before recipes are read."""


def head_of(name: str) -> Head:
    """The facts about the head of that name.

    Raises
    ------
    RecipeError
        No head has that name; the nearest one and all others are given.
    """
    if name not in HEADS:
        close = difflib.get_close_matches(name.lower(), HEADS, n=1, cutoff=0.5)
        nearest = f"the nearest is {close[0]!r}; " if close else ""
        raise RecipeError(f"unknown backbone {name!r}; {nearest}there are: {', '.join(HEADS)}")
    return HEADS[name]


def get(name: str) -> Backbone:
    """The backbone of that name: a module with ``prepare``, ``fit``, ``load`` and ``predict``.

    Raises
    ------
    RecipeError
        No head has that name.
    """
    return cast("Backbone", import_module(head_of(name).module))


def engine_of(name: str) -> Any:
    """The :class:`~arena_ensemble.backbones.language.backbone.LanguageModel` behind a head.

    Raises
    ------
    RecipeError
        No head has that name, or it stands on no language model.
    """
    engine = getattr(get(name), "engine", None)
    if engine is None:
        raise RecipeError(f"backbone {name!r} stands on no language model (its module has no 'engine')")
    return engine
