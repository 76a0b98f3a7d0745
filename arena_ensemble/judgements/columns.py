"""One judge on n pairs: hard verdicts, scores of the answers, or label probabilities; missing where none.

Every column has three *slots* a row, by what the judge saw first: answer A, answer B, or neither or not known
(`First`). A judge that read both orders fills two of them. Exchanging the two answers therefore exchanges A
and B in what was answered *and* the first two slots, and exchanging twice is the identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from ..battles import SWAP
from ..errors import InputError
from ..losses import Floats

MISSING: Final = -1
"""The code of a verdict that was not given, beside 0 (A), 1 (B), 2 (tie)."""
_SUM_TOLERANCE: Final = 1e-6
_OTHER_FIRST: Final = [1, 0, 2]


class First(IntEnum):
    """Which answer a judge saw first, in the order of the slots of every column."""

    A = 0
    B = 1
    UNKNOWN = 2
    """not known, or no order at all: each answer was scored alone"""


@dataclass(frozen=True, eq=False)
class JudgeColumn:
    """One judge on n pairs; abstract: `Verdicts`, `Scores` or `LogProbs`."""

    kind: ClassVar[str]
    _fill: ClassVar[Mapping[str, float]]
    """field → what stands in a row that the judge never saw"""

    def __len__(self) -> int:
        return len(next(iter(self.arrays().values())))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Field → array, rows first, slots (`First`) second."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> Self:
        """The given rows, in the given order; -1 is a row that the judge never saw."""
        absent = rows < 0
        found = {}
        for name, array in self.arrays().items():
            picked = array[rows] if len(array) else np.empty((len(rows), *array.shape[1:]), array.dtype)
            picked[absent] = self._fill[name]
            found[name] = picked
        return type(self)(**found)

    def swapped(self) -> Self:
        """The same about the exchanged answers: what was answered and what was seen first change places."""
        found = {}
        for name, array in self.arrays().items():
            other = array[:, _OTHER_FIRST]
            found[name] = other[..., list(SWAP)[: other.shape[2]]] if other.ndim == 3 else other
        return type(self)(**found)

    def swapped_where(self, rows: npt.NDArray[np.bool_]) -> Self:
        """The same, with the answers of the marked rows (n,) exchanged."""
        if not rows.any():
            return self
        other = self.swapped().arrays()
        return type(self)(
            **{
                name: np.where(rows.reshape(-1, *[1] * (array.ndim - 1)), other[name], array)
                for name, array in self.arrays().items()
            }
        )

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """(n, 3) whether a usable answer lies in each slot."""
        raise NotImplementedError

    @property
    def margins(self) -> Floats:
        """(n, 3) how far each slot prefers A to B, in the column's own unit; NaN where missing."""
        raise NotImplementedError

    @property
    def slot_verdicts(self) -> npt.NDArray[np.int8]:
        """(n, 3) the verdict of each slot alone: 0 A, 1 B, 2 tie, -1 missing."""
        margin = np.where(self.present, self.margins, 0.0)
        codes = np.where(margin > 0, 0, np.where(margin < 0, 1, 2))
        return np.where(self.present, codes, MISSING).astype(np.int8)

    @property
    def verdicts(self) -> npt.NDArray[np.int8]:
        """(n,) one verdict a row: 0 A, 1 B, 2 tie, -1 missing; orders that contradict are a tie."""
        slots = self.slot_verdicts
        votes = np.stack([(slots == code).sum(axis=1) for code in range(3)], axis=1)
        lead = votes[:, 0] - votes[:, 1]
        codes = np.where(lead > 0, 0, np.where(lead < 0, 1, 2))
        codes = np.where(votes[:, 2] > votes[:, :2].max(axis=1), 2, codes)
        return np.where(votes.sum(axis=1) > 0, codes, MISSING).astype(np.int8)

    @property
    def first(self) -> npt.NDArray[np.int8]:
        """(n,) `First` of the only usable order; UNKNOWN where both, neither or no order is known."""
        a, b, other = self.present.T
        return np.where(a & ~b & ~other, First.A, np.where(b & ~a & ~other, First.B, First.UNKNOWN)).astype(
            np.int8
        )

    @property
    def missing(self) -> npt.NDArray[np.bool_]:
        """(n,) rows without any usable answer."""
        return np.asarray(~self.present.any(axis=1))


