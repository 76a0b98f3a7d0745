"""A member's fitted fold models: loaded one after the other, or held in memory to predict again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from .. import backbones
from ..artifacts.workspace import Workspace
from ..backbones import head_of
from ..backbones.base import Backbone, Fitted
from ..battles import Battles
from ..errors import MemberError
from ..features import Features, extract
from ..predictions import Floats, Predictions
from ..recipes import Recipe, load_recipe
from . import averaging, equivalence, orders, tasks
from .job import Job


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
        return self.wrapped(level(self.fitted, battles.without_outcomes()), battles)

    def word_parts(self, battle: Battles) -> dict[str, float] | None:
        """What each term adds to delta of one battle; None of a model that is no sum over words."""
        words = getattr(self.backbone, "word_parts", None)
        return None if words is None else dict(words(self.fitted, battle.without_outcomes()))

    def wrapped(self, log_probs: Floats, battles: Battles) -> Predictions:
        """Log-probabilities (n, 3) of one order as this fold's predictions."""
        found = Predictions(battles.ids, log_probs, np.full(len(battles), self.fold))
        return found.without_ties() if self.n_classes == 2 else found

    @property
    def swap_equivariant(self) -> bool:
        """Whether exchanging the answers exchanges its prediction by construction."""
        return head_of(self.recipe.backbone).swap_equivariant


class HeldMember:
    """All fold models of a member in memory; where its head can, they predict in one pass, the same bits."""

    def __init__(self, models: tuple[FoldModel, ...]) -> None:
        self.models = models
        held = getattr(models[0].backbone, "held", None)
        self._together: Callable[[Battles, Features], list[Floats]] | None = None
        if held is not None and models[0].recipe.read_orders == 1:
            self._together = held([model.fitted for model in models])

    def predict(self, battles: Battles) -> list[Predictions]:
        """Each fold model's predictions of battles."""
        unseen = battles.without_outcomes()
        if self._together is None:
            return [model.predict(unseen) for model in self.models]
        return self._wrapped(self._together(unseen, extract(unseen)), battles)

    def predict_level(self, battles: Battles) -> list[Predictions]:
        """The same at equal length and format; empty of models that cannot take them out of the text."""
        unseen = battles.without_outcomes()
        if self._together is None:
            return [one for model in self.models if (one := model.predict_level(unseen)) is not None]
        return self._wrapped(self._together(unseen, extract(unseen).level()), battles)

    def _wrapped(self, found: list[Floats], battles: Battles) -> list[Predictions]:
        return [model.wrapped(one, battles) for model, one in zip(self.models, found, strict=True)]


def load(
    workspace: Workspace,
    name: str,
    *,
    n_classes: int,
    only_fold: int | None = None,
    use_folds: tuple[int, ...] | None = None,
    recipe: Recipe | None = None,
) -> Iterator[FoldModel]:
    """Each fold model of a member, by fold; a model is loaded when it is asked for.

    ``use_folds`` are those that predict in place of all, as `arguments.folds_of` gives them. ``recipe`` is
    the member's own by default, or that with its base elsewhere.

    Raises
    ------
    InputError, StaleError, ArtifactError
        A fitted model is missing, made from another recipe, truncated or edited.
    MemberError
        A model that runs otherwise than it was trained predicts other things.
    """
    if recipe is None:
        recipe = load_recipe(workspace.recipe_path(name))
    job = Job(workspace.root, None, None, None, n_classes=n_classes, use_folds=use_folds)
    backbone = backbones.get(recipe.backbone)
    for task in tasks.plan(job, name, recipe):
        if only_fold is not None and task.fold != only_fold:
            continue
        loaded = averaging.to_load(job.artifacts(name), recipe, task.fold)
        folder = job.artifacts(name).fitted_folder(task.fit_key)
        assert folder is not None, "planned from the fitted folds"
        card = job.artifacts(name).fold_card(task.fold)
        try:
            fitted, _ = equivalence.load(folder, card, backbone, loaded, cache=workspace.cache)
        except MemberError as error:
            raise MemberError(f"member {task.label}: {error}") from None
        yield FoldModel(backbone, fitted, recipe, task.fold, n_classes)


def predict(models: HeldMember | Iterable[FoldModel], battles: Battles) -> list[Predictions]:
    """Each fold model's predictions of battles."""
    if isinstance(models, HeldMember):
        return models.predict(battles)
    return [model.predict(battles) for model in models]
