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

from ..artifacts import members, store
from ..battles import Battles
from ..errors import InputError, RecipeError, StaleError
from ..folds import Folds, may_train
from ..io import read_battles, read_fold_predictions, read_predictions
from ..predictions import LOG_FLOOR, Floats, Predictions, average_folds
from ..recipes import Recipe

log = logging.getLogger(__name__)

_LARGEST_WEIGHT: Final = 1e6
UNVERIFIED: Final = "learned_unverified"
"""In a card: the member learned from labels that nothing shows to be out of fold, so it may pass them on."""


@dataclass(frozen=True, eq=False)
class Extra:
    """Extra training battles.

    ``weights`` is (n,), ``may`` (n, n_folds): whether a battle may train against a validation fold;
    ``sources`` says file, rows and weight of each file, for the cards. ``soft`` (n, n_folds, 3) holds
    natural-log probabilities for battles that nobody voted on, by the fold that they train against;
    NaN where there was a vote; None where all were voted on.
    """

    battles: Battles
    weights: Floats
    may: npt.NDArray[np.bool_]
    sources: tuple[dict[str, Any], ...]
    soft: Floats | None = None

    @property
    def digest(self) -> str:
        """What the folds trained with these battles are keyed by."""
        content = [self.battles.digest(), self.weights.tolist(), np.packbits(self.may).tolist()]
        if self.soft is not None:
            content.append(store.digest_bytes(np.ascontiguousarray(self.soft).tobytes()))
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


def named_weight(text: str, *, option: str = "--extra") -> tuple[Path, float]:
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
        raise InputError(f"{option} {text}: the weight {number} is not above 0 and up to {_LARGEST_WEIGHT:g}")
    return Path(path), weight


def named_pseudo(text: str) -> tuple[Path, Path, float]:
    """``BATTLES=PREDICTIONS`` or ``BATTLES=PREDICTIONS:weight``.

    Raises
    ------
    InputError
        There is no ``=``, or the weight is not positive and finite.
    """
    battles, equals, said = text.partition("=")
    if not (battles and equals and said):
        raise InputError(f"--pseudo {text}: expected BATTLES=PREDICTIONS[:WEIGHT]")
    path, weight = named_weight(said, option="--pseudo")
    return Path(battles), path, weight


def gather_extra(
    files: Sequence[tuple[Path, float]],
    train: Battles,
    folds: Folds,
    pseudo: Sequence[tuple[Path, Path, float]] = (),
) -> Extra | None:
    """Read extra training battles and decide which fold each may train against.

    Parameters
    ----------
    files
        Battles with votes, and their weight.
    pseudo
        Battles, predictions of them that stand for votes, and their weight. Votes that such a file of
        battles holds are not looked at.

    Raises
    ------
    InputError
        A file cannot be read, a row has no outcome, or no prediction.
    """
    if not files and not pseudo:
        return None
    parts, weights, sources, soft = [], [], [], []
    voted = [(path, None, weight) for path, weight in files]
    for place, (path, said, weight) in enumerate([*voted, *pseudo]):
        battles = read_battles(path)
        source = {"file": path.name, "rows": len(battles), "weight": weight}
        if said is None:
            battles.outcomes()
            soft.append(np.full((len(battles), folds.n_folds, 3), np.nan))
        else:
            battles = battles.without_outcomes()
            labels, verified = _pseudo_labels(battles, said, folds)
            soft.append(labels)
            source |= {"pseudo_labels": said.name, "folds_verified": verified}
        names = f"extra:{place}:" + battles.ids.cast(pl.String)
        parts.append(battles.frame.with_columns(names.alias("id")))
        weights.append(np.full(len(battles), weight))
        sources.append(source)
    extra = Battles(pl.concat(parts, how="diagonal"))
    may = may_train(extra, train, folds)
    log.info("extra battles: %d, of which %d may train no fold", len(extra), int((~may).all(axis=1).sum()))
    return Extra(
        extra, np.concatenate(weights), may, tuple(sources), np.concatenate(soft) if pseudo else None
    )