@dataclass(frozen=True, eq=False)
class Verdicts(JudgeColumn):
    """Hard verdicts, several samples as counts.

    Parameters
    ----------
    counts
        (n, 3, 3) integers: samples by slot (`First`) and verdict (A, B, tie).
    unusable
        (n, 3) integers: calls by slot whose answer was empty, a refusal or no verdict.
    """

    kind: ClassVar[str] = "verdicts"
    _fill: ClassVar[Mapping[str, float]] = {"counts": 0, "unusable": 0}

    counts: npt.NDArray[np.int64]
    unusable: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        _freeze(self, "counts", (3, 3), np.int64)
        _freeze(self, "unusable", (3,), np.int64)
        if len(self.counts) and min(self.counts.min(), self.unusable.min()) < 0:
            raise InputError("verdict counts hold a negative number; count samples from 0")

    @classmethod
    def from_codes(
        cls, codes: npt.ArrayLike, first: npt.ArrayLike | First = First.UNKNOWN, *, asked: bool = True
    ) -> Verdicts:
        """One verdict a row: codes (n,) 0 A, 1 B, 2 tie, -1 missing; ``first`` one `First` or (n,).

        ``asked``: whether a missing verdict counts as a call that failed.
        """
        given = np.asarray(codes, dtype=np.int64)
        slot = np.broadcast_to(np.asarray(first, dtype=np.int64), given.shape)
        if not (np.isin(given, (-1, 0, 1, 2)).all() and np.isin(slot, (0, 1, 2)).all()):
            raise InputError("verdict codes are 0 (A), 1 (B), 2 (tie), -1 (missing), and first is 0, 1 or 2")
        counts, unusable = np.zeros((len(given), 3, 3), np.int64), np.zeros((len(given), 3), np.int64)
        rows = np.flatnonzero(given >= 0)
        counts[rows, slot[rows], given[rows]] = 1
        lost = np.flatnonzero(given < 0)
        unusable[lost, slot[lost]] = int(asked)
        return cls(counts, unusable)

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """(n, 3) whether a sample of each slot was usable."""
        return np.asarray(self.counts.sum(axis=2) > 0)

    @property
    def shares(self) -> Floats:
        """(n, 3, 3) share of each verdict among the usable samples of a slot; NaN where there is none."""
        total = self.counts.sum(axis=2, keepdims=True)
        return np.where(total > 0, self.counts / np.maximum(total, 1), np.nan)

    @property
    def margins(self) -> Floats:
        """(n, 3) share of A minus share of B."""
        return np.asarray(self.shares[..., 0] - self.shares[..., 1], dtype=np.float64)

    @property
    def slot_verdicts(self) -> npt.NDArray[np.int8]:
        """(n, 3) the commonest verdict of each slot; A and B equally common is a tie."""
        a, b, tie = np.moveaxis(self.counts, 2, 0)
        codes = np.where((tie > np.maximum(a, b)) | (a == b), 2, np.where(a > b, 0, 1))
        return np.where(self.present, codes, MISSING).astype(np.int8)


