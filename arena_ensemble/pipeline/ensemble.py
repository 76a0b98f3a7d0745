"""The ensemble: a fitted stacker with its score table and card, loaded from a workspace to predict."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from lightgbm.basic import LightGBMError

from .. import backbones
from ..artifacts import atomic, cards
from ..artifacts.cards import EnsembleCard
from ..artifacts.files import parquet_bytes
from ..artifacts.members import OOF, MemberArtifacts
from ..artifacts.tables import predictions_frame
from ..artifacts.workspace import ENSEMBLE, Workspace
from ..battles import Battles
from ..calibration import Temperature, ensemble_gamma, fold_average_gamma
from ..errors import ArtifactError, InputError, StaleError
from ..features import Features, extract
from ..io import BattlesLike, as_battles
from ..metrics import ScoreRow
from ..predictions import Floats, Predictions, average_folds, without_ties
from ..recipes import load_recipe
from ..stacking import Stacker
from . import equivalence, orders, tasks
from .fallback import Fallback
from .tasks import Job

TABLE: Final = "table.json"
FALLBACK: Final = "fallback.json"


@dataclass(frozen=True)
class EnsemblePrediction:
    """The ensemble's natural-log probabilities (n, 3) of some battles, and how much was sharpened."""

    ids: pl.Series
    log_probs: Floats
    gammas: dict[str, float]
    """Each member's gamma, and under ``"ensemble"`` the ensemble's own, on top of them."""
    n_classes: int = 3
    left_out: dict[str, str] = field(default_factory=dict)
    """member → why it has no part in this prediction; a pool of the others took the stacker's place"""
    fewer_folds: dict[str, str] = field(default_factory=dict)
    """member → how many of its fold models predicted in time"""
    late: dict[str, str] = field(default_factory=dict)
    """member → what of it the time was not enough for"""
    second_order: dict[str, float] = field(default_factory=dict)
    """member → the share of rows that it predicted in the second order, where the time cut it"""
    test: str = ""
    """digest of the battles, where they were predicted into a workspace"""


@dataclass(frozen=True)
class Ensemble:
    """A fitted stacker, its honest score table, and the card that shows what it was made from.

    ``workspace`` is where its members' fitted models lie; None for a folder of ``stack --labels … --out``.
    """

    stacker: Stacker
    table: list[ScoreRow]
    card: EnsembleCard
    workspace: Workspace | None = None
    fallback: Fallback | None = None
    """pools of fewer members, for when one is missing; None in an ensemble of an earlier version"""

    @classmethod
    def load(cls, workspace: str | Path | Workspace) -> Ensemble:
        """The workspace's ensemble, after the hashes of all its files matched.

        Raises
        ------
        InputError
            There is none yet.
        ArtifactError
            A file is truncated, edited or of an older version.
        """
        place = Workspace.of(workspace)
        return dataclasses.replace(load_folder(place.oof / ENSEMBLE), workspace=place)

    @property
    def members(self) -> list[str]:
        """Names of the members that it combines, in its order."""
        return list(self.card.members)

    def check_members(self, workspace: Workspace) -> None:
        """Make sure that no member was made anew since the stacker was fitted on its predictions.

        A workspace that holds fitted models alone, without out-of-fold predictions, is not checked.

        Raises
        ------
        StaleError
            A member was.
        """
        hashes = {} if self.card.key is None else self.card.key.members
        for name, sha256 in hashes.items():
            card = MemberArtifacts(workspace, name).card()
            if card is not None and card.files.get(OOF) != sha256:
                raise StaleError(
                    f"member {name!r} was made anew since the ensemble was; run `arena-ensemble stack` again"
                )

    def predict_proba(self, battles: BattlesLike) -> Floats:
        """Probabilities (n, 3) of new battles: A wins, B wins, tie. Outcomes are never looked at.

        Every fold model of every member predicts each battle, in this process, and nothing is written to
        the workspace.

        Parameters
        ----------
        battles
            `Battles`, a file, a polars or pandas frame, or dictionaries; see `io.as_battles`. With several
            folds, how much their average is sharpened (gamma) is estimated from these battles, so that one
            battle's probabilities depend a little on the others that are given with it.

        Raises
        ------
        InputError
            The battles cannot be read, or a member is external, so that no model of it is here.
        ArtifactError
            A fitted model is missing, truncated or edited.
        """
        return np.asarray(np.exp(self.predict_log_proba(battles)), dtype=np.float64)

    def predict_log_proba(self, battles: BattlesLike) -> Floats:
        """As :meth:`predict_proba`, natural-log probabilities (n, 3)."""
        rows = as_battles(battles)
        if self.workspace is None:
            raise InputError("the ensemble was loaded without a workspace: its members' models are not known")
        refuse_external(self.workspace, self.members)
        self.check_members(self.workspace)
        by_fold = {name: self._member_predictions(name, rows) for name in self.members}
        return self.combine(by_fold, extract(rows)).log_probs

    def _member_predictions(self, name: str, battles: Battles) -> list[Predictions]:
        """Each fold model's predictions of a member."""
        assert self.workspace is not None
        recipe = load_recipe(self.workspace.recipe_path(name))
        job = Job(self.workspace.root, None, None, battles, n_classes=self.card.n_classes)
        backbone = backbones.get(recipe.backbone)
        found = []
        for task in tasks.plan(job, name, recipe):
            folder = job.artifacts(name).fitted_folder(task.fit_key)
            assert folder is not None, "planned from the fitted folds"
            with backbones.reraise_os_errors(folder):
                fitted = backbone.load(folder, recipe=recipe, cache=self.workspace.cache)
            card = job.artifacts(name).fold_card(task.fold)
            equivalence.check(folder, card, backbone, fitted, recipe)
            part = orders.predict_fold(
                backbone,
                fitted,
                battles,
                recipe=recipe,
                fold=task.fold,
                n_classes=job.n_classes,
            )
            found.append(part)
        return found

    def combine(
        self, by_fold: Mapping[str, Sequence[Predictions]], features: Features | None
    ) -> EnsemblePrediction:
        """The ensemble's prediction from its members' predictions by fold (one where folds are unknown).

        Each member's folds are averaged in (delta, tau) and sharpened by its gamma, since an average of
        folds is less sharp than the single-fold predictions that the stacker was fitted on; what that
        leaves to the ensemble is the last gamma.
        """
        return combine_folds(
            by_fold, lambda members: self.stacker_log_probs(members, features), n_classes=self.card.n_classes
        )

    def stacker_log_probs(self, members: Mapping[str, Predictions], features: Features | None) -> Floats:
        """The stacker's natural-log probabilities (n, 3) of new rows.

        Raises
        ------
        ArtifactError
            The parts of the stacker do not fit each other: its file was made by hand.
        """
        try:
            with np.errstate(all="ignore"):  # what is not finite is refused where it is written
                return self.stacker.predict_log_proba(members, features=features)
        except (ArithmeticError, AttributeError, LightGBMError, LookupError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"the stacker does not fit together ({type(error).__name__}: {error}); "
                "run `arena-ensemble stack` again"
            ) from error


