"""A member's fitted fold models: loaded one after the other, or held in memory to predict again and again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .. import backbones
from ..artifacts.workspace import Workspace
from ..backbones.base import Backbone, Fitted
from ..battles import Battles
from ..predictions import Predictions
from ..recipes import Recipe, load_recipe
from . import equivalence, orders, tasks
from .tasks import Job


@dataclass(frozen=True)
class FoldModel:
    """One fold's model of a member, in memory."""

    backbone: Backbone
    fitted: Fitted
    recipe: Recipe
    fold: int
    n_classes: int

    def predict(self, battles: Battles) -> Predictions:
        """Predictions of battles, in both orders where the recipe says so."""
        return orders.predict_fold(
            self.backbone,
            self.fitted,
            battles,
            recipe=self.recipe,
            fold=self.fold,
            n_classes=self.n_classes,
        )

    def predict_level(self, battles: Battles) -> Predictions | None:
        """Predictions at equal length and format; None of a model that cannot take them out of the text."""
        level = getattr(self.backbone, "predict_level", None)
        if level is None:
            return None
        log_probs = level(self.fitted, battles.without_outcomes())
        found = Predictions(battles.ids, log_probs, [self.fold] * len(battles))  # type: ignore[arg-type]
        return found.without_ties() if self.n_classes == 2 else found


def load(
    workspace: Workspace, name: str, *, n_classes: int, only_fold: int | None = None
) -> Iterator[FoldModel]:
    """Each fold model of a member, by fold; a model is loaded when it is asked for.

    Raises
    ------
    InputError, StaleError, ArtifactError
        A fitted model is missing, made from another recipe, truncated or edited.
    MemberError
        A model that runs otherwise than it was trained predicts other things.
    """
    recipe = load_recipe(workspace.recipe_path(name))
    job = Job(workspace.root, None, None, None, n_classes=n_classes)
    backbone = backbones.get(recipe.backbone)
    for task in tasks.plan(job, name, recipe):
        if only_fold is not None and task.fold != only_fold:
            continue
        folder = job.artifacts(name).fitted_folder(task.fit_key)
        assert folder is not None, "planned from the fitted folds"
        with backbones.reraise_os_errors(folder):
            fitted = backbone.load(folder, recipe=recipe, cache=workspace.cache)
        card = job.artifacts(name).fold_card(task.fold)
        equivalence.check(folder, card, backbone, fitted, recipe)
        yield FoldModel(backbone, fitted, recipe, task.fold, n_classes)
