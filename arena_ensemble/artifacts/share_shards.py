"""A fold's test predictions whatever share of their rows was predicted in the second order too."""

from __future__ import annotations

from ..errors import ArtifactError
from ..predictions import Predictions
from .cards import PredictionKey, ShardCard, fold_name, read_model
from .members import MemberArtifacts


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
