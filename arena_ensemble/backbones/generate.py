"""The generation head: a causal model's next token, restricted to the three verdict words."""

from __future__ import annotations

from typing import Any

from ..recipes import Recipe
from .language.backbone import LanguageModel
from .language.heads import GenerationHeadModel
from .language.template_tokens import verdict_ids


def _build(model: Any, recipe: Recipe, tokenizer: Any | None) -> GenerationHeadModel:
    # a plan has shapes alone: there any three rows of the output layer do
    ids = (0, 1, 2) if tokenizer is None else verdict_ids(tokenizer, recipe.prompt)
    frozen = recipe.adapter.kind == "frozen" and recipe.has_weights
    return GenerationHeadModel(model, ids, own_rows=frozen)


engine = LanguageModel(_build)
prepare, fit, load, predict = engine.prepare, engine.fit, engine.load, engine.predict