def _pseudo_labels(battles: Battles, path: Path, folds: Folds) -> tuple[Floats, bool]:
    """Natural-log probabilities (n, n_folds, 3) of battles without votes; whether they are out of fold.

    Where the file is a member's ``test.parquet`` of the same folds (its ``.json`` beside it tells), fold
    k learns from what fold k's own model said: that one never saw a row of fold k. Otherwise every fold
    learns from the mean, and a model that saw the fold's votes may whisper them back: this is said.
    """
    held = read_fold_predictions(path)
    if len(held) > 1:
        raise InputError(f"{path} holds the members {', '.join(held)}; --pseudo takes a file of one")
    parts = [part.aligned_to(battles.ids, name=str(path)) for part in next(iter(held.values()))]
    note = path.with_suffix(".json")
    card = store.read_json(note) if path.suffix == ".parquet" and note.is_file() else {}
    if card.get("folds") is not None and not card.get(UNVERIFIED):
        if card.get("sha256") != store.digest_file(path):
            raise InputError(f"{path}: its SHA-256 differs from {note.name}; copy both anew")
        if card["folds"] != folds.digest or len(parts) != folds.n_folds:
            raise StaleError(
                f"{path}: was made with another fold file, so its models may have seen what they would "
                "teach; make it anew with these folds"
            )
        said = np.stack([part.combined().log_probs for part in parts], axis=1)
        return np.maximum(said, LOG_FLOOR), True
    log.warning("nothing shows that the models behind %s never saw the folds that it trains against", path)
    mean = average_folds(parts) if len(parts) > 1 else parts[0].combined()
    return np.repeat(np.maximum(mean.log_probs, LOG_FLOOR)[:, None], folds.n_folds, axis=1), False


def joined(
    extra: Extra | None, train: Battles, fold: int, soft: Floats | None
) -> tuple[Battles, Floats | None, Floats | None]:
    """A fold's training battles with the extra ones that may join: battles, weights, soft targets.

    Extra battles have no teacher but, where nobody voted, their pseudo-labels. Their ids are strings, so
    all ids of the result are.
    """
    if extra is None:
        return train, None, soft
    rows = np.flatnonzero(extra.may[:, fold])
    more = extra.battles.take(rows)
    own = train.frame.with_columns(pl.col("id").cast(pl.String))
    battles = Battles(pl.concat([own, more.frame], how="diagonal"))
    weights = np.concatenate([np.ones(len(train)), extra.weights[rows]])
    if soft is None and extra.soft is None:
        return battles, weights, None
    own_soft = np.full((len(train), 3), np.nan) if soft is None else soft
    more_soft = np.full((len(more), 3), np.nan) if extra.soft is None else extra.soft[rows, fold]
    return battles, weights, np.concatenate([own_soft, more_soft])


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
    return str(card["files"].get(members.OOF))


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
    path, passed_on = _file(recipe), False
    if path is None:
        said, card = members.load_member(workspace, recipe.soft.teacher)
        verified, passed_on = bool(card.get("folds_verified")), bool(card.get(UNVERIFIED))
        if verified and card.get("folds") != folds.digest:
            raise StaleError(
                f"member {recipe.name!r}: its teacher {recipe.soft.teacher!r} was made with another fold "
                "file, so it may have seen the rows that it teaches; make it anew with --remake "
                f"{recipe.soft.teacher}"
            )
    else:
        held = read_predictions(path)
        if len(held) > 1:
            raise InputError(f"{path} holds the members {', '.join(held)}; a teacher's file holds one")
        said, verified = next(iter(held.values())), False
    log_probs, told = _aligned(said, train, folds, recipe)
    verified = (verified or told) and not passed_on
    if not verified:
        log.warning(
            "member %s: nothing shows that its teacher %s was out of fold for the rows that it teaches",
            recipe.name,
            recipe.soft.teacher,
        )
    taught = int((~np.isnan(log_probs[:, 0])).sum())
    facts = {"name": recipe.soft.teacher, "rows": taught, "folds_verified": verified}
    return Teacher(log_probs, facts)


def unverified(learned: dict[str, Any]) -> bool:
    """Whether what a fold learned beside its votes holds labels that nothing shows to be out of fold."""
    sources = [learned.get("teacher"), *learned.get("extra", {}).get("files", ())]
    return any(source is not None and not source.get("folds_verified", True) for source in sources)


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
    log_probs[here] = np.maximum(said.combined().log_probs[index], LOG_FLOOR)  # finite without ties too
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
