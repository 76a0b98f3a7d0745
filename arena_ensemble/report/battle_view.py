"""The battles that an ensemble was scored on, with what was predicted of each, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..artifacts import cards
from ..artifacts.files import read_table
from ..artifacts.fold_file import read_folds
from ..artifacts.members import OOF, MemberArtifacts
from ..artifacts.tables import to_predictions
from ..artifacts.workspace import Workspace
from ..battles import Battles, align_rows
from ..errors import InputError
from ..folds import group_keys
from ..io import load_battles
from ..metrics import prior_log_probs, row_losses
from ..pipeline.ensemble import Ensemble
from ..predictions import Floats, Predictions


@dataclass(frozen=True, eq=False)
class BattleView:
    """Battles with votes and what was predicted of them out of fold, row by row.

    Parameters
    ----------
    battles
        n battles with outcomes.
    groups
        (n,) group of each.
    ensemble, prior
        (n, 3) natural-log probabilities out of fold.
    members
        Name → (n, 3), as the member predicted; empty where they are not kept.
    """

    battles: Battles
    groups: npt.NDArray[np.int64]
    ensemble: Floats
    prior: Floats
    members: Mapping[str, Floats]

    @property
    def outcomes(self) -> npt.NDArray[np.int64]:
        """(n,) in {0, 1, 2}."""
        return self.battles.outcomes()

    @property
    def losses(self) -> Floats:
        """(n,) the ensemble's row losses."""
        return row_losses(self.ensemble, self.outcomes)

    @property
    def prior_losses(self) -> Floats:
        """(n,) the prior's row losses."""
        return row_losses(self.prior, self.outcomes)


def view(
    built: Ensemble, folder: Path, data: Path, *, workspace: Workspace | None, form: str | None = None
) -> BattleView:
    """Read the battles of an ensemble, and its out-of-fold predictions of them.

    Parameters
    ----------
    built, folder
        The ensemble and where it lies.
    data, form
        The file of battles that it was made from, and its format where the columns do not tell it.
    workspace
        Where its members lie; None for external predictions and panels, of whose members none are kept.

    Raises
    ------
    InputError
        The file holds other battles.
    ArtifactError
        A file of the ensemble or a member is truncated or edited.
    """
    battles = load_battles(data, format=form, need_outcomes=True, skip_unvoted=True).battles
    honest = out_of_fold(built, folder)
    key = built.card.key
    if key is not None and battles.digest() != key.data:
        raise InputError(
            f"{data}: not the battles that the ensemble was made from (their digest differs); give the file "
            "that it was stacked on"
        )
    battles = battles.take(
        align_rows(battles.ids, honest.ids, name=str(data), missing="not among its battles")
    )
    if workspace is not None and key is not None:
        kept = read_folds(workspace, battles)
        groups, folds = kept.group, kept.fold
    else:  # near-duplicates are looked for where folds are made; here they would take minutes on large files
        groups, folds = group_keys(battles, near_duplicates=None), None
    found = {} if workspace is None else members_out_of_fold(built, workspace)
    members = {
        name: one.aligned_to(honest.ids, name=f"member {name!r}").combined().log_probs
        for name, one in found.items()
    }
    return BattleView(
        battles, groups, honest.combined().log_probs, prior_log_probs(battles.outcomes(), folds), members
    )


def out_of_fold(built: Ensemble, folder: Path) -> Predictions:
    """The ensemble's own out-of-fold predictions, after their hash matched the card."""
    content = cards.verified(folder, OOF, built.card)
    return to_predictions(read_table(folder / OOF, content))


def members_out_of_fold(built: Ensemble, workspace: Workspace) -> dict[str, Predictions]:
    """The members' out-of-fold predictions, after their hashes matched their cards."""
    return {name: MemberArtifacts(workspace, name).load()[0] for name in built.members}
