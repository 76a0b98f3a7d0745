"""A fitted fold of a member for other tools: a PEFT adapter, or the whole model with it merged in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..artifacts import cards
from ..artifacts.atomic import new_folder
from ..artifacts.members import MemberArtifacts
from ..artifacts.workspace import Workspace
from ..backbones.registry import engine_of, head_of
from ..errors import ArtifactError, InputError, RecipeError, StaleError
from ..recipes import load_recipe, with_bases

DTYPES: Final = ("fp32", "bf16", "fp16")


def export_member(
    workspace: Workspace,
    name: str,
    target: Path,
    *,
    fold: int = 0,
    merged: bool = False,
    dtype: str = "bf16",
    bases: Mapping[str, str | Path] | None = None,
) -> Path:
    """Write one fold's model into a new folder ``target``; nothing in the workspace changes.

    Parameters
    ----------
    merged
        The whole model, adapters merged in, in place of a PEFT adapter.
    dtype
        ``fp32``, ``bf16`` or ``fp16``: what a merged model is stored in.
    bases
        The member, or its base as the recipe writes it → the folder of the base here.

    Raises
    ------
    InputError
        No such fold, or ``target`` is there already.
    StaleError
        The recipe was edited since the fold was trained.
    RecipeError, ArtifactError
        The member has no language model or no adapter, or its files are broken.
    """
    if dtype not in DTYPES:
        raise InputError(f"--dtype {dtype}: choose one of {', '.join(DTYPES)}")
    if target.exists():
        raise InputError(f"{target} is there already; name another folder, or remove it")
    written = load_recipe(workspace.recipe_path(name))
    recipe = with_bases({name: written}, bases or {})[name]
    hub_id = written.base if written.is_on_hub else None
    if not head_of(recipe.backbone).needs_base:
        raise RecipeError(f"member {name!r} stands on no language model, so there is nothing to export")
    artifacts = MemberArtifacts(workspace, name)
    card, folder = artifacts.fold_card(fold), artifacts.fold_folder(fold)
    if card is None:
        raise InputError(
            f"member {name!r}: fold {fold} is not fitted ({folder}); train it with "
            f"`arena-ensemble oof --models {name}`, or name another --fold"
        )
    if card.key.recipe != recipe.fit_digest():
        raise StaleError(
            f"member {name!r}: its recipe was edited since fold {fold} was trained; put it back as it was"
        )
    if not cards.is_whole(folder, card):
        raise ArtifactError(
            f"{folder}: a file is missing or its SHA-256 differs from {cards.CARD}; remove {folder} and "
            "train it again"
        )
    from ..backbones.language import peft_export

    engine = engine_of(recipe.backbone)
    with new_folder(target) as partial:
        if merged:
            peft_export.export_merged(
                engine, folder, partial, recipe=recipe, cache=workspace.cache, dtype=dtype
            )
        else:
            peft_export.export_peft(
                engine, folder, partial, recipe=recipe, cache=workspace.cache, hub_id=hub_id
            )
    return target
