"""Test predictions that are there, whatever predicted them: any share of second orders, any of the models."""

from __future__ import annotations

from ..errors import ArtifactError
from ..predictions import Predictions
from .cards import AVERAGED, REFIT, PredictionKey, ShardCard, fold_name, read_model
from .members import TEST, MemberArtifacts
from .shards import note_of


def key_of_any_share(member: MemberArtifacts, key: PredictionKey) -> PredictionKey | None:
    """The key of the fold's test predictions that are there, equal to ``key`` but for the share; or None."""
    if member.has_predictions(key):
        return key
    note = member.predictions / f"test-{fold_name(key.fold)}.json"
    try:
        found = read_model(note, ShardCard).key if note.is_file() else None
    except ArtifactError:
        return None
    if found is None or found.orders.split()[0] != key.orders.split()[0]:
        return None
    same = found.model_copy(update={"orders": key.orders}) == key
    return found if same and member.has_predictions(found) else None


def load_any_share(member: MemberArtifacts, key: PredictionKey) -> Predictions | None:
    """Those predictions, or None where there are none."""
    found = key_of_any_share(member, key)
    parts = [] if found is None else member.begun_test([found])
    return next((part for part in parts if part.fold[0] == key.fold), None)


def models_of_test(member: MemberArtifacts) -> tuple[int, ...] | None:
    """Which models gave the member's last test predictions: folds, `REFIT` or `AVERAGED`; None for all folds.

    None too where there are none, or where nobody knows.
    """
    try:
        key = note_of(member.predictions / TEST).key
    except (ArtifactError, OSError):
        return None
    if key is None or key.use_folds is None:
        return None
    alone = {fold_name(one): (one,) for one in (REFIT, AVERAGED)}
    numbers = [int(fold) for fold in key.use_folds.split(",") if fold.isdecimal()]
    return alone.get(key.use_folds) or tuple(numbers) or None
