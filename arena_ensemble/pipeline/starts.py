"""Where a fold's training starts: another member's fold of the same number, or an adapter trained elsewhere.

Fold k starts from fold k, so that no row's model saw the row's group in either stage. What another tool
trained may have seen any row: such a start is recorded as unverified, and so is the member.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .. import metrics
from ..artifacts.cards import REFIT
from ..artifacts.files import digest_file, digest_json
from ..artifacts.members import MemberArtifacts
from ..artifacts.workspace import Workspace
from ..errors import InputError, MemberError, StaleError
from ..folds import Folds
from ..predictions import Predictions
from ..recipes import Recipe
from .extra_data import learned_unverified
from .guards import Ints, clear_order, in_words

log = logging.getLogger(__name__)
_MEMBER: Final = "member:"
_FILES: Final = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "weights.safetensors",
    "base.json",
    "arena_ensemble.json",
)
"""What decides the weights of a PEFT adapter and of a fitted fold."""


@dataclass(frozen=True)
class Start:
    """The folder whose weights a fold starts from, and what its card says of it."""

    folder: Path
    facts: dict[str, Any]


def start_member(recipe: Recipe) -> str | None:
    """The member that is the first stage, or None."""
    text = recipe.train.start
    return text.removeprefix(_MEMBER) if text.startswith(_MEMBER) else None


def role(recipe: Recipe, needed: str) -> str:
    """What a member that this one waits for is to it: its ``start`` or a ``teacher``."""
    return "start" if needed == start_member(recipe) else "teacher"


def start_digest(workspace: Workspace, recipe: Recipe, n_folds: int) -> str | None:
    """SHA-256 over the weights of all folds' starts, for the keys of the folds; None without a start.

    Raises
    ------
    InputError
        A fold of the first stage is not fitted yet, or the folder holds no adapter.
    """
    if not recipe.train.start:
        return None
    name = start_member(recipe)
    if name is None:
        found = {
            f"{folder.name if folder.name.startswith('fold-') else ''}/{path.name}": digest_file(path)
            for folder in {_folder(recipe, fold) for fold in range(n_folds)}
            for path in (folder / name for name in _FILES)
            if path.is_file()
        }
        return digest_json(found)
    artifacts, weights = MemberArtifacts(workspace, name), []
    for fold in range(n_folds):
        card = artifacts.fold_card(fold)
        if card is None:
            raise InputError(
                f"member {recipe.name!r}: fold {fold} of {name!r}, which it starts from, is not fitted yet; "
                f"name {name} in --models too"
            )
        weights.append({k: v for k, v in card.files.items() if k in _FILES})
    return digest_json(weights)


def warn_of_unverified(recipe: Recipe) -> None:
    """Say, once for all folds, that nothing is known of what a start of another tool was trained on."""
    if recipe.train.start and start_member(recipe) is None:
        log.warning(
            "member %s: nothing shows which rows %s was trained on, so its folds are unverified",
            recipe.name,
            recipe.train.start,
        )


def start_of(workspace: Workspace, recipe: Recipe, folds: Folds, fold: int) -> Start | None:
    """The weights that a fold starts from; None where it starts from the base.

    Raises
    ------
    InputError
        It is not there.
    StaleError
        A member that was made with another fold file: its fold may have seen rows of this one.
    ArtifactError
        Its card or a file is broken.
    """
    if not recipe.train.start:
        return None
    name = start_member(recipe)
    if name is None:
        return Start(_folder(recipe, fold), {"name": recipe.train.start, "folds_verified": False})
    artifacts = MemberArtifacts(workspace, name)
    card = artifacts.fold_card(fold)
    if card is None:
        what = f"the refit of {name!r}" if fold == REFIT else f"fold {fold} of {name!r}"
        raise InputError(
            f"member {recipe.name!r}: {what}, its start, is not fitted; name {name} in --models too"
        )
    if card.key.folds != folds.digest:
        raise StaleError(
            f"member {recipe.name!r}: {name!r}, which it starts from, was made with another fold file, so it "
            f"may have seen the rows of this fold; make it anew with --retrain {name}"
        )
    folder = artifacts.fitted_folder(card.key)
    assert folder is not None
    verified = not learned_unverified(card.learned_from)
    return Start(folder, {"name": recipe.train.start, "folds_verified": verified})


def refuse_exchanged_head(recipe: Recipe, predictions: Predictions, y: Ints, groups: Ints) -> None:
    """Raise MemberError where a head of another tool clearly has its outputs in another order than ours.

    ``predictions`` are in the order of the outcomes ``y`` (n,) and their groups (n,). A member whose start is
    another member, or none, is passed over.
    """
    if not recipe.train.start or start_member(recipe) is not None:
        return
    log_probs = predictions.combined().log_probs
    order = clear_order(log_probs, y, groups)
    if order is None:
        return
    given, other = metrics.log_loss(log_probs, y), metrics.log_loss(log_probs[:, list(order)], y)
    raise MemberError(
        f"its classes look exchanged: taken as {in_words(order)} the log-loss of {len(y):,} rows is "
        f"{other:.4f}, as given {given:.4f}; write the rows of the head of {recipe.train.start} in the order "
        "A, B, tie (generation: prompt.verdicts), or its prompt shows the answers exchanged; then --retrain "
        f"{recipe.name}"
    )


def _folder(recipe: Recipe, fold: int) -> Path:
    """The folder of a fold's start: its own, or one for all folds."""
    path = Path(recipe.train.start).expanduser()
    if not path.is_absolute() and recipe.folder is not None:
        path = recipe.folder / path
    several = (path / "fold-0").is_dir()
    own = "refit" if fold == REFIT else f"fold-{fold}"
    folder = path / own if several else path
    if not any((folder / name).is_file() for name in _FILES):
        remedy = " (there is a fold-0, so every fold needs its own)" if several else ""
        raise InputError(
            f"member {recipe.name!r}: train.start = {recipe.train.start!r}: {folder} holds no PEFT adapter "
            f"and no fitted fold{remedy}; write member:NAME for a member of this workspace"
        )
    return folder
