"""Calibrated P(A wins), P(B wins), P(tie) for two chatbot answers.

The public names below are imported when they are first used, so that importing the package is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .battles import Battles
    from .calibration import SymmetricCalibrator, TemperatureScaler
    from .errors import ArenaError
    from .features import extract
    from .folds import make_folds
    from .io import read_battles, read_judgements
    from .judgements import Judgements
    from .panels import Panel
    from .pipeline.cross_fit import cross_fit
    from .pipeline.ensemble import Ensemble
    from .pipeline.executors import OnRay
    from .pipeline.panel_shards import predict_panel_shards
    from .pipeline.streaming import predict_shards
    from .pipeline.workflow import build_ensemble, predict, predict_test, train_members, write_submission
    from .predictions import Predictions
    from .recipes import load_recipe
    from .stacking import Stacker

_HOME: Final = {
    "ArenaError": "errors",
    "Battles": "battles",
    "Ensemble": "pipeline.ensemble",
    "Judgements": "judgements",
    "OnRay": "pipeline.executors",
    "Panel": "panels",
    "Predictions": "predictions",
    "Stacker": "stacking",
    "SymmetricCalibrator": "calibration",
    "TemperatureScaler": "calibration",
    "build_ensemble": "pipeline.workflow",
    "cross_fit": "pipeline.cross_fit",
    "extract": "features",
    "load_recipe": "recipes",
    "make_folds": "folds",
    "predict": "pipeline.workflow",
    "predict_panel_shards": "pipeline.panel_shards",
    "predict_shards": "pipeline.streaming",
    "predict_test": "pipeline.workflow",
    "read_battles": "io",
    "read_judgements": "io",
    "train_members": "pipeline.workflow",
    "write_submission": "pipeline.workflow",
}

__all__ = [
    "ArenaError",
    "Battles",
    "Ensemble",
    "Judgements",
    "OnRay",
    "Panel",
    "Predictions",
    "Stacker",
    "SymmetricCalibrator",
    "TemperatureScaler",
    "build_ensemble",
    "cross_fit",
    "extract",
    "load_recipe",
    "make_folds",
    "predict",
    "predict_panel_shards",
    "predict_shards",
    "predict_test",
    "read_battles",
    "read_judgements",
    "train_members",
    "write_submission",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
