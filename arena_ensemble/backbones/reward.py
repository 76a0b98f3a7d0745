"""The reward head: each response scored on its own, so the member is swap-equivariant whatever it learns."""

from __future__ import annotations

from .language.backbone import LanguageModel
from .language.heads import RewardHeadModel

engine = LanguageModel(lambda model, recipe, tokenizer: RewardHeadModel(model))
prepare, fit, load, predict = engine.prepare, engine.fit, engine.load, engine.predict
