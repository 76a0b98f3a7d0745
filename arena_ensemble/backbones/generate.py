"""The generation head: a causal model's next token, restricted to the three verdict words."""

from __future__ import annotations

from typing import Any

from .language.backbone import Head, LanguageModel
from .language.encoder import PromptEncoder
from .language.heads import GenerationHeadModel
from .language.template_tokens import verdict_ids


def _build(model: Any, encoder: PromptEncoder) -> GenerationHeadModel:
    ids = verdict_ids(encoder.tokenizer, encoder.recipe.prompt)
    frozen = encoder.recipe.adapter.kind == "frozen" and encoder.recipe.train.epochs > 0
    return GenerationHeadModel(model, ids, own_rows=frozen)


_model = LanguageModel(Head(labels=None, build=_build))
prepare, fit, load, predict = _model.prepare, _model.fit, _model.load, _model.predict
import_adapter = _model.import_adapter
