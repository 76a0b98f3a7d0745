"""The recipes of a run: where bases lie on this machine, and which members may be forgotten first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..artifacts.workspace import Workspace
from ..backbones.language import hub
from ..errors import ArenaError, ArtifactError, InputError, did_you_mean
from ..recipes import Recipe, folder_of, load_recipe, with_bases
from .imported import is_external


def recipes_of(
    workspace: Workspace,
    names: Sequence[str],
    *,
    offline: bool,
    bases: Mapping[str, str | Path] | None = None,
    partly: bool = False,
) -> dict[str, Recipe]:
    """The recipes; a missing folder, or offline a missing hub file, is named before any work.

    ``bases`` says where bases lie on this machine; ``partly`` passes over those of other members.

    Raises
    ------
    RecipeError
        A recipe is missing or wrong, or its base is neither a model folder nor within reach.
    """
    if offline:
        hub.go_offline()
    recipes = {name: load_recipe(workspace.recipe_path(name)) for name in names}
    recipes = with_bases(recipes, bases or {}, partly=partly)
    for recipe in recipes.values():
        hub.check_base(recipe)
    return recipes


def recipes_and_refusals(
    workspace: Workspace,
    names: Sequence[str],
    *,
    offline: bool,
    bases: Mapping[str, str | Path] | None = None,
) -> tuple[dict[str, Recipe], dict[str, ArenaError]]:
    """The recipes, and of the members whose recipe or base is out of reach, why.

    Raises
    ------
    RecipeError
        ``bases`` names what is neither a member nor a base: a slip that would cost members.
    """
    written: dict[str, Recipe] = {}
    recipes: dict[str, Recipe] = {}
    lost: dict[str, ArenaError] = {}
    for name in names:
        try:
            written[name] = load_recipe(workspace.recipe_path(name))
            recipes |= recipes_of(workspace, [name], offline=offline, bases=bases, partly=True)
        except ArenaError as refusal:
            lost[name] = refusal
    if len(written) == len(names):  # else it may be the base of a recipe that cannot be read
        excused = {*lost, *(recipe.base for name, recipe in written.items() if name in lost)}
        check_bases(written | recipes, {at: to for at, to in (bases or {}).items() if at not in excused})
    return recipes, lost


def check_bases(recipes: Mapping[str, Recipe], bases: Mapping[str, str | Path] | None) -> None:
    """Raise RecipeError where ``bases`` names what no recipe of :func:`recipes_of` has taken."""
    used = {recipe.base for recipe in recipes.values()}
    with_bases(recipes, {name: at for name, at in (bases or {}).items() if str(folder_of(at)) not in used})


def check_retrain(workspace: Workspace, anew: Sequence[str], names: Sequence[str]) -> None:
    """Raise InputError where a member to forget is none of those that are trained now."""
    for name in anew:
        if name not in names:
            raise InputError(
                f"--retrain {name}: not among the members of this run ({', '.join(names)})"
                + did_you_mean(name, names)
            )
        try:
            external = is_external(workspace, name)
        except ArtifactError:  # damaged, or of an older version: to be made anew for that reason
            continue
        if external:
            raise InputError(
                f"--retrain {name}: its predictions were imported and cannot be made here; give the new ones "
                f"with `arena-ensemble import {name} --oof FILE`"
            )
