"""What a fold learns from beside its own battles: extra battles, and a teacher's probabilities.

Both can carry a held-out row into training, so both are checked here: an extra battle never trains
against a fold that shares its group or a near-duplicate of its prompt, and a teacher may teach a row
only by what it said of it out of fold, under the same fold file.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from . import member_files, readers, store
from .battles import Battles
from .errors import InputError, RecipeError, StaleError
from .folds import Folds, may_train
from .predictions import Floats, Predictions
from .recipes import Recipe

log = logging.getLogger(__name__)

_LARGEST_WEIGHT: Final = 1e6


@dataclass(frozen=True, eq=False)
class Extra:
    """Extra training battles.

    ``weights`` is (n,), ``may`` (n, n_folds): whether a battle may train against a validation fold;
    ``sources`` says file, rows and weight of each file, for the cards.
    """

    battles: Battles
    weights: Floats
    may: npt.NDArray[np.bool_]
    sources: tuple[dict[str, Any], ...]

    @property
    def digest(self) -> str:
        """What the folds trained with these battles are keyed by."""
        content = [self.battles.digest(), self.weights.tolist(), np.packbits(self.may).tolist()]
        return store.digest_json(content)

    def facts(self, fold: int) -> dict[str, Any]:
        """For the card of a fold: how many battles joined it and how many were held back."""
        used = int(self.may[:, fold].sum())
        return {"files": list(self.sources), "used": used, "held_back": len(self.battles) - used}


@dataclass(frozen=True, eq=False)
class Teacher:
    """A teacher's natural-log probabilities (n, 3) of the training battles; NaN where it has none."""

    log_probs: Floats
    facts: dict[str, Any]


def named_weight(text: str) -> tuple[Path, float]:
    """``FILE`` or ``FILE:weight``.

    Raises
    ------
    InputError
        The weight is not positive and finite.
    """
    path, colon, number = text.rpartition(":")
    try:
        weight = float(number) if colon and path else math.nan
    except ValueError:
        return Path(text), 1.0
    if not (colon and path):
        return Path(text), 1.0
    if not 0 < weight <= _LARGEST_WEIGHT:
        raise InputError(f"--extra {text}: the weight {number} is not above 0 and up to {_LARGEST_WEIGHT:g}")
    return Path(path), weight


def gather_extra(files: Sequence[tuple[Path, float]], train: Battles, folds: Folds) -> Extra | None:
    """Read extra training battles and decide which fold each may train against.

    Raises
    ------
    InputError
        A file cannot be read or a row has no outcome.
    """
    if not files:
        return None
    parts, weights, sources = [], [], []
    for place, (path, weight) in enumerate(files):
        battles = readers.read_battles(path)
        battles.outcomes()
        names = f"extra:{place}:" + battles.ids.cast(pl.String)
        parts.append(battles.frame.with_columns(names.alias("id")))
        weights.append(np.full(len(battles), weight))
        sources.append({"file": path.name, "rows": len(battles), "weight": weight})
    extra = Battles(pl.concat(parts, how="diagonal"))
    may = may_train(extra, train, folds)
    log.info("extra battles: %d, of which %d may train no fold", len(extra), int((~may).all(axis=1).sum()))
    return Extra(extra, np.concatenate(weights), may, tuple(sources))


def joined(
    extra: Extra | None, train: Battles, fold: int, soft: Floats | None
) -> tuple[Battles, Floats | None, Floats | None]:
    """A fold's training battles with the extra ones that may join: battles, weights, soft targets.

    Extra battles have no teacher. Their ids are strings, so all ids of the result are.
    """
    if extra is None:
        return train, None, soft
    rows = np.flatnonzero(extra.may[:, fold])
    more = extra.battles.take(rows)
    own = train.frame.with_columns(pl.col("id").cast(pl.String))
    battles = Battles(pl.concat([own, more.frame], how="diagonal"))
    weights = np.concatenate([np.ones(len(train)), extra.weights[rows]])
    if soft is not None:
        soft = np.concatenate([soft, np.full((len(more), 3), np.nan)])
    return battles, weights, soft


def teacher_member(recipe: Recipe) -> str | None:
    """The member that teaches, or None where there is no teacher or it is a file."""
    name = recipe.soft.teacher
    return name if name and _file(recipe) is None else None


def _file(recipe: Recipe) -> Path | None:
    """The teacher's predictions file, where ``soft.teacher`` is written as one."""
    text = recipe.soft.teacher
    if "/" not in text and not Path(text).suffix:
        return None
    path = Path(text).expanduser()
    return path if path.is_absolute() or recipe.folder is None else recipe.folder / path


