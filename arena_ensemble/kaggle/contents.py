"""What of a workspace travels: the ensemble, its members' fitted folds and recipes, and their bases."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..artifacts import cards
from ..artifacts.members import OOF, MemberArtifacts
from ..artifacts.workspace import ENSEMBLE, Workspace
from ..backbones import sixteen_bits
from ..backbones.language import gguf_base
from ..backbones.registry import head_of
from ..errors import InputError
from ..pipeline import averaging, fitted
from ..pipeline.arguments import UseFolds, folds_of
from ..pipeline.ensemble import Ensemble
from ..recipes import Recipe, folder_of, load_recipe
from .sources import KAGGLE_INPUT

BASES: Final = "bases"
WORKSPACE: Final = "workspace"


@dataclass(frozen=True)
class PackedMember:
    """A member in the pack."""

    name: str
    folds: int
    size: int
    """bytes of its fitted folds in the pack"""
    base: str = ""
    """where its base lies: a path inside the pack, or one below ``/kaggle/input/``; empty for none"""
    what: str = ""
    """its models in words: so many folds, ``refit`` or ``averaged``"""
    extras: tuple[str, ...] = ()
    """extras of this package that its prediction needs"""


def pack_members(
    workspace: Workspace,
    target: Path,
    *,
    bases: Mapping[str, str],
    half: bool = True,
    use_folds: UseFolds = None,
) -> list[PackedMember]:
    """Copy the finished ensemble and its members to ``target/workspace``.

    Parameters
    ----------
    bases
        Member name, or base as its recipe names it → a folder here, which is copied, or a path below
        ``/kaggle/input/``, which is only noted: a Kaggle Models folder.
    half
        Store adapters in float16.
    use_folds
        Whose models travel, as `workflow.predict` has it.

    Raises
    ------
    InputError
        A member is external, has no fitted models, or stands on a base that is neither here nor named.
    """
    ensemble = Ensemble.load(workspace)
    place = Workspace(target / WORKSPACE)
    folds = folds_of(use_folds)
    copied: dict[Path, str] = {}
    packed = [
        _pack_member(workspace, place, name, target, bases, half, folds, copied) for name in ensemble.members
    ]
    shutil.copytree(workspace.oof / ENSEMBLE, place.oof / ENSEMBLE, ignore=shutil.ignore_patterns("test.*"))
    if (
        unused := set(bases)
        - {one.name for one in packed}
        - {_recipe(workspace, m.name).base for m in packed}
    ):
        raise InputError(
            f"--base {sorted(unused)[0]}: no member of this ensemble and no member's base; members: "
            f"{', '.join(ensemble.members)}; give one of these names"
        )
    return packed


def _recipe(workspace: Workspace, name: str) -> Recipe:
    return load_recipe(workspace.recipe_path(name))


def _pack_member(
    workspace: Workspace,
    place: Workspace,
    name: str,
    target: Path,
    bases: Mapping[str, str],
    half: bool,
    use_folds: tuple[int, ...] | None,
    copied: dict[Path, str],
) -> PackedMember:
    member, copy = MemberArtifacts(workspace, name), MemberArtifacts(place, name)
    card = member.card()
    if card is not None and card.is_external:
        raise InputError(
            f"member {name!r} was imported: a notebook cannot make its predictions of a hidden test file; "
            "train it here, or stack without it"
        )
    recipe = _recipe(workspace, name)
    keys, names = fitted.chosen(member, use_folds, averages=head_of(recipe.backbone).needs_base)
    copy.models.mkdir(parents=True)
    shutil.copy2(workspace.recipe_path(name), copy.models / "recipe.toml")
    if recipe.prompt.own is not None:
        template = Path(recipe.prompt.template)  # inside the recipe's folder, or it would not have loaded
        (copy.models / template).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(workspace.recipe_path(name).parent / template, copy.models / template)
    for key in keys:
        assert key.fold is not None, "a fitted model is of one fold"
        averaging.to_load(member, recipe, key.fold)  # refused where it is not made yet
        folder = member.fitted_folder(key)
        assert folder is not None
        new = copy.models / folder.name
        shutil.copytree(folder, new)
        fold_card = copy.fold_card(key.fold)
        assert fold_card is not None
        head = fold_card.facts.get("head_parameters")  # a language model's: the lexical member is small
        if half and head is not None and sixteen_bits.store_half(new, head):
            facts = {**fold_card.facts, "stored": "adapters in float16"}
            cards.write_card(new, fold_card.model_copy(update={"facts": facts}), list(fold_card.files))
    copy.predictions.mkdir(parents=True)
    for file in (cards.CARD, OOF):  # out of fold: the ensemble is chosen again where a member fails
        if (member.predictions / file).is_file():
            shutil.copy2(member.predictions / file, copy.predictions / file)
    base = _pack_base(recipe, target, bases, workspace.cache, copied)
    what = names if names in ("refit", "averaged") else f"{len(keys)} folds"
    return PackedMember(name, len(keys), folder_size(copy.models), base, what, _extras(recipe))


def _extras(recipe: Recipe) -> tuple[str, ...]:
    """The extras without which a member cannot predict."""
    if not head_of(recipe.backbone).needs_base:
        return ()
    quantised = recipe.for_prediction().adapter.quantise != "none"
    return (*(["quantised"] if quantised else []), *(["unsloth"] if recipe.loader == "unsloth" else []))


def _pack_base(
    recipe: Recipe, target: Path, bases: Mapping[str, str], cache: Path, copied: dict[Path, str]
) -> str:
    """Copy the base of a member, once for all that share it, or note where Kaggle has it.

    ``copied`` is folder → its place in the pack: folders of one name (a version's number) may be two bases.

    One in GGUF travels dequantised, so that the notebook needs no reader.
    """
    if recipe.is_tiny or not head_of(recipe.backbone).needs_base:
        return ""
    given = bases.get(recipe.name) or bases.get(recipe.base)
    if given is not None and given.startswith(KAGGLE_INPUT):
        return given
    folder: Path | None = None
    if given is None or folder_of(given).exists():
        if given is not None:
            recipe = recipe.model_copy(update={"base": str(folder_of(given)), "revision": ""})
        file = gguf_base.gguf_of(recipe)
        folder = recipe.base_path() if file is None else gguf_base.dequantised(file, cache)
    if folder is None or not folder.is_dir():
        raise InputError(
            f"member {recipe.name!r}: its base {given or recipe.base!r} is no folder here; give "
            f"--base {recipe.name}=DIR, which is copied, or --base {recipe.name}={KAGGLE_INPUT}… for a base "
            "among Kaggle's Models"
        )
    real = folder.resolve()
    if real not in copied:
        inside = Path(BASES) / real.name
        if (target / inside).exists():
            inside = inside.with_name(f"{real.name}-{len(copied)}")
        shutil.copytree(folder, target / inside, ignore=shutil.ignore_patterns(".git", ".cache"))
        copied[real] = str(inside)
    return copied[real]


def digest_of_cards(folder: Path) -> str:
    """SHA-256 of all cards below a folder, each of which has those of its files."""
    found = sorted(folder.rglob(cards.CARD))
    return hashlib.sha256(b"".join(path.read_bytes() for path in found)).hexdigest()


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
