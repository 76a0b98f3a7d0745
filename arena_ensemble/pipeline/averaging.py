"""A member's folds as one model of averaged weights, where that predicts like the average of the folds.

It is held against the folds before it is used: both predict some of the battles that are to be predicted,
which no fold was trained on. Like any average of folds it is flatter than one of them, so what its
predictions are sharpened by (gamma) is estimated from the same rows and kept with it.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import numpy as np

from ..artifacts.cards import AVERAGED, FoldCard, FoldKey
from ..artifacts.members import MemberArtifacts
from ..backbones.base import Backbone, Fitted, Progress
from ..backbones.registry import engine_of
from ..battles import Battles
from ..calibration import fold_average_gamma
from ..calibration.fold_average import FEWEST_ROWS
from ..errors import InputError, MemberError, StaleError
from ..predictions import Predictions, average_folds
from ..recipes import Recipe
from . import equivalence, orders
from .extra_data import learned_unverified

log = logging.getLogger(__name__)

ROWS: Final = 256
"""battles that are predicted by every fold's model, once, to measure the average"""
_OF: Final = "averaged_of"
_FOLDER: Final = "averaged"


def key_of(artifacts: MemberArtifacts) -> FoldKey:
    """The key of the averaged model: that of the folds that are here, whether it was made yet or not.

    Where its folder alone is here, or not all of its folds, it is what its card says.

    Raises
    ------
    InputError
        It was not made, and fewer than two folds are here to make it of.
    StaleError
        The folds were not made of the same things, or the model was made without one that is here.
    """
    card = artifacts.fold_card(AVERAGED)
    if card is not None:
        here = [fold for fold in map(int, _fold_numbers(artifacts)) if artifacts.fold_card(fold) is not None]
        if others := set(map(str, here)).difference(card.facts[_OF]):
            raise _of_others(artifacts, card, f"fold {min(others, key=int)} is here too")
        return card.key
    keys = artifacts.fitted_keys()
    if len(keys) < 2:
        raise InputError(
            f"member {artifacts.name!r}: an average needs the models of two folds or more, and one is here; "
            "copy the others, or use --use-folds with its number"
        )
    if any(key.of_all_folds() != keys[0].of_all_folds() for key in keys):
        raise StaleError(
            f"member {artifacts.name!r}: its folds were made from different recipes or data; make it anew "
            f"with --retrain {artifacts.name}"
        )
    return _named(keys[0], (key.fold for key in keys))


def key_of_run(artifacts: MemberArtifacts, key: FoldKey, n_folds: int) -> FoldKey:
    """The key of the model that a run of all folds averages; ``key`` is that of its folds.

    Raises
    ------
    StaleError
        A model is here that was averaged from other folds.
    """
    wanted = _named(key, range(n_folds))
    card = artifacts.fold_card(AVERAGED)
    if card is not None and card.key.folds_averaged != wanted.folds_averaged:
        raise _of_others(artifacts, card, f"this run has folds 0 to {n_folds - 1}")
    return wanted


def _named(key: FoldKey, folds: Iterable[int | None]) -> FoldKey:
    return key.model_copy(update={"fold": AVERAGED, "folds_averaged": ",".join(map(str, folds))})


def _fold_numbers(artifacts: MemberArtifacts) -> list[str]:
    names = (path.name.removeprefix("fold-") for path in artifacts.models.glob("fold-*"))
    return [name for name in names if name.isdecimal()]


def _of_others(artifacts: MemberArtifacts, card: FoldCard, but: str) -> StaleError:
    of = ", ".join(sorted(card.facts[_OF], key=int))
    return StaleError(
        f"{artifacts.fold_folder(AVERAGED)}: was averaged from the folds {of}, and {but}; remove it and run "
        "again: averaging trains nothing"
    )


def to_load(artifacts: MemberArtifacts, recipe: Recipe, fold: int) -> Recipe:
    """The recipe that a fold's model is loaded with: another one only of the averaged model.

    Raises
    ------
    InputError
        The averaged model is not made yet.
    StaleError
        It was made of other folds than those here.
    """
    if fold != AVERAGED:
        return recipe
    from ..backbones.language.averaging import averaged_recipe

    card = artifacts.fold_card(AVERAGED)
    if card is None:
        raise InputError(
            f"member {artifacts.name!r}: its model of averaged weights is not made yet; make it with "
            "`arena-ensemble predict --test FILE --use-folds averaged`, and run this again"
        )
    of: dict[str, str] = card.facts[_OF]
    for name, digest in of.items():
        own = artifacts.fold_card(int(name))
        if own is not None and own.card_sha256 != digest:
            folder = artifacts.fold_folder(AVERAGED)
            raise StaleError(f"{folder}: was averaged from another fold {name}; remove it and run again")
    return averaged_recipe(recipe, len(of))


