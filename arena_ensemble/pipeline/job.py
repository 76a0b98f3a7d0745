"""A run and its tasks, as values: what all tasks share, and one member's fold with its keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..artifacts.cards import FoldKey, PredictionKey
from ..artifacts.members import MemberArtifacts
from ..artifacts.workspace import Workspace
from ..battles import Battles
from ..deadline import Deadline
from ..folds import Folds
from ..recipes import Recipe
from .extra_data import ExtraBattles
from .run_progress import label_of


@dataclass(frozen=True)
class Job:
    """What all tasks of one run share. Without ``train`` the fitted models only predict ``test``."""

    root: Path
    """the workspace's folder"""
    train: Battles | None
    folds: Folds | None
    test: Battles | None = None
    extra: ExtraBattles | None = None
    n_classes: int = 3
    """2 where no tie can be voted: then no member gives P(tie)"""
    notes: tuple[str, ...] = ()
    """what the reader reported of the training file, such as how an order was drawn; for the cards"""
    use_folds: tuple[int, ...] | None = None
    """the folds whose models predict ``test`` where there is nothing to train on; None for all"""
    one_model: int | None = None
    """`REFIT` or `AVERAGED`: a model that is made after the folds', and alone predicts ``test``"""
    deadline: Deadline | None = None
    """when a fold in training must have stopped"""

    @property
    def workspace(self) -> Workspace:
        """The workspace that the tasks write to."""
        return Workspace(self.root)

    def artifacts(self, member: str) -> MemberArtifacts:
        """A member's artifacts in the workspace."""
        return MemberArtifacts(self.workspace, member)


@dataclass(frozen=True)
class FoldTask:
    """One member, one fold, and the keys that its artifacts must carry."""

    member: str
    recipe: Recipe
    fold: int
    fit_key: FoldKey
    oof_key: PredictionKey
    test_key: PredictionKey | None
    earlier_tries: tuple[str, ...] = ()
    """why those ended that another machine began, such as a lost node; for the card"""

    @property
    def label(self) -> str:
        """How a person names the task."""
        return label_of(self.member, self.fold)
