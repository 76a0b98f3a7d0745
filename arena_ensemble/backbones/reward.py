"""The reward head: each response scored on its own, so the member is swap-equivariant whatever it learns."""

from __future__ import annotations

from .language.backbone import Head, LanguageModel
from .language.heads import RewardHeadModel

# two outputs per response: its score s, and its share t in a tie
_model = LanguageModel(Head(labels=2, build=lambda model, encoder: RewardHeadModel(model), singles=True))
prepare, fit, load, predict = _model.prepare, _model.fit, _model.load, _model.predict