@dataclass(frozen=True, eq=False)
class Scores(JudgeColumn):
    """A score of each answer, several samples as mean and spread.

    Parameters
    ----------
    mean
        (n, 3, 2) mean score by slot and answer (A, B); NaN is missing.
    spread
        (n, 3, 2) standard deviation of the samples; 0 where there is one, NaN where there is none.
    """

    kind: ClassVar[str] = "scores"
    _fill: ClassVar[Mapping[str, float]] = {"mean": np.nan, "spread": np.nan}

    mean: Floats
    spread: Floats

    def __post_init__(self) -> None:
        _freeze(self, "mean", (3, 2), np.float64)
        _freeze(self, "spread", (3, 2), np.float64)
        if np.isinf(self.mean).any() or not np.array_equal(np.isnan(self.mean), np.isnan(self.spread)):
            raise InputError("scores hold infinity, or a mean without a spread; leave missing scores empty")
        if (np.nan_to_num(self.spread) < 0).any() or np.isinf(self.spread).any():
            raise InputError("the spread of scores is negative or infinite; give standard deviations")

    @classmethod
    def from_pairs(cls, scores: npt.ArrayLike, first: npt.ArrayLike | First = First.UNKNOWN) -> Scores:
        """One score an answer: (n, 2), NaN where missing; ``first`` one `First` or (n,)."""
        given = np.asarray(scores, dtype=np.float64)
        mean = np.full((len(given), 3, 2), np.nan)
        slot = np.broadcast_to(np.asarray(first, dtype=np.int64), (len(given),))
        mean[np.arange(len(given)), slot] = given
        return cls(mean, np.where(np.isnan(mean), np.nan, 0.0))

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """(n, 3) whether both answers have a score."""
        return np.asarray(~np.isnan(self.mean).any(axis=2))

    @property
    def margins(self) -> Floats:
        """(n, 3) score of A minus score of B."""
        return np.asarray(self.mean[..., 0] - self.mean[..., 1], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class LogProbs(JudgeColumn):
    """Label probabilities.

    Parameters
    ----------
    log_probs
        (n, 3, 3) natural-log probabilities by slot and outcome (A, B, tie), NaN where missing; a judge of two
        outcomes has -inf for the tie.
    """

    kind: ClassVar[str] = "log_probs"
    _fill: ClassVar[Mapping[str, float]] = {"log_probs": np.nan}

    log_probs: Floats

    def __post_init__(self) -> None:
        _freeze(self, "log_probs", (3, 3), np.float64)
        absent = np.isnan(self.log_probs)
        given = ~absent.any(axis=2)
        with np.errstate(divide="ignore"):
            sums = logsumexp(self.log_probs[given], axis=1) if given.any() else np.zeros(0)
        if (absent.any(axis=2) != absent.all(axis=2)).any() or not (np.abs(sums) <= _SUM_TOLERANCE).all():
            raise InputError(
                "label probabilities of a row do not sum to one, or some are missing; give all or none"
            )

    @classmethod
    def from_probs(cls, log_probs: npt.ArrayLike, first: npt.ArrayLike | First = First.UNKNOWN) -> LogProbs:
        """One distribution a row: (n, 3), NaN where missing; ``first`` one `First` or (n,)."""
        given = np.asarray(log_probs, dtype=np.float64)
        filled = np.full((len(given), 3, 3), np.nan)
        slot = np.broadcast_to(np.asarray(first, dtype=np.int64), (len(given),))
        filled[np.arange(len(given)), slot] = given
        return cls(filled)

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """(n, 3) whether each slot holds a distribution."""
        return np.asarray(~np.isnan(self.log_probs).any(axis=2))

    @property
    def margins(self) -> Floats:
        """(n, 3) ln p_A - ln p_B, probabilities floored at 1e-15."""
        floored = np.maximum(self.log_probs, np.log(1e-15))
        return np.asarray(floored[..., 0] - floored[..., 1], dtype=np.float64)

    @property
    def slot_verdicts(self) -> npt.NDArray[np.int8]:
        """(n, 3) the likeliest outcome of each slot; A and B equally likely is a tie."""
        filled = np.where(self.present[..., None], self.log_probs, 0.0)
        codes = filled.argmax(axis=2)
        codes = np.where((codes < 2) & (filled[..., 0] == filled[..., 1]), 2, codes)
        return np.where(self.present, codes, MISSING).astype(np.int8)


def _freeze(column: JudgeColumn, name: str, shape: tuple[int, ...], dtype: type) -> None:
    """Check a field's shape (n, *shape) and make it read-only."""
    array: npt.NDArray[Any] = np.array(getattr(column, name), dtype=dtype)
    if array.ndim != len(shape) + 1 or array.shape[1:] != shape:
        raise InputError(f"{name} has shape {array.shape}, expected (n, {', '.join(map(str, shape))})")
    array.setflags(write=False)
    object.__setattr__(column, name, array)
