"""Calibrated P(A wins), P(B wins), P(tie) for two chatbot answers.

The public names below are imported when they are first used, so that importing the package is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .battles import Battles, Outcome
    from .calibration import SymmetricCalibrator, TemperatureScaler
    from .errors import ArenaError
    from .features import Features, extract
    from .folds import Folds, make_folds
    from .io import read_battles, read_predictions
    from .predictions import Predictions
    from .recipes import Recipe, load_recipe
    from .stacking import Stacker

_HOME: Final = {
    "ArenaError": "errors",
    "Battles": "battles",
    "Features": "features",
    "Folds": "folds",
    "Outcome": "battles",
    "Predictions": "predictions",
    "Recipe": "recipes",
    "Stacker": "stacking",
    "SymmetricCalibrator": "calibration",
    "TemperatureScaler": "calibration",
    "extract": "features",
    "load_recipe": "recipes",
    "make_folds": "folds",
    "read_battles": "io",
    "read_predictions": "io",
}

__all__ = [
    "ArenaError",
    "Battles",
    "Features",
    "Folds",
    "Outcome",
    "Predictions",
    "Recipe",
    "Stacker",
    "SymmetricCalibrator",
    "TemperatureScaler",
    "extract",
    "load_recipe",
    "make_folds",
    "read_battles",
    "read_predictions",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
