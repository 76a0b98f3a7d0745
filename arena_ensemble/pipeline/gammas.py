"""Gammas that are kept with an ensemble, so that a battle's probabilities do not depend on its companions.

Gamma is a ratio of variances over rows that no fold model saw, so it cannot come from the out-of-fold rows
(each of which all fold models but one were trained on), nor from one battle. The first test file of at least
20 rows that the finished ensemble predicts with all its fold models gives it, once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from ..artifacts import atomic
from ..artifacts.cards import GammaNote
from ..artifacts.members import MemberArtifacts
from ..artifacts.workspace import ENSEMBLE, Workspace
from ..calibration.fold_average import FEWEST_ROWS
from ..errors import ArtifactError
from .combining import ByFold

GAMMAS: Final = "gammas.json"


def keep(workspace: Workspace, note: GammaNote) -> None:
    """Keep the gammas for predictions of single battles, unless some are kept or the rows are too few.

    Nor are those kept that fewer models gave than predict a single battle: of a refit, of averaged weights.
    """
    path = _path(workspace)
    if note.rows < FEWEST_ROWS or path.exists():
        return
    if all(_fold_models(workspace, name) == count for name, count in note.folds.items()):
        atomic.write_json(path, note.model_dump())


def kept(workspace: Workspace) -> GammaNote | None:
    """The kept gammas, or None where no test file has been predicted yet.

    Raises
    ------
    ArtifactError
        The file is truncated or edited.
    """
    path = _path(workspace)
    try:
        return GammaNote.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError, json.JSONDecodeError) as error:
        what = f"{error.error_count()} errors" if isinstance(error, ValidationError) else str(error)
        raise ArtifactError(f"{path}: not as written ({what}); remove it and predict a test file") from None


def of_rows(note: GammaNote | None, by_fold: ByFold) -> Mapping[str, float]:
    """The kept gammas where they are of as many fold models; else none, which means 1 for all."""
    if note is None or {name: len(parts) for name, parts in by_fold.items()} != note.folds:
        return {}
    return note.gammas


def _fold_models(workspace: Workspace, name: str) -> int:
    folders = MemberArtifacts(workspace, name).models.glob("fold-*")
    return sum(folder.name.removeprefix("fold-").isdecimal() for folder in folders)


def _path(workspace: Workspace) -> Path:
    return workspace.oof / ENSEMBLE / GAMMAS
