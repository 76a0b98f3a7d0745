"""The classification head: three labels over both responses read together."""

from __future__ import annotations

from .language.backbone import Head, LanguageModel
from .language.heads import ClassificationHeadModel

_model = LanguageModel(Head(labels=3, build=lambda model, encoder: ClassificationHeadModel(model)))
prepare, fit, load, predict = _model.prepare, _model.fit, _model.load, _model.predict
import_adapter = _model.import_adapter
