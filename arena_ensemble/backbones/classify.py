"""The classification head: three labels over both responses read together."""

from __future__ import annotations

from .language.backbone import LanguageModel
from .language.heads import ClassificationHeadModel

engine = LanguageModel(lambda model, recipe, tokenizer: ClassificationHeadModel(model))
prepare, fit, load, predict = engine.prepare, engine.fit, engine.load, engine.predict
