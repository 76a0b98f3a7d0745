"""Teachers: a member, or a predictions file, whose out-of-fold probabilities a pupil learns beside the votes.

A teacher may teach a row only by its out-of-fold prediction of it, under the same fold file; else the
row's own vote reaches the model that is scored on it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..artifacts.files import digest_file
from ..artifacts.members import OOF, MemberArtifacts
from ..artifacts.workspace import Workspace
from ..battles import Battles, match_rows
from ..errors import InputError, RecipeError, StaleError
from ..folds import Folds
from ..io import read_predictions
from ..predictions import LOG_FLOOR, Floats, Predictions, normalised
from ..recipes import Recipe
from .guards import check_members

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Teacher:
    """A teacher's natural-log probabilities (n, 3) of the training battles; NaN where it has none."""

    log_probs: Floats
    facts: dict[str, Any]


def teacher_member(recipe: Recipe) -> str | None:
    """The member that teaches, or None where there is no teacher or it is a file."""
    name = recipe.soft.teacher
    return name if name and _teacher_file(recipe) is None else None


def _teacher_file(recipe: Recipe) -> Path | None:
    """The teacher's predictions file, where ``soft.teacher`` is written as one."""
    text = recipe.soft.teacher
    if "/" not in text and not Path(text).suffix:
        return None
    path = Path(text).expanduser()
    return path if path.is_absolute() or recipe.folder is None else recipe.folder / path


def teacher_digest(workspace: Workspace, recipe: Recipe) -> str | None:
    """SHA-256 of the teacher's predictions, for the keys of its pupil's folds.

    Raises
    ------
    InputError
        The teacher has no predictions yet, or its file is not there.
    """
    if not recipe.soft.teacher:
        return None
    path = _teacher_file(recipe)
    if path is not None:
        if not path.is_file():
            raise InputError(
                f"member {recipe.name!r}: soft.teacher = {recipe.soft.teacher!r}: no file {path}"
            )
        return digest_file(path)
    card = MemberArtifacts(workspace, recipe.soft.teacher).card()
    if card is None:
        raise InputError(
            f"member {recipe.name!r}: its teacher {recipe.soft.teacher!r} has no out-of-fold predictions "
            "yet; name it in --models too"
        )
    return card.files.get(OOF)


def teacher_of(workspace: Workspace, recipe: Recipe, train: Battles, folds: Folds) -> Teacher | None:
    """The teacher's out-of-fold predictions of every training battle; None where there is no teacher.

    Raises
    ------
    StaleError
        A member that was made with another fold file.
    InputError
        A file whose rows were predicted by another fold's model than theirs, that holds no such ids, several
        rows an id, or columns that are clearly exchanged.
    """
    if not recipe.soft.teacher:
        return None
    path, passed_on, external = _teacher_file(recipe), False, True
    if path is None:
        predictions, card = MemberArtifacts(workspace, recipe.soft.teacher).load()
        verified, passed_on, external = card.folds_verified, card.learned_unverified, card.is_external
        if verified and (card.key is None or card.key.folds != folds.digest):
            raise StaleError(
                f"member {recipe.name!r}: its teacher {recipe.soft.teacher!r} was made with another fold "
                "file, so it may have seen the rows that it teaches; make it anew with --retrain "
                f"{recipe.soft.teacher}"
            )
    else:
        held = read_predictions(path, oof=True)
        if len(held) > 1:
            raise InputError(f"{path} holds the members {', '.join(held)}; a teacher's file holds one")
        predictions, verified = next(iter(held.values())), False
    log_probs, folds_agree = _aligned(predictions, train, folds, recipe)
    if external:
        _check(log_probs, train, folds, recipe)
    verified = (verified or folds_agree) and not passed_on
    if not verified:
        log.warning(
            "member %s: nothing shows that its teacher %s was out of fold for the rows that it teaches",
            recipe.name,
            recipe.soft.teacher,
        )
    taught = int((~np.isnan(log_probs[:, 0])).sum())
    return Teacher(log_probs, {"name": recipe.soft.teacher, "rows": taught, "folds_verified": verified})


def _check(log_probs: Floats, train: Battles, folds: Folds, recipe: Recipe) -> None:
    """The guards of an external member, for an external teacher on the rows that it teaches."""
    rows = np.flatnonzero(~np.isnan(log_probs[:, 0]))
    name = f"{recipe.name} (its teacher {recipe.soft.teacher})"
    teacher = Predictions(train.ids[rows], normalised(log_probs[rows]), np.full(len(rows), -1))
    y = train.outcomes()[rows]
    found = check_members(
        {name: teacher}, y, groups=folds.group[rows], folds=folds.fold[rows], external=[name]
    )
    for alarm in found.alarms.get(name, []):
        log.warning("member %s %s", name, alarm)


def _aligned(predictions: Predictions, train: Battles, folds: Folds, recipe: Recipe) -> tuple[Floats, bool]:
    """The teacher's rows in the battles' order, and whether its own folds show that it was out of fold."""
    name = f"teacher {recipe.soft.teacher!r}"
    if predictions.ids.dtype != train.ids.dtype:
        raise InputError(f"{name}: ids are {predictions.ids.dtype}, the battles' are {train.ids.dtype}")
    rows = match_rows(predictions.ids, train.ids)
    here = rows >= 0
    if not here.any():
        raise InputError(f"{name} has predictions for none of the training battles")
    index = rows[here]
    log_probs = np.full((len(train), 3), np.nan)
    log_probs[here] = np.maximum(
        predictions.combined().log_probs[index], LOG_FLOOR
    )  # finite without ties too
    fold = predictions.fold[index]
    if (fold < 0).all():
        return log_probs, False
    wrong = np.flatnonzero(fold != folds.fold[here])
    if len(wrong):
        row = np.flatnonzero(here)[wrong[0]]
        raise InputError(
            f"{name}: battle {train.ids[int(row)]!r} was predicted by the model of fold "
            f"{fold[wrong[0]]} and lies in fold {folds.fold[row]}; {len(wrong)} rows may have been trained on"
        )
    return log_probs, True


def in_teaching_order(recipes: dict[str, Recipe]) -> list[dict[str, Recipe]]:
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
