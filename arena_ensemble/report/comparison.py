"""Two ensembles on the battles that both predicted: paired differences, and what changed between them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ..artifacts.cards import CARD
from ..artifacts.members import OOF, MemberArtifacts
from ..artifacts.workspace import ENSEMBLE, Workspace
from ..battles import Battles, match_rows
from ..errors import ArenaError, InputError
from ..metrics import Paired, paired_difference, row_losses
from ..pipeline.ensemble import Ensemble, load_folder
from ..predictions import Floats, Predictions
from .battle_view import BattleView, members_out_of_fold, out_of_fold


@dataclass(frozen=True, eq=False)
class Made:
    """An ensemble, where it lies, and the workspace of its members where there is one."""

    built: Ensemble
    folder: Path
    workspace: Workspace | None


@dataclass(frozen=True)
class Change:
    """A setting that differs; empty where one of the two has none."""

    what: str
    here: str
    there: str


@dataclass(frozen=True, eq=False)
class Comparison:
    """This ensemble less the other, on their common battles; negative differences mean this one is better.

    ``differences`` holds the ensemble under ``"ensemble"`` and every member of both. ``losses`` (n,), this
    ensemble's less the other's, and ``groups`` (n,) are of the common ``battles``.
    """

    name: str
    common: int
    only_here: int
    only_there: int
    here: float
    there: float
    differences: Mapping[str, Paired]
    battles: Battles
    losses: Floats
    groups: npt.NDArray[np.int64]
    changes: tuple[Change, ...]


def open_made(place: Path) -> Made:
    """The ensemble of a workspace, or of the folder that ``stack --labels`` or ``panel`` wrote.

    Raises
    ------
    InputError
        There is none of the two.
    """
    workspace = Workspace(place)
    inside = workspace.oof / ENSEMBLE
    if (inside / CARD).is_file():
        return Made(load_folder(inside), inside, workspace)
    if (place / CARD).is_file():
        return Made(load_folder(place), place, None)
    raise InputError(
        f"--against {place}: no ensemble there; name a workspace in which `arena-ensemble stack` was run, or "
        "a folder that `stack --labels` or `panel` wrote"
    )


def compare(here: Made, view: BattleView, there: Made) -> Comparison:
    """Pair the losses of two ensembles, and of the members that both have, by id.

    Raises
    ------
    InputError
        They have no battle in common.
    """
    other = out_of_fold(there.built, there.folder)
    ids = view.battles.ids
    wanted = other.ids if other.ids.dtype == ids.dtype else other.ids.cast(pl.String)
    mine = ids if other.ids.dtype == ids.dtype else ids.cast(pl.String)
    rows = match_rows(wanted, mine)
    common = np.flatnonzero(rows >= 0)
    if not len(common):
        raise InputError(
            f"--against {there.folder}: no battle in common; compare ensembles of the same battles"
        )
    y = view.outcomes[common]
    groups = view.groups[common]
    pairs: dict[str, tuple[Floats, Floats]] = {
        ENSEMBLE: (view.ensemble[common], other.combined().log_probs[rows[common]])
    }
    theirs = {} if there.workspace is None else members_out_of_fold(there.built, there.workspace)
    for name in view.members:
        if name in theirs:
            pairs[name] = (view.members[name][common], _aligned(theirs[name], wanted)[rows[common]])
    losses = {name: (row_losses(a, y), row_losses(b, y)) for name, (a, b) in pairs.items()}
    first, second = losses[ENSEMBLE]
    return Comparison(
        name=str(there.folder if there.workspace is None else there.workspace.root),
        common=len(common),
        only_here=len(ids) - len(common),
        only_there=len(other) - len(common),
        here=float(first.mean()),
        there=float(second.mean()),
        differences={name: paired_difference(a, b, groups) for name, (a, b) in losses.items()},
        battles=view.battles.take(common),
        losses=first - second,
        groups=groups,
        changes=tuple(changes(here, there)),
    )


def _aligned(member: Predictions, ids: pl.Series) -> Floats:
    """(n, 3) in the order of the ensemble's rows."""
    given = member.ids if member.ids.dtype == ids.dtype else member.ids.cast(pl.String)
    return member.combined().log_probs[match_rows(given, ids)]


def changes(here: Made, there: Made) -> Iterator[Change]:
    """What differs in data, folds, members, recipes and versions, as far as cards and recipes tell."""
    mine, other = here.built.card, there.built.card
    first = {} if mine.key is None else mine.key.model_dump()
    second = {} if other.key is None else other.key.model_dump()
    for what in ("data", "folds", "seed", "n_classes"):
        if first.get(what) != second.get(what):
            yield Change(what, _short(first.get(what)), _short(second.get(what)))
    for name in dict.fromkeys([*mine.members, *other.members]):
        if name not in other.members or name not in mine.members:
            yield Change(f"member {name}", *("yes" if name in of.members else "" for of in (mine, other)))
            continue
        yield from _recipe_changes(name, here, there)
        digests = [_predictions(name, of) for of in (here, there)]
        if digests[0] != digests[1]:
            yield Change(f"{name}: predictions", *map(_short, digests))
    versions = [one.get("versions") or {} for one in (first, second)]
    for name in dict.fromkeys([*versions[0], *versions[1]]):
        if versions[0].get(name) != versions[1].get(name):
            yield Change(f"version of {name}", *(str(one.get(name, "")) for one in versions))


def _recipe_changes(name: str, here: Made, there: Made) -> Iterator[Change]:
    recipes = [_recipe(name, of) for of in (here, there)]
    for key in dict.fromkeys([*recipes[0], *recipes[1]]):
        values = [one.get(key) for one in recipes]
        if values[0] != values[1]:
            yield Change(f"{name}: {key}", *("" if value is None else str(value) for value in values))


def _recipe(name: str, made: Made) -> dict[str, Any]:
    """The recipe as it lies in the workspace now, its keys with their sections; empty where there is none."""
    if made.workspace is None:
        return {}
    try:
        text = made.workspace.recipe_path(name).read_text(encoding="utf-8")
        return dict(_flat(tomllib.loads(text)))
    except (ArenaError, OSError, ValueError):
        return {}  # an external member, or a recipe that is being edited: its digest still tells


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _predictions(name: str, made: Made) -> str:
    if made.workspace is None:
        return ""
    card = MemberArtifacts(made.workspace, name).card()
    return "" if card is None else card.files.get(OOF, "")


def _short(value: Any) -> str:
    """A digest by its beginning."""
    return "" if value is None else str(value)[:12]
