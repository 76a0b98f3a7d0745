"""Predictions: the output of a member or of the ensemble, as log-probabilities; delta and tau.

For ``p = (p_A, p_B, p_T)``: ``delta = ln p_A - ln p_B`` (who wins) and
``tau = ln p_T - (ln p_A + ln p_B) / 2`` (how much of a tie), so that
``p = softmax([delta/2, -delta/2, tau])``: the tie model of Davidson (1970, JASA 65:317-328), per
pair. Exchanging the responses maps delta to -delta and leaves tau alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import log_softmax, logsumexp

from .battles import SWAP, align_rows
from .errors import InputError
from .losses import LOG_FLOOR, Floats

__all__ = [
    "LOG_FLOOR",
    "Floats",
    "Predictions",
    "average_folds",
    "delta_tau",
    "from_delta_tau",
    "normalised",
    "without_ties",
]

_SUM_TOLERANCE: Final = 1e-6


def delta_tau(log_probs: Floats) -> tuple[Floats, Floats]:
    """Split log-probabilities (n, 3) into delta (n,) and tau (n,); -inf is floored at 1e-15."""
    floored = np.maximum(log_probs, LOG_FLOOR)
    a, b, tie = floored[:, 0], floored[:, 1], floored[:, 2]
    return a - b, tie - (a + b) / 2


def from_delta_tau(delta: Floats, tau: Floats) -> Floats:
    """Log-probabilities (n, 3), normalised, from delta (n,) and tau (n,)."""
    half = np.asarray(delta, dtype=np.float64) / 2
    return np.asarray(log_softmax(np.stack([half, -half, tau], axis=1), axis=1), dtype=np.float64)


def normalised(log_probs: npt.ArrayLike) -> Floats:
    """Log-probabilities (n, 3) float64 whose rows sum to one, from any row-wise shifted ones."""
    return np.asarray(log_softmax(np.asarray(log_probs, dtype=np.float64), axis=1), dtype=np.float64)


def without_ties(log_probs: npt.ArrayLike) -> Floats:
    """Log-probabilities (n, 3) of a task in which no tie can be voted: P(tie) is 0, not merely small."""
    rows = np.array(log_probs, dtype=np.float64)
    rows[:, 2] = -np.inf
    return normalised(rows)


@dataclass(frozen=True, eq=False)
class Predictions:
    """One member's predictions of some battles.

    Parameters
    ----------
    ids
        (n,) polars Series, unique.
    log_probs
        (n, 3) float64, natural log, columns A, B, TIE, rows normalised; -inf is a hard zero.
    fold
        (n,) integers: the fold whose model predicted the row. For out-of-fold rows, the row's own fold.
    swap_log_probs
        The same for the swapped battles, already mapped back to the shown order, or None.

    Raises
    ------
    InputError
        Wrong shape, NaN, +inf, a row that does not sum to 1 within 1e-6, or a repeated id.
    """

    ids: pl.Series
    log_probs: Floats
    fold: npt.NDArray[np.int64]
    swap_log_probs: Floats | None = None

    def __post_init__(self) -> None:
        n = len(self.ids)
        if self.ids.n_unique() != n:
            repeated = self.ids.filter(self.ids.is_duplicated())[0]
            raise InputError(f"predictions repeat the id {repeated!r}; every id must be unique")
        object.__setattr__(self, "fold", np.asarray(self.fold, dtype=np.int64))
        if self.fold.shape != (n,):
            raise InputError(f"fold has shape {self.fold.shape}, expected ({n},)")
        for name in ("log_probs", "swap_log_probs"):
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, self._checked(name, values))

    def _checked(self, name: str, values: npt.ArrayLike) -> Floats:
        array = np.asarray(values, dtype=np.float64)
        if array.shape != (len(self.ids), 3):
            raise InputError(f"{name} has shape {array.shape}, expected ({len(self.ids)}, 3)")
        bad = np.isnan(array).any(axis=1) | (array == np.inf).any(axis=1)
        if not bad.any():
            with np.errstate(divide="ignore"):
                bad = ~(np.abs(logsumexp(array, axis=1)) <= _SUM_TOLERANCE) if len(array) else bad
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"{name} of id {self.ids[row]!r} (row {row + 1}) is {array[row].tolist()}: "
                "expected log-probabilities of one distribution over A, B, tie"
            )
        array.setflags(write=False)
        return array

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def probs(self) -> Floats:
        """Probabilities (n, 3), both orders combined where there are two."""
        return np.asarray(np.exp(self.combined().log_probs), dtype=np.float64)

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> Self:
        """The given rows, in the given order."""
        index = np.asarray(rows, dtype=np.int64)
        swap = None if self.swap_log_probs is None else self.swap_log_probs[index]
        return replace(
            self,
            ids=self.ids[index],
            log_probs=self.log_probs[index],
            fold=self.fold[index],
            swap_log_probs=swap,
        )

    def aligned_to(self, ids: pl.Series, *, name: str = "predictions", remedy: str = "") -> Self:
        """The rows of ``ids``, joined by id and in that order; never by position.

        ``name`` and ``remedy`` are for the error: what is aligned, and what to do where an id is missing.

        Raises
        ------
        InputError
            An id is missing here, or the ids are of another type.
        """
        if self.ids.dtype == ids.dtype and self.ids.equals(ids):
            return self
        return self.take(align_rows(self.ids, ids, name=name, remedy=remedy))

    def without_ties(self) -> Self:
        """The same for a task of two outcomes, in which P(tie) is absent."""
        other = self.swap_log_probs
        return replace(
            self,
            log_probs=without_ties(self.log_probs),
            swap_log_probs=None if other is None else without_ties(other),
        )

    def combined(self) -> Self:
        """The mean of both orders in (delta, tau), or the only order there is.

        With both orders predicted, the result is swap-equivariant.
        """
        if self.swap_log_probs is None:
            return self
        shown, other = delta_tau(self.log_probs), delta_tau(self.swap_log_probs)
        both = from_delta_tau((shown[0] + other[0]) / 2, (shown[1] + other[1]) / 2)
        return replace(self, log_probs=both, swap_log_probs=None)

    def position_bias(self) -> Floats | None:
        """(n,) position bias toward the first response, ``(delta_shown - delta_swapped) / 2``, in logits."""
        if self.swap_log_probs is None:
            return None
        return (delta_tau(self.log_probs)[0] - delta_tau(self.swap_log_probs)[0]) / 2

    def swapped(self) -> Self:
        """The predictions of the swapped battles: columns A and B exchanged.

        The two orders also change places: the swapped one is now the shown one.
        """
        order = list(SWAP)
        if self.swap_log_probs is None:
            return replace(self, log_probs=self.log_probs[:, order])
        return replace(self, log_probs=self.swap_log_probs[:, order], swap_log_probs=self.log_probs[:, order])


def average_folds(parts: list[Predictions]) -> Predictions:
    """Mean over fold models of the combined orders, in (delta, tau); fold is -1.

    All parts hold the same ids in the same order (checked). The geometric mean of the folds'
    probabilities, normalised.
    """
    first = parts[0]
    if any(not part.ids.equals(first.ids) for part in parts[1:]):
        raise InputError("fold predictions hold different ids or another order")
    pairs = [delta_tau(part.combined().log_probs) for part in parts]
    delta = np.mean([pair[0] for pair in pairs], axis=0)
    tau = np.mean([pair[1] for pair in pairs], axis=0)
    return Predictions(first.ids, from_delta_tau(delta, tau), np.full(len(first), -1))