def combine_folds(
    by_fold: Mapping[str, Sequence[Predictions]],
    combine: Callable[[Mapping[str, Predictions]], Floats],
    *,
    n_classes: int,
) -> EnsemblePrediction:
    """As :meth:`Ensemble.combine`, with any function from members to log-probabilities (n, 3)."""
    combined = {name: [one.combined() for one in parts] for name, parts in by_fold.items()}
    gammas = {name: fold_average_gamma([one.log_probs for one in parts]) for name, parts in combined.items()}
    sharp = {
        name: [replace(one, log_probs=Temperature(gammas[name]).apply(one.log_probs)) for one in parts]
        for name, parts in combined.items()
    }
    averages = {name: average_folds(parts) for name, parts in sharp.items()}
    log_probs = combine(averages)
    count = max(len(parts) for parts in combined.values())
    if count > 1:
        plain, sharpened = (
            [combine({name: parts[k % len(parts)] for name, parts in given.items()}) for k in range(count)]
            for given in (combined, sharp)
        )
        gammas[ENSEMBLE] = ensemble_gamma(plain, sharpened, log_probs)
        log_probs = Temperature(gammas[ENSEMBLE]).apply(log_probs)
    if n_classes == 2:
        log_probs = without_ties(log_probs)
    ids = next(iter(averages.values())).ids
    return EnsemblePrediction(ids, log_probs, gammas, n_classes)


def refuse_external(workspace: Workspace, members: Sequence[str]) -> None:
    """Raise InputError where a member's predictions were made elsewhere: no model of it is here."""
    found = []
    for name in members:
        card = MemberArtifacts(workspace, name).card()
        if card is not None and card.is_external:
            found.append(name)
    if found:
        raise InputError(
            f"the ensemble holds external members ({', '.join(found)}); they cannot predict new battles: "
            "give their test predictions with `import --test` and run `submission`"
        )


def write_folder(
    folder: Path,
    oof: Predictions,
    stacker: Stacker,
    table: Sequence[ScoreRow],
    card: EnsembleCard,
    fallback: Fallback | None = None,
) -> EnsembleCard:
    """Keep a fitted stacker, its out-of-fold predictions, its table and the pools as one artifact."""
    contents = dict(stacker.dump())
    if fallback is not None:
        contents[FALLBACK] = fallback.dump()
    contents[OOF] = parquet_bytes(predictions_frame(oof))
    contents[TABLE] = json.dumps({"rows": [dataclasses.asdict(row) for row in table]}).encode()
    with atomic.new_folder(folder) as partial:
        for name, content in contents.items():
            atomic.write_bytes(partial / name, content)
        return cards.write_card(partial, card, list(contents))


def load_folder(folder: Path) -> Ensemble:
    """As :meth:`Ensemble.load`, of the folder that ``stack --labels … --out`` wrote."""
    card = cards.read_card(folder, EnsembleCard)
    if card is None:
        raise InputError(
            f"no ensemble in {folder}; run `arena-ensemble stack` first, or name its --workspace (for "
            "`report` of `stack --labels … --out DIR`: --external DIR)"
        )
    return restore(folder, card)


def restore(folder: Path, card: EnsembleCard) -> Ensemble:
    """The ensemble of a card that was read already.

    Raises
    ------
    ArtifactError
        A file is truncated or edited.
    """
    contents = {name: cards.verified(folder, name, card) for name in card.files}
    try:
        rows = [ScoreRow(**row) for row in json.loads(contents.pop(TABLE))["rows"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{folder / TABLE}: not a score table ({error}); run stack again") from error
    contents.pop(OOF, None)
    pools = contents.pop(FALLBACK, None)
    fallback = None if pools is None else Fallback.restore(pools)
    return Ensemble(Stacker.restore(contents), rows, card, fallback=fallback)