def teacher_digest(workspace: store.Workspace, recipe: Recipe) -> str | None:
    """SHA-256 of what the teacher said, for the keys of its pupil's folds.

    Raises
    ------
    InputError
        The teacher has said nothing yet, or its file is not there.
    """
    if not recipe.soft.teacher:
        return None
    path = _file(recipe)
    if path is not None:
        if not path.is_file():
            raise InputError(
                f"member {recipe.name!r}: soft.teacher = {recipe.soft.teacher!r}: no file {path}"
            )
        return store.digest_file(path)
    card = store.read_card(workspace.oof / store.check_name(recipe.soft.teacher))
    if card is None:
        raise InputError(
            f"member {recipe.name!r}: its teacher {recipe.soft.teacher!r} has no out-of-fold predictions "
            "yet; name it in --models too"
        )
    return str(card["files"].get(member_files.OOF))


def teacher_of(workspace: store.Workspace, recipe: Recipe, train: Battles, folds: Folds) -> Teacher | None:
    """What the teacher said of every training battle, out of fold.

    Raises
    ------
    StaleError
        A member that was made with another fold file.
    InputError
        A file whose rows were read by another fold's model than theirs, or that holds no such ids.
    """
    if not recipe.soft.teacher:
        return None
    path = _file(recipe)
    if path is None:
        said, card = member_files.load_member(workspace, recipe.soft.teacher)
        verified = bool(card.get("folds_verified"))
        if verified and card.get("folds") != folds.digest:
            raise StaleError(
                f"member {recipe.name!r}: its teacher {recipe.soft.teacher!r} was made with another fold "
                "file, so it may have seen the rows that it teaches; make it anew with --remake "
                f"{recipe.soft.teacher}"
            )
    else:
        held = readers.read_predictions(path)
        if len(held) > 1:
            raise InputError(f"{path} holds the members {', '.join(held)}; a teacher's file holds one")
        said, verified = next(iter(held.values())), False
    log_probs, told = _aligned(said, train, folds, recipe)
    verified = verified or told
    if not verified:
        log.warning(
            "member %s: nothing shows that its teacher %s was out of fold for the rows that it teaches",
            recipe.name,
            recipe.soft.teacher,
        )
    taught = int((~np.isnan(log_probs[:, 0])).sum())
    facts = {"name": recipe.soft.teacher, "rows": taught, "folds_verified": verified}
    return Teacher(log_probs, facts)


def _aligned(said: Predictions, train: Battles, folds: Folds, recipe: Recipe) -> tuple[Floats, bool]:
    """The teacher's rows in the battles' order, and whether its own folds show that it was out of fold."""
    if said.ids.dtype != train.ids.dtype:
        raise InputError(
            f"teacher {recipe.soft.teacher!r}: ids are {said.ids.dtype}, the battles' are {train.ids.dtype}"
        )
    place = pl.DataFrame({"id": said.ids, "row": np.arange(len(said))})
    rows = pl.DataFrame({"id": train.ids}).join(place, on="id", how="left", maintain_order="left")["row"]
    here = rows.is_not_null().to_numpy()
    if not here.any():
        raise InputError(f"teacher {recipe.soft.teacher!r} has predictions for none of the training battles")
    index = rows.drop_nulls().to_numpy()
    log_probs = np.full((len(train), 3), np.nan)
    log_probs[here] = said.combined().log_probs[index]
    fold = said.fold[index]
    if (fold < 0).all():
        return log_probs, False
    wrong = np.flatnonzero(fold != folds.fold[here])
    if len(wrong):
        row = np.flatnonzero(here)[wrong[0]]
        raise InputError(
            f"teacher {recipe.soft.teacher!r}: battle {train.ids[int(row)]!r} was read by the model of fold "
            f"{fold[wrong[0]]} and lies in fold {folds.fold[row]}; {len(wrong)} rows may have been trained on"
        )
    return log_probs, True


def in_order(recipes: dict[str, Recipe]) -> list[dict[str, Recipe]]:
    """Members in waves, so that every teacher comes before its pupils.

    Raises
    ------
    RecipeError
        Members that teach each other.
    """
    waiting, waves = dict(recipes), []
    while waiting:
        ready = {name: r for name, r in waiting.items() if teacher_member(r) not in waiting}
        if not ready:
            raise RecipeError(f"members teach each other: {', '.join(waiting)}; change soft.teacher of one")
        waves.append(ready)
        waiting = {name: r for name, r in waiting.items() if name not in ready}
    return waves
