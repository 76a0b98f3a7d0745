"""The two calibrations as scikit-learn classifiers. What the numbers are is declared, never guessed."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ..predictions import Floats
from .symmetric import fit_symmetric
from .temperature import finite, fit_temperature

Input = Literal["proba", "logproba", "logits"]
_SUM_TOLERANCE = 1e-3


def log_probabilities(values: npt.ArrayLike, kind: Input) -> Floats:
    """Values of the stated kind as normalised natural-log probabilities (n, 3).

    Raises
    ------
    ValueError
        ``kind`` is unknown, or the values cannot be of that kind (negative or not summing to 1
        within 1e-3, which float16 rounding passes).
    """
    array = np.asarray(values, dtype=np.float64)
    if kind == "proba":
        # Columns, not an axis: a reduction over three numbers a row costs many times the fit.
        total = array[:, 0] + array[:, 1] + array[:, 2]
        if (array < 0).any() or (np.abs(total - 1) > _SUM_TOLERANCE).any():
            raise ValueError(
                "rows are not probabilities (negative, or not summing to 1 within 1e-3); "
                "say input='logproba' or input='logits' if they are something else"
            )
        with np.errstate(divide="ignore"):
            return finite(np.log(array)) - np.log(total)[:, None]
    if kind not in ("logproba", "logits"):
        raise ValueError(f"input={kind!r}; expected 'proba', 'logproba' or 'logits'")
    array = finite(array)
    a, b, tie = array.T
    top = np.maximum(np.maximum(a, b), tie)
    total = top + np.log(np.exp(a - top) + np.exp(b - top) + np.exp(tie - top))
    if kind == "logproba" and (np.abs(total) > _SUM_TOLERANCE).any():
        raise ValueError(
            "rows are not log-probabilities (they do not sum to 1 within 1e-3); say input='logits'"
        )
    return np.asarray(array - total[:, None], dtype=np.float64)


class _Calibrator(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """What both share: three columns in the order of ``classes_``, and how input is checked."""

    input: Input

    def _read(self, X: Any, *, reset: bool) -> Floats:
        # -inf is a legal log-probability, so only NaN and +inf are refused, and that by hand.
        array = validate_data(self, X, reset=reset, dtype=np.float64, ensure_all_finite=False)
        if not np.isfinite(array.sum()):
            if np.isnan(array).any() or (array == np.inf).any():
                raise ValueError("Input X contains NaN or infinity.")
            if (array == -np.inf).any() and self.input == "proba":
                raise ValueError("Input X contains infinity.")
        if reset and len(array) < 2:
            raise ValueError(f"{type(self).__name__} cannot be fitted on 1 sample")
        if array.shape[1] != 3:
            raise ValueError(
                f"{type(self).__name__} needs 3 columns (A, B, tie), found {array.shape[1]} feature(s)"
            )
        return log_probabilities(array, self.input)

    def _check_targets(self, y: Any) -> None:
        if _are_outcomes(y):
            return
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        if np.asarray(y).dtype.kind == "f":
            assert_all_finite(y, input_name="y")
        check_classification_targets(y)

    def _labels(self, y: Any, n: int) -> npt.NDArray[np.int64]:
        column: npt.NDArray[Any] = y if _are_outcomes(y) else column_or_1d(y, warn=True)
        if column.shape != (n,):
            raise ValueError(f"y has shape {column.shape}, expected ({n},)")
        if _are_outcomes(y):
            self.classes_: npt.NDArray[Any] = np.arange(3)
            return column.astype(np.int64)
        found = np.unique(column)
        if column.dtype.kind in "iufb" and np.isin(found, (0, 1, 2)).all():
            self.classes_ = np.arange(3)
        elif len(found) == 3:
            self.classes_ = found
        else:
            raise ValueError(f"y holds {len(found)} classes, expected 3, or integers in {{0, 1, 2}}")
        return np.searchsorted(self.classes_, column).astype(np.int64)

    def _apply(self, log_probs: Floats) -> Floats:
        raise NotImplementedError

    def predict_log_proba(self, X: Any) -> Floats:
        """Calibrated natural-log probabilities (n, 3), columns as ``classes_``."""
        check_is_fitted(self)
        return self._apply(self._read(X, reset=False))

    def predict_proba(self, X: Any) -> Floats:
        """Calibrated probabilities (n, 3), columns as ``classes_``."""
        return np.asarray(np.exp(self.predict_log_proba(X)), dtype=np.float64)

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The likeliest class of each row, (n,)."""
        check_is_fitted(self)
        return np.asarray(self.classes_[np.argmax(self.predict_log_proba(X), axis=1)])


def _are_outcomes(y: Any) -> bool:
    """Whether y plainly is (n,) integers in {0, 1, 2}; scikit-learn's own checks of anything cost as much
    as the fit."""
    return (
        isinstance(y, np.ndarray)
        and y.ndim == 1
        and y.dtype.kind in "iu"
        and len(y) > 0
        and bool(y.min() >= 0)
        and bool(y.max() <= 2)
    )


class TemperatureScaler(_Calibrator):
    """Temperature scaling of three-outcome predictions.

    Parameters
    ----------
    input
        What X holds: ``"proba"`` (default), ``"logproba"`` or ``"logits"``. Never guessed.

    Attributes
    ----------
    beta_, temperature_
        The fitted sharpness and its inverse.
    classes_
        The three classes, in column order.
    """

    def __init__(self, input: Input = "proba") -> None:
        self.input = input

    def fit(self, X: Any, y: Any) -> Self:
        """Find the temperature of least log-loss on X (n, 3) and y (n,)."""
        self._check_targets(y)
        log_probs = self._read(X, reset=True)
        self.fitted_ = fit_temperature(log_probs, self._labels(y, len(log_probs)))
        self.beta_ = self.fitted_.beta
        self.temperature_ = self.fitted_.temperature
        return self

    def _apply(self, log_probs: Floats) -> Floats:
        return self.fitted_.apply(log_probs)


class SymmetricCalibrator(_Calibrator):
    """Symmetric calibration, (delta, tau) → (a delta, c tau + g), of three-outcome predictions.

    Parameters
    ----------
    input
        What X holds: ``"proba"`` (default), ``"logproba"`` or ``"logits"``. Never guessed.

    Attributes
    ----------
    a_, c_, g_
        The three fitted numbers; 1, 1, 0 is the identity.
    classes_
        The three classes, in column order A, B, tie.
    """

    def __init__(self, input: Input = "proba") -> None:
        self.input = input

    def fit(self, X: Any, y: Any) -> Self:
        """Find the three numbers of least log-loss on X (n, 3) and y (n,)."""
        self._check_targets(y)
        log_probs = self._read(X, reset=True)
        self.fitted_ = fit_symmetric(log_probs, self._labels(y, len(log_probs)))
        self.a_, self.c_, self.g_ = self.fitted_.a, self.fitted_.c, self.fitted_.g
        return self

    def _apply(self, log_probs: Floats) -> Floats:
        return self.fitted_.apply(log_probs)
