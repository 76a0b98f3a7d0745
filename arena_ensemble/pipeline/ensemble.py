"""The ensemble: a fitted stacker with its score table and card, loaded from a workspace to predict."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from lightgbm.basic import LightGBMError

from ..artifacts import atomic, cards
from ..artifacts.cards import EnsembleCard, GammaNote
from ..artifacts.files import parquet_bytes
from ..artifacts.members import OOF, MemberArtifacts
from ..artifacts.tables import predictions_frame
from ..artifacts.workspace import ENSEMBLE, Workspace
from ..errors import ArtifactError, InputError, StaleError
from ..features import Features, extract
from ..io import BattlesLike, as_battles
from ..metrics import ScoreRow
from ..predictions import Floats, Predictions
from ..stacking import Stacker
from ..stacking.parts import Parts
from . import explaining, fold_models, gammas
from .combining import ByFold, EnsemblePrediction, combine_folds
from .explanation import Explanation
from .fallback import Fallback
from .fold_models import FoldModel, HeldMember
from .neighbours import TrainingPrompts

TABLE: Final = "table.json"
FALLBACK: Final = "fallback.json"


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
    held: Mapping[str, HeldMember] | None = None
    """the members' fold models, see `in_memory`"""
    note: GammaNote | None = None
    """the kept gammas, where the fold models are held"""

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
            `Battles`, a file, a polars or pandas frame, or dictionaries; see `io.as_battles`. Each battle's
            probabilities stand for themselves, whatever others are given with it: how much an average of
            folds is sharpened (gamma) is what the first test file of 20 rows or more gave (`predict`,
            `predict_test`), and 1 where none was predicted.

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
        rows = as_battles(battles).without_outcomes()
        self._checked_workspace()
        by_fold = {name: fold_models.predict(self._models(name), rows) for name in self.members}
        return self.combine(by_fold, extract(rows), self._kept_gammas(by_fold)).log_probs

    def in_memory(self) -> Ensemble:
        """The same ensemble with all its fold models loaded: it predicts again and again without the disk.

        Its predictions are those of this one, to the bit. Every fold model of every member is held at once.

        Raises
        ------
        InputError, ArtifactError, StaleError
            As `predict_proba`.
        """
        place = self._checked_workspace()
        n_classes = self.card.n_classes
        held = {
            name: HeldMember(tuple(fold_models.load(place, name, n_classes=n_classes)))
            for name in self.members
        }
        return dataclasses.replace(self, held=held, note=gammas.kept(place))

    def _checked_workspace(self) -> Workspace:
        if self.workspace is None:
            raise InputError("the ensemble was loaded without a workspace: its members' models are not known")
        if self.held is None:
            refuse_external(self.workspace, self.members)
            self.check_members(self.workspace)
        return self.workspace

    def _models(self, name: str) -> HeldMember | Iterable[FoldModel]:
        """A member's fold models, held or loaded one by one."""
        if self.held is not None:
            return self.held[name]
        assert self.workspace is not None
        return fold_models.load(self.workspace, name, n_classes=self.card.n_classes)

    def _kept_gammas(self, by_fold: ByFold) -> Mapping[str, float]:
        assert self.workspace is not None
        note = self.note if self.held is not None else gammas.kept(self.workspace)
        return gammas.of_rows(note, by_fold)

    def explain(
        self,
        battle: BattlesLike,
        *,
        train: BattlesLike | TrainingPrompts | None = None,
        neighbours: int = 5,
    ) -> Explanation:
        """Why one new battle has the probabilities that `predict_proba` gives it alone.

        Parameters
        ----------
        battle
            One battle, in any form that `predict_proba` takes.
        train
            Training battles, to name those with the nearest prompts and their votes.
        neighbours
            How many of them at most.

        Raises
        ------
        InputError
            More than one battle, or as `predict_proba`.
        """
        rows = as_battles(battle)
        if len(rows) != 1:
            raise InputError(f"explain takes one battle, given {len(rows)}; choose one by its id")
        self._checked_workspace()
        views = {name: explaining.view_of(self._models(name), rows) for name in self.members}
        used = self._kept_gammas({name: view.shown for name, view in views.items()})
        prompts = train if isinstance(train, TrainingPrompts | None) else TrainingPrompts(as_battles(train))
        return explaining.explain(
            self, rows, views, used, source="fold models", train=prompts, neighbours=neighbours
        )

    def explain_training(self, train: BattlesLike, id: int | str, *, neighbours: int = 5) -> Explanation:
        """Why a training battle has its probabilities, from its members' out-of-fold predictions.

        No member saw the battle's group; the stacker's few numbers were fitted on it among all others. At
        equal length, members with a fitted model here are asked again, by the fold model that never saw it.

        Raises
        ------
        InputError
            The battles are not those that the ensemble was fitted on, or hold no such id.
        """
        battles = as_battles(train)
        if self.workspace is None:
            raise InputError("explaining a training battle needs the members' predictions: give a workspace")
        self.check_members(self.workspace)
        if self.card.key is None or battles.digest() != self.card.key.data:
            raise InputError(
                "these are not the training battles that the ensemble was fitted on; give that file, "
                "or explain the battle as a new one (`explain --test FILE`)"
            )
        found = np.flatnonzero((battles.ids.cast(pl.String) == str(id)).to_numpy())
        if len(found) != 1:
            raise InputError(f"no training battle has the id {id!r}; choose one of the file's ids")
        row = battles.take(found)
        place, n_classes = self.workspace, self.card.n_classes
        views = {name: explaining.oof_view(place, name, row, n_classes=n_classes) for name in self.members}
        return explaining.explain(
            self,
            row,
            views,
            {},
            source="out of fold",
            train=TrainingPrompts(battles) if neighbours else None,
            neighbours=neighbours,
        )

    def combine(
        self, by_fold: ByFold, features: Features | None, gammas: Mapping[str, float] | None = None
    ) -> EnsemblePrediction:
        """The ensemble's prediction from its members' predictions by fold (one where folds are unknown).

        ``gammas`` as in `combining.combine_folds`.
        """
        return combine_folds(
            by_fold,
            lambda members: self.stacker_log_probs(members, features),
            n_classes=self.card.n_classes,
            gammas=gammas,
        )

    def stacker_log_probs(self, members: Mapping[str, Predictions], features: Features | None) -> Floats:
        """The stacker's natural-log probabilities (n, 3) of new rows.

        Raises
        ------
        ArtifactError
            The parts of the stacker do not fit each other: its file was made by hand.
        """
        with (
            _fitting_together(),
            np.errstate(all="ignore"),
        ):  # what is not finite is refused where it is written
            return self.stacker.predict_log_proba(members, features=features)

    def stacker_parts(self, members: Mapping[str, Predictions], features: Features | None) -> Parts:
        """What each member and feature adds to the stacker's delta and tau; errors as `stacker_log_probs`."""
        with _fitting_together():
            return self.stacker.parts(members, features=features)


@contextlib.contextmanager
def _fitting_together() -> Iterator[None]:
    try:
        yield
    except (ArithmeticError, AttributeError, LightGBMError, LookupError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"the stacker does not fit together ({type(error).__name__}: {error}); "
            "run `arena-ensemble stack` again"
        ) from error


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
