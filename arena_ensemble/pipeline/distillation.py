"""Teachers: members, or predictions files, whose out-of-fold probabilities a pupil learns beside the votes.

A teacher may teach a row only by its out-of-fold prediction of it, under the same fold file; else the
row's own vote reaches the model that is scored on it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..artifacts.files import digest_file, digest_json
from ..artifacts.members import OOF, MemberArtifacts
from ..artifacts.workspace import Workspace
from ..battles import Battles, match_rows
from ..errors import InputError, RecipeError, StaleError
from ..folds import Folds
from ..io import read_predictions
from ..predictions import LOG_FLOOR, Floats, Predictions, normalised
from ..recipes import Recipe
from .guards import check_members
from .starts import start_member

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Teacher:
    """A teacher's natural-log probabilities (n, 3) of the training battles; NaN where it has none."""

    log_probs: Floats
    facts: dict[str, Any]


def needed_members(recipe: Recipe) -> set[str]:
    """The members that must be finished before this one: its teachers, and the one that it starts from."""
    members = {name for name in recipe.soft.names if _teacher_file(recipe, name) is None}
    first_stage = start_member(recipe)
    return members if first_stage is None else members | {first_stage}


def _teacher_file(recipe: Recipe, name: str) -> Path | None:
    """A teacher's predictions file, where it is written as one."""
    if "/" not in name and not Path(name).suffix:
        return None
    path = Path(name).expanduser()
    return path if path.is_absolute() or recipe.folder is None else recipe.folder / path


def teacher_digest(workspace: Workspace, recipe: Recipe) -> str | None:
    """SHA-256 of the teachers' predictions, for the keys of their pupil's folds.

    Raises
    ------
    InputError
        A teacher has no predictions yet, or its file is not there.
    """
    digests = [_digest(workspace, recipe, name) for name in recipe.soft.names]
    if not digests:
        return None
    return digests[0] if recipe.soft.teacher else digest_json(digests)


def _digest(workspace: Workspace, recipe: Recipe, name: str) -> str | None:
    path = _teacher_file(recipe, name)
    if path is not None:
        if not path.is_file():
            raise InputError(f"member {recipe.name!r}: its teacher {name!r}: no file {path}")
        return digest_file(path)
    card = MemberArtifacts(workspace, name).card()
    if card is None:
        raise InputError(
            f"member {recipe.name!r}: its teacher {name!r} has no out-of-fold predictions "
            "yet; name it in --models too"
        )
    return card.files.get(OOF)


def teacher_of(workspace: Workspace, recipe: Recipe, train: Battles, folds: Folds) -> Teacher | None:
    """The teachers' out-of-fold predictions of every training battle; None where there is no teacher.

    Of several, the mean by ``soft.teacher_weights``, taken at ``soft.temperature``: the divergence from it
    has the gradient of the weighted mean of the divergences from each. A teacher that has no
    prediction of a row is left out there.

    Raises
    ------
    StaleError
        A member that was made with another fold file.
    InputError
        A file whose rows were predicted by another fold's model than theirs, that holds no such ids, several
        rows an id, or columns that are clearly exchanged.
    """
    names = recipe.soft.names
    if not names:
        return None
    found = [_one(workspace, recipe, name, train, folds) for name in names]
    weights = recipe.soft.teacher_weights or (1.0,) * len(names)
    log_probs = (
        found[0].log_probs
        if len(found) == 1
        else averaged([one.log_probs for one in found], weights, recipe.soft.temperature)
    )
    verified = all(one.facts["folds_verified"] for one in found)
    rows = int((~np.isnan(log_probs[:, 0])).sum())
    facts: dict[str, Any] = {"name": ", ".join(names), "rows": rows, "folds_verified": verified}
    if len(found) > 1:
        facts["each"] = [one.facts | {"weight": w} for one, w in zip(found, weights, strict=True)]
    return Teacher(log_probs, facts)


