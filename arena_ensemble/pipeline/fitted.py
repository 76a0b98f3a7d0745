"""What is fitted of a member: which folds predict, and whether recipe and base are still theirs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .. import backbones
from ..artifacts.cards import AVERAGED, REFIT, FoldKey, fold_name
from ..artifacts.members import MemberArtifacts
from ..errors import ArtifactError, InputError, StaleError
from ..recipes import Recipe
from . import averaging


def chosen(
    artifacts: MemberArtifacts, use_folds: Sequence[int] | None, *, averages: bool = True
) -> tuple[list[FoldKey], str | None]:
    """The fitted folds that predict, and their names in a key: None where these are all from fold 0 on.

    ``averages`` is whether the member's folds can be averaged; if not, all of them predict in place of that.

    Raises
    ------
    InputError
        No fold of the member is fitted here, or one of ``use_folds`` is not.
    """
    if use_folds is not None and REFIT in use_folds:
        card = artifacts.fold_card(REFIT)
        if card is None:
            raise InputError(
                f"member {artifacts.name!r}: --use-folds refit: no model of all rows is here; train it with "
                "`arena-ensemble stack --data FILE --refit`"
            )
        return [card.key], fold_name(REFIT)
    if use_folds is not None and AVERAGED in use_folds:
        if averages:
            return [averaging.key_of(artifacts)], fold_name(AVERAGED)
        use_folds = None
    fitted = artifacts.fitted_keys()
    here = [key.fold for key in fitted if key.fold is not None]
    wanted = here if use_folds is None else use_folds
    if missing := sorted(set(wanted).difference(here)):
        raise InputError(
            f"member {artifacts.name!r}: --use-folds {missing[0]}: no model of that fold is here; use some "
            f"of {', '.join(map(str, here))}"
        )
    keys = [key for key in fitted if key.fold in wanted]
    names = [key.fold for key in keys]
    all_of_them = names == list(range(len(fitted)))
    return keys, None if all_of_them else ",".join(map(str, names))


def refit_recipe(artifacts: MemberArtifacts, recipe: Recipe, n_folds: int) -> Recipe:
    """The recipe for all rows: where folds stopped early, their mean number of epochs, rounded, at least 1.

    Raises
    ------
    ArtifactError
        A fold did not note where it stopped: an earlier version trained it.
    """
    cards = [artifacts.fold_card(fold) for fold in range(n_folds)]
    facts = [card.facts for card in cards if card is not None]
    if not recipe.train.early_stopping or not any("optimizer_steps" in one for one in facts):
        return recipe
    points = [one.get("best_epochs") for one in facts]
    known = [float(point) for point in points if point is not None]
    if len(known) < len(points):
        raise ArtifactError(
            f"member {recipe.name!r}: its folds did not note after how many epochs they stopped, so --refit "
            f"cannot know; train it anew with --retrain {recipe.name}"
        )
    epochs = max(1, round(sum(known) / len(known)))
    train = recipe.train.model_copy(update={"epochs": epochs, "early_stopping": 0})
    return recipe.model_copy(update={"train": train})


def check_recipe(artifacts: MemberArtifacts, recipe: Recipe, keys: Sequence[FoldKey]) -> None:
    """Refuse to predict with a recipe that was edited since the member was trained: numbers would differ.

    Raises
    ------
    StaleError
        It was.
    """
    member = artifacts.name
    changed = [key.fold for key in keys if key.recipe != recipe.fit_digest()]
    if changed:
        raise StaleError(
            f"member {member!r}: its recipe was edited since it was trained ({_called(changed[0])} first, "
            f"{len(changed)} of {len(keys)} models), so its models would predict other numbers; put it "
            f"back as it was ({', '.join(recipe.machine_settings)} and [predict] alone may change), or train "
            f"it anew with `arena-ensemble stack --data FILE --retrain {member}`"
        )
    card = artifacts.card()
    if card is not None and card.key is not None and card.key.orders != recipe.orders():
        raise StaleError(
            f"member {member!r}: the ensemble was fitted on predictions with read_orders = "
            f"{card.key.orders}, the recipe now says {recipe.orders()} (read_orders and second_order_share): "
            "put it back, or run `arena-ensemble stack --data FILE` again, which predicts all rows so"
        )


def check_edited(artifacts: MemberArtifacts, recipe: Recipe, folds: Iterable[int]) -> None:
    """Refuse to go on with a member whose recipe was edited since, and name what was.

    Raises
    ------
    StaleError
        It was. A fold of an earlier version, whose card does not have its recipe, is left to its key.
    """
    now, digest = recipe.fit_settings(), recipe.fit_digest()
    for fold in folds:
        card = artifacts.fold_card(fold)
        before = None if card is None or card.key.recipe == digest else card.facts.get("recipe")
        if not isinstance(before, dict):
            continue
        edited = [
            f"{name} was {_shown(before, name)}, is {_shown(now, name)}"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]
        if edited:
            more = f" and {len(edited) - 3} more" if len(edited) > 3 else ""
            raise StaleError(
                f"{artifacts.fold_folder(fold)} was made with another recipe "
                f"({'; '.join(edited[:3])}{more}); restore it, use another --workspace, or make the member "
                f"anew with --retrain {artifacts.name}"
            )


def _called(fold: int | None) -> str:
    name = fold_name(fold)
    return f"fold {name}" if name.isdecimal() else f"the {name} one"


def _shown(settings: Mapping[str, Any], name: str) -> str:
    return json.dumps(settings[name], ensure_ascii=False)[:80] if name in settings else "absent"


def check_base(
    artifacts: MemberArtifacts, recipe: Recipe, n_folds: int, *, only_renamed: bool = False
) -> None:
    """Refuse to go on with a member on another base than its first fitted fold stands on.

    Where the base lies is not in a fold's key. ``only_renamed``: look at its content only where the recipe
    writes it in another way than the fold's card.

    Raises
    ------
    StaleError
        It is another base.
    """
    if not recipe.base or recipe.is_tiny:
        return
    fitted = ((k, artifacts.fold_card(k)) for k in range(n_folds))
    fold, card = next(((k, card) for k, card in fitted if card is not None), (0, None))
    if card is None or (only_renamed and card.facts.get("base") == recipe.base):
        return
    engine = getattr(backbones.get(recipe.backbone), "engine", None)  # a head of one's own may have none
    if engine is not None:
        engine.check_base(artifacts.fold_folder(fold), recipe=recipe, cache=artifacts.workspace.cache)
