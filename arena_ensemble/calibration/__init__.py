"""Calibration: temperature, symmetric calibration, and the correction for fold-averaged predictions."""

from .estimators import SymmetricCalibrator, TemperatureScaler
from .fold_average import ensemble_gamma, fold_average_gamma
from .symmetric import Symmetric, fit_symmetric
from .temperature import Temperature, fit_temperature

__all__ = [
    "Symmetric",
    "SymmetricCalibrator",
    "Temperature",
    "TemperatureScaler",
    "ensemble_gamma",
    "fit_symmetric",
    "fit_temperature",
    "fold_average_gamma",
]
