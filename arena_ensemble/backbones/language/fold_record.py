"""What a fold stands on, kept in its folder: the base's content, the tokenizer, the template.

None of it is in a fold's key, for it is known only where the base is. So a fold that is loaded, goes on in
another session, or has finished folds beside it, is held against its record.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from ...artifacts import atomic
from ...errors import ArtifactError, StaleError
from ...recipes import Recipe
from . import adapters
from .base_identity import BaseIdentity
from .encoder import PromptEncoder, identity

_NAMES: Final = {"tokenizer": "tokenizer", "template": "template", "literals": "chat template"}
"""In this order: another tokenizer also writes the template otherwise."""


def begin(folder: Path, encoder: PromptEncoder) -> None:
    """Note what a fold in training stands on."""
    atomic.write_bytes(folder / adapters.BASE_RECORD, encoder.base().to_json().encode())
    atomic.write_json(folder / adapters.SETTINGS, identity(encoder))


def check_begun(folder: Path, encoder: PromptEncoder) -> None:
    """Make sure that a fold in training goes on upon what it was begun on; an older version noted nothing.

    Raises
    ------
    StaleError
        The base, its tokenizer or the prompt is another.
    """
    if (folder / adapters.BASE_RECORD).is_file() and (folder / adapters.SETTINGS).is_file():
        check(folder, read_settings(folder), encoder)


def read_settings(folder: Path) -> dict[str, Any]:
    """What is kept beside the weights of a fitted fold.

    Raises
    ------
    ArtifactError
        It cannot be read.
    """
    try:
        return dict(json.loads((folder / adapters.SETTINGS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(
            f"{folder / adapters.SETTINGS}: cannot be read ({error}); train this fold again"
        ) from None


def check(folder: Path, kept: dict[str, Any], encoder: PromptEncoder) -> None:
    """Make sure that base, tokenizer and prompt are those of the fold in ``folder``.

    Parameters
    ----------
    kept
        Its settings.

    Raises
    ------
    StaleError
        One of them is another.
    """
    recipe = encoder.recipe
    now = identity(encoder)
    for name, called in _NAMES.items():
        if kept.get(name) != now[name]:
            raise StaleError(
                f"{folder}: was trained with another {called} than the recipe and the base "
                f"{recipe.base!r} give; {_remedy(recipe)}"
            )
    check_base(folder, recipe, encoder.base())


def check_base(folder: Path, recipe: Recipe, now: BaseIdentity) -> None:
    """Make sure that a base is the one that the fold in ``folder`` was trained on.

    Raises
    ------
    StaleError
        It is another; the first difference is named.
    """
    kept = BaseIdentity.read(folder / adapters.BASE_RECORD, remedy=_anew(recipe))
    if difference := kept.difference(now):
        raise StaleError(
            f"{folder}: was trained on another base model than {recipe.base!r}: {difference}; "
            f"{_remedy(recipe)}"
        )


def _remedy(recipe: Recipe) -> str:
    name = recipe.name or "NAME"
    return (
        f"give the one that it was trained on (base in the recipe, or --base {name}=DIR), or {_anew(recipe)}"
    )


def _anew(recipe: Recipe) -> str:
    return f"train the member anew with --retrain {recipe.name}" if recipe.name else "train this fold again"