def averaged(each: Sequence[Floats], weights: Sequence[float], temperature: float) -> Floats:
    """Weighted mean (n, 3) of natural-log probabilities, taken between the distributions at a temperature.

    ``T ln(sum_i w_i softmax(l_i / T))``, normalised: at that temperature it is the mean again, and the
    divergence from a mean of targets differs from the mean of the divergences by a constant.

    Parameters
    ----------
    each
        (n, 3) per teacher; a row of NaN has no opinion and does not count there.
    """
    stacked = np.stack([np.asarray(one) / temperature for one in each])
    here = ~np.asarray(np.isnan(stacked).any(axis=2))
    stacked = np.where(here[..., None], stacked, 0.0)
    stacked = stacked - np.logaddexp.reduce(stacked, axis=2, keepdims=True)
    share = np.where(here, np.asarray(weights)[:, None], 0.0)
    total = share.sum(axis=0)
    with np.errstate(divide="ignore"):  # a share of zero is a logarithm of minus infinity
        logs = stacked + np.log(share / np.where(total > 0, total, 1.0))[..., None]
        mean = temperature * np.logaddexp.reduce(logs, axis=0)
    mean = np.where(total[:, None] > 0, mean, 0.0)
    mean = mean - np.logaddexp.reduce(mean, axis=1, keepdims=True)
    return np.where(total[:, None] > 0, mean, np.nan)


def _one(workspace: Workspace, recipe: Recipe, name: str, train: Battles, folds: Folds) -> Teacher:
    """One teacher's predictions of every training battle."""
    path, passed_on, external = _teacher_file(recipe, name), False, True
    if path is None:
        predictions, card = MemberArtifacts(workspace, name).load()
        verified, passed_on, external = card.folds_verified, card.learned_unverified, card.is_external
        if verified and (card.key is None or card.key.folds != folds.digest):
            raise StaleError(
                f"member {recipe.name!r}: its teacher {name!r} was made with another fold "
                "file, so it may have seen the rows that it teaches; make it anew with --retrain "
                f"{name}"
            )
    else:
        held = read_predictions(path, oof=True)
        if len(held) > 1:
            raise InputError(f"{path} holds the members {', '.join(held)}; a teacher's file holds one")
        predictions, verified = next(iter(held.values())), False
    log_probs, folds_agree = _aligned(predictions, train, folds, name)
    if external:
        _check(log_probs, train, folds, f"{recipe.name} (its teacher {name})")
    verified = (verified or folds_agree) and not passed_on
    if not verified:
        log.warning(
            "member %s: nothing shows that its teacher %s was out of fold for the rows that it teaches",
            recipe.name,
            name,
        )
    taught = int((~np.isnan(log_probs[:, 0])).sum())
    return Teacher(log_probs, {"name": name, "rows": taught, "folds_verified": verified})


def _check(log_probs: Floats, train: Battles, folds: Folds, name: str) -> None:
    """The guards of an external member, for an external teacher on the rows that it teaches."""
    rows = np.flatnonzero(~np.isnan(log_probs[:, 0]))
    teacher = Predictions(train.ids[rows], normalised(log_probs[rows]), np.full(len(rows), -1))
    y = train.outcomes()[rows]
    found = check_members(
        {name: teacher}, y, groups=folds.group[rows], folds=folds.fold[rows], external=[name]
    )
    for alarm in found.alarms.get(name, []):
        log.warning("member %s %s", name, alarm)


def _aligned(predictions: Predictions, train: Battles, folds: Folds, name: str) -> tuple[Floats, bool]:
    """The teacher's rows in the battles' order, and whether its own folds show that it was out of fold."""
    name = f"teacher {name!r}"
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
    """Members in waves, so that teachers come before their pupils and first stages before second ones.

    Raises
    ------
    RecipeError
        Members that teach each other, or start from each other.
    """
    waiting, waves = dict(recipes), []
    while waiting:
        ready = {name: r for name, r in waiting.items() if not needed_members(r) & waiting.keys()}
        if not ready:
            raise RecipeError(
                f"members teach each other or start from each other: {', '.join(waiting)}; change "
                "soft.teacher or train.start of one"
            )
        waves.append(ready)
        waiting = {name: r for name, r in waiting.items() if name not in ready}
    return waves
