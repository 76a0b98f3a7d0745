"""Why a battle of a test file has its probabilities, from what its members predicted of that file already.

The workspace keeps each fold model's predictions of the last test file, so that no model need be loaded but
those that can name words.
"""

from __future__ import annotations

from pydantic import ValidationError

from ..artifacts.cards import GammaNote
from ..artifacts.members import MemberArtifacts
from ..artifacts.share_shards import models_of_test
from ..artifacts.workspace import ENSEMBLE, Workspace
from ..battles import Battles
from ..errors import InputError
from ..recipes import load_recipe
from . import explaining, gammas
from .ensemble import Ensemble
from .explaining import View
from .explanation import Explanation
from .neighbours import TrainingPrompts
from .submission import GAMMAS, load_begun


def explain_test(
    ensemble: Ensemble,
    test: Battles,
    row: int,
    *,
    train: TrainingPrompts | None = None,
    neighbours: int = 5,
) -> Explanation:
    """Why the battle in a row of a test file has its probabilities in the submission.

    They are of the models that predicted the file last: all folds', some, refitted or averaged ones. Where a
    member's predictions of the file are not kept, or not by all of these models, the fold models are asked
    anew: then as `Ensemble.explain`.

    Raises
    ------
    InputError, StaleError, ArtifactError
        As `Ensemble.explain`.
    """
    battle = test.take([row])
    place = ensemble.workspace
    views = None if place is None else _kept_views(ensemble, place, test, battle)
    if place is None or views is None:
        return ensemble.explain(battle, train=train, neighbours=neighbours)
    ensemble.check_members(place)
    by_fold = {name: view.shown for name, view in views.items()}
    note = _of_file(place, test) or gammas.kept(place)
    return explaining.explain(
        ensemble,
        battle,
        views,
        gammas.of_rows(note, by_fold),
        source="kept predictions",
        train=train,
        neighbours=neighbours,
    )


def _kept_views(
    ensemble: Ensemble, place: Workspace, test: Battles, battle: Battles
) -> dict[str, View] | None:
    """Each member's view of the battle; None where one has no predictions of the file."""
    parts, n_classes = {}, ensemble.card.n_classes
    models = {name: models_of_test(MemberArtifacts(place, name)) for name in ensemble.members}
    for name in ensemble.members:
        try:
            found, folds = load_begun(place, name, test, n_classes, use_folds=models[name])
        except InputError:  # never predicted, or imported without; asking the models says what to do
            return None
        if not found or len(found) < folds:
            return None
        parts[name] = [one.aligned_to(battle.ids, name=f"test predictions of {name!r}") for one in found]
    views = {}
    for name, shown in parts.items():
        card = MemberArtifacts(place, name).card()
        external = bool(card and card.is_external)
        backbone = None if external else load_recipe(place.recipe_path(name)).backbone
        reasons = explaining.reasons_of(
            place, name, backbone, battle, n_classes=n_classes, use_folds=models[name]
        )
        orders = (explaining.in_both_orders(one, external=external) for one in shown)
        both = reasons.equivariant or all(orders)
        swapped = [one.swapped() for one in shown] if both else None
        views[name] = View(shown, swapped, reasons.level, reasons.equivariant, reasons.words, external)
    return views


def _of_file(place: Workspace, test: Battles) -> GammaNote | None:
    """By how much the predictions of this very file were sharpened, where it was the last one predicted."""
    try:
        note = GammaNote.model_validate_json((place.oof / ENSEMBLE / GAMMAS).read_bytes())
    except (OSError, ValidationError):
        return None
    return note if note.test == test.digest() else None
