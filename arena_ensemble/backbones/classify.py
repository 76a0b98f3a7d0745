"""The classification head: three labels over both responses read together."""

from __future__ import annotations

from .language.backbone import Head, LanguageModel
from .language.heads import ClassifyScorer

_model = LanguageModel(Head(labels=3, build=lambda model, reader: ClassifyScorer(model)))
prepare, fit, load, predict = _model.prepare, _model.fit, _model.load, _model.predict
adopt = _model.adopt