def averaged_folder(
    artifacts: MemberArtifacts,
    key: FoldKey,
    recipe: Recipe,
    backbone: Backbone,
    battles: Battles,
    *,
    cache: Path,
    versions: Callable[[], dict[str, str]],
    n_classes: int = 3,
    on_progress: Progress | None = None,
) -> Path:
    """The folder of the averaged model, made and measured if it is not there.

    Parameters
    ----------
    battles
        To be predicted; some of them measure the average, in both orders where the recipe says so.

    Raises
    ------
    MemberError
        The average predicts otherwise than the folds' average: KL above ``predict.tolerance``; or the battles
        are too few to measure it.
    """
    artifacts.models.mkdir(parents=True, exist_ok=True)
    with (artifacts.models / f".{_FOLDER}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes may predict parts of the rows
        found = artifacts.fitted_folder(key)
        if found is None:
            found = _make(
                artifacts, key, recipe, backbone, battles, cache, versions(), n_classes, on_progress
            )
    return found


def _make(
    artifacts: MemberArtifacts,
    key: FoldKey,
    recipe: Recipe,
    backbone: Backbone,
    battles: Battles,
    cache: Path,
    versions: dict[str, str],
    n_classes: int,
    on_progress: Progress | None,
) -> Path:
    from ..backbones.language import averaging

    engine_of(recipe.backbone)  # a head that stands on no language model has no such weights
    recipe = recipe.without_merging()  # what merging changes is measured where the average predicts
    if len(battles) < FEWEST_ROWS:
        raise MemberError(
            f"an average is held against its folds on {FEWEST_ROWS} battles or more and keeps their gamma; "
            f"{len(battles)} are to be predicted: predict a longer file with --use-folds averaged first, or "
            "this one with all folds"
        )
    folds = [one.fold for one in artifacts.fitted_keys() if one.fold is not None]
    cards = [card for card in map(artifacts.fold_card, folds) if card is not None]
    folders = [folder for card in cards if (folder := artifacts.fitted_folder(card.key)) is not None]
    partial, _ = artifacts.start_fold(key)
    settings = averaging.write_average(folders, partial, recipe)
    unseen = battles.without_outcomes()
    some = unseen.take(np.unique(np.linspace(0, len(unseen) - 1, min(ROWS, len(unseen))).astype(np.int64)))

    def predicted(model: Fitted, fold: int) -> Predictions:
        return orders.predict_fold(
            backbone, model, some, recipe=recipe, fold=fold, n_classes=n_classes, on_progress=on_progress
        ).combined()

    parts = []
    for fold, folder in zip(folds, folders, strict=True):
        fitted = backbone.load(folder, recipe=recipe, cache=cache)
        parts.append(predicted(fitted, fold))
        del fitted
    wide = averaging.averaged_recipe(recipe, len(folders))
    model = backbone.load(partial, recipe=wide, cache=cache)
    apart = equivalence.differences(average_folds(parts).log_probs, predicted(model, AVERAGED).log_probs)
    gamma = fold_average_gamma([part.log_probs for part in parts])
    measured = f"mean KL {apart['mean_kl']:.2g} nats on {len(some)} rows"
    if not apart["mean_kl"] <= recipe.predict.tolerance:
        shutil.rmtree(partial)
        raise MemberError(
            f"the model of averaged weights predicts otherwise than its {len(folds)} folds on average "
            f"({measured}; predict.tolerance = {recipe.predict.tolerance:g}): predict with all folds, or "
            "with some (--use-folds 0,2), or raise predict.tolerance"
        )
    log.info("%s: averaged weights of %d folds: %s, gamma %.3f", artifacts.name, len(folds), measured, gamma)
    facts = {
        **settings["facts"],
        **dict(getattr(model, "running", {})),
        "averaged": {**apart, "gamma": gamma},
    }
    averaging.write_settings(partial, {**settings, "sharpness": gamma, "facts": facts})
    model = backbone.load(partial, recipe=wide, cache=cache)
    equivalence.keep_rows(partial, backbone, model, some, recipe)
    learned = next((card.learned_from for card in cards if learned_unverified(card.learned_from)), {})
    card = FoldCard(
        key=key,
        member=artifacts.name,
        backbone=recipe.backbone,
        seed=recipe.seed,
        seconds=0.0,
        rows=cards[0].rows,
        learned_from=learned,
        versions=versions,
        facts={**facts, _OF: {str(fold): card.card_sha256 for fold, card in zip(folds, cards, strict=True)}},
    )
    return artifacts.commit_fold(partial, card)
