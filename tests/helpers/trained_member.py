"""A finished workspace with one member, ``mine``, on a tiny Llama."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from architectures import save_base

from arena_ensemble import sample
from arena_ensemble.artifacts import shards
from arena_ensemble.artifacts.cards import EquivalenceCheck
from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.pipeline import workflow
from arena_ensemble.pipeline.combining import EnsemblePrediction
from arena_ensemble.pipeline.ensemble import Ensemble

_RECIPE = """backbone = "classify"
base = "{base}"
[prompt]
template = "short-1"
max_tokens = 96
[train]
learning_rate = 1e-2
{train}[adapter]
r = 2
"""


class Trained:
    """Its recipe's text and file, its battles, and predictions under further settings.

    Parameters
    ----------
    test_rows
        Battles to predict; 40 are trained on, in three folds.
    train
        Further lines of ``[train]``.
    """

    def __init__(self, folder: Path, *, test_rows: int, train: str = "") -> None:
        self.folder, self.workspace, self.test = folder, folder / "w", folder / "test.csv"
        self.text = _RECIPE.format(base=save_base(folder / "base", "llama"), train=train)
        for name, content in sample.files(40, test_rows, seed=3).items():
            (folder / name).write_text(content)
        self.recipe = self.workspace / "models" / "mine" / "recipe.toml"
        self.recipe.parent.mkdir(parents=True)
        self.recipe.write_text(self.text)
        run = workflow.train_members(
            folder / "train.csv", ["mine"], workspace=self.workspace, test=self.test, n_folds=3, jobs=1
        )
        workflow.build_ensemble(run)

    @property
    def member(self) -> MemberArtifacts:
        return MemberArtifacts(Workspace(self.workspace), "mine")

    def predicted(self, more: str = "", workspace: Path | None = None, **options: Any) -> EnsemblePrediction:
        """The ensemble's prediction with ``more`` behind the recipe, perhaps of a copy of the workspace."""
        place = workspace or self.workspace
        (place / "models" / "mine" / "recipe.toml").write_text(self.text + more)
        ensemble = Ensemble.load(place)
        return workflow.predict(ensemble, self.test, workspace=place, jobs=1, strict=True, **options)

    def checks(self) -> dict[str, EquivalenceCheck]:
        return shards.note_of(self.member.predictions / "test.parquet").checks
