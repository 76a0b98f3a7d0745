"""The generation head: a causal model's next token, restricted to the three verdict words."""

from __future__ import annotations

from typing import Any

from .language.backbone import Head, LanguageModel
from .language.encoder import Reader
from .language.heads import GenerateScorer
from .language.template_tokens import verdict_ids


def _build(model: Any, reader: Reader) -> GenerateScorer:
    ids = verdict_ids(reader.tokenizer, reader.recipe.prompt)
    frozen = reader.recipe.adapter.kind == "frozen" and reader.recipe.train.epochs > 0
    return GenerateScorer(model, ids, own_rows=frozen)


_model = LanguageModel(Head(labels=None, build=_build))
prepare, fit, load, predict = _model.prepare, _model.fit, _model.load, _model.predict
adopt = _model.adopt
