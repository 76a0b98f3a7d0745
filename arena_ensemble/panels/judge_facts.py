"""What is known of each judge: alone and beside the others, against the votes, its biases, its worth."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from ..errors import InputError
from ..features import Features
from ..judgements import First, JudgeColumn, Judgements, LogProbs
from ..losses import Floats, group_codes, row_losses, standard_error
from ..metrics import Labels
from .annotators import may_replace
from .judge_statistics import JudgeStatistics, judge_statistics

LEVEL: Final = 0.95
_FLOOR: Final = math.log(1e-3)
"""of a judge's own probabilities, where it gave an outcome none"""
_BINS: Final = 10
_LENGTH: Final = "chars.log"


@dataclass(frozen=True)
class JudgeFacts:
    """One judge, on the pairs that have votes; losses in nats, shares in [0, 1], None where nothing is known.

    ``log_loss``, ``se`` and ``accuracy`` are those of its encoder, out of fold; ``agreement`` is the share of
    its usable verdicts that are the vote (where no vote is a tie, a tie counts half), with its interval at
    95 % beside ``base_rate``, the share of the commonest vote on the same rows. ``flip_rate`` is the share of
    the ``both_orders`` pairs on which its verdicts of the two orders differ. ``position_bias`` is how much
    oftener it prefers the answer shown first than the second, where it saw some first and some second;
    ``position_excess`` how much oftener than the votes do. ``length_bias`` is how much oftener it prefers the
    longer answer, a standard deviation of the log length ratio, among pairs of the same vote.
    ``stated_log_loss`` and ``calibration_error`` (ten bins of the largest probability) are of the
    probabilities that it gave itself. ``adds`` is what the loss rises by without it, ``adds_to`` of what: the
    ``panel``, fitted again, or, where that is much work, a cross-fitted ``pool``; ``gain_per_cost`` the same
    over its cost. ``replacement`` is the alternative annotator test.
    """

    name: str
    kind: str
    log_loss: float
    se: float
    accuracy: float
    agreement: float | None
    missing: float
    flip_rate: float | None
    both_orders: int
    cost: float | None = None
    agreement_low: float | None = None
    agreement_high: float | None = None
    base_rate: float | None = None
    kappa: float | None = None
    shares: tuple[float, float, float] | None = None
    """of its verdicts A, B, tie"""
    position_bias: float | None = None
    position_bias_se: float | None = None
    position_excess: float | None = None
    position_excess_se: float | None = None
    length_bias: float | None = None
    length_bias_se: float | None = None
    stated_log_loss: float | None = None
    calibration_error: float | None = None
    adds: float | None = None
    adds_se: float | None = None
    adds_to: str | None = None
    gain_per_cost: float | None = None
    replacement: dict[str, Any] | None = None


def facts_of(
    judgements: Judgements,
    encoded: Mapping[str, Floats],
    rows: npt.NDArray[np.int64],
    votes: Labels,
    groups: npt.NDArray[np.int64],
    *,
    features: Features | None = None,
    adds: Mapping[str, tuple[float, float]] | None = None,
    adds_to: str | None = None,
) -> list[JudgeFacts]:
    """What is known of each judge, the best first.

    Parameters
    ----------
    judgements
        n pairs.
    encoded
        Judge → (m, 3) log-probabilities of its encoder, out of fold, a row a vote.
    rows, votes, groups
        (m,) the pair, outcome and group of each vote.
    features
        Of the n pairs, for the bias to length.
    adds, adds_to
        Judge → what it adds and the standard error of that; to what.
    """
    majority = _majority(rows, votes, len(judgements))
    first = np.unique(rows, return_index=True)[1]
    codes = group_codes(groups, len(votes))[first]
    kept = np.unique(rows)
    length = None
    if features is not None and _LENGTH in features.odd_names:
        length = features.odd[kept, features.odd_names.index(_LENGTH)]
    part = judgements.take(kept)
    statistics = judge_statistics(part, majority[kept], groups=codes, length_difference=length)
    found = [
        _one(one, judgements, encoded[one.name], rows, votes, groups, majority[kept], kept, codes, adds)
        for one in statistics
    ]
    if adds is not None:
        found = [dataclasses.replace(one, adds_to=adds_to) for one in found]
    return sorted(found, key=lambda one: one.log_loss)


def _majority(rows: npt.NDArray[np.int64], votes: Labels, n: int) -> npt.NDArray[np.int64]:
    """(n,) the commonest vote of each pair, a draw a tie; -1 without votes."""
    counts = np.zeros((n, 3))
    np.add.at(counts, (rows, votes), 1)
    top = counts.max(axis=1, keepdims=True)
    drawn = (counts == top).sum(axis=1) > 1
    return np.where(top[:, 0] == 0, -1, np.where(drawn, 2, counts.argmax(axis=1))).astype(np.int64)


def _one(known: JudgeStatistics, judgements: Judgements, encoded: Floats, rows: npt.NDArray[np.int64],
         votes: Labels, groups: npt.NDArray[np.int64], majority: npt.NDArray[np.int64],
         kept: npt.NDArray[np.int64], codes: npt.NDArray[np.int64],
         adds: Mapping[str, tuple[float, float]] | None) -> JudgeFacts:  # fmt: skip
    column = judgements.columns[known.name]
    losses = row_losses(encoded, votes)
    verdicts = column.verdicts[rows]
    given = verdicts >= 0
    right = np.where(verdicts == votes, 1.0, 0.0)
    if not (votes == 2).any():
        right = np.where(verdicts == 2, 0.5, right)
    agreement, low, high = None, None, None
    if given.any():
        agreement = float(right[given].mean())
        low, high = wilson(agreement, int(given.sum()), standard_error(right[given], groups[given]))
    slots = column.slot_verdicts[kept]
    both = (slots[:, First.A] >= 0) & (slots[:, First.B] >= 0)
    flips = slots[both, First.A] != slots[both, First.B]
    excess, excess_se = _position_excess(slots, majority, codes)
    stated, error = _stated(column, rows, votes)
    gain, gain_se = (None, None) if adds is None else adds[known.name]
    return JudgeFacts(
        name=known.name,
        kind=column.kind,
        log_loss=float(losses.mean()),
        se=standard_error(losses, groups),
        accuracy=float((encoded.argmax(axis=1) == votes).mean()),
        agreement=agreement,
        missing=known.missing,
        flip_rate=float(flips.mean()) if both.any() else None,
        both_orders=int(both.sum()),
        cost=known.cost,
        agreement_low=low,
        agreement_high=high,
        base_rate=_finite(known.base_rate),
        kappa=_finite(known.kappa),
        shares=known.shares if known.rows else None,
        position_bias=_finite(known.position_bias),
        position_bias_se=_finite(known.position_bias_se),
        position_excess=excess,
        position_excess_se=excess_se,
        length_bias=_finite(known.length_bias),
        length_bias_se=_finite(known.length_bias_se),
        stated_log_loss=stated,
        calibration_error=error,
        adds=gain,
        adds_se=_finite(gain_se),
        gain_per_cost=gain / known.cost if gain is not None and known.cost else None,
    )


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def wilson(share: float, n: int, se: float, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval of a share (1927), with as many rows as its clustered standard error says."""
    z = float(norm.ppf(0.5 + level / 2))
    size = share * (1 - share) / se**2 if se > 0 and math.isfinite(se) else float(n)
    size = min(size, float(n)) if size > 0 else float(n)
    centre = (share + z * z / (2 * size)) / (1 + z * z / size)
    half = z * math.sqrt(share * (1 - share) / size + z * z / (4 * size * size)) / (1 + z * z / size)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def _position_excess(
    slots: npt.NDArray[Any], votes: Labels, codes: npt.NDArray[np.int64]
) -> tuple[float | None, float | None]:
    """How much oftener it prefers what it saw first than the votes do, over its verdicts of known order."""
    values, where = [], []
    for slot, first, second in ((int(First.A), 0, 1), (int(First.B), 1, 0)):
        there = slots[:, slot] >= 0
        said = (slots[there, slot] == first).astype(np.float64) - (slots[there, slot] == second)
        meant = (votes[there] == first).astype(np.float64) - (votes[there] == second)
        values.append(said - meant)
        where.append(codes[there])
    lean, clusters = np.concatenate(values), np.concatenate(where)
    if not len(lean):
        return None, None
    return float(lean.mean()), _finite(standard_error(lean, clusters))


def _stated(
    column: JudgeColumn, rows: npt.NDArray[np.int64], votes: Labels
) -> tuple[float | None, float | None]:
    """Log-loss and calibration error of a judge's own probabilities, its orders averaged."""
    if not isinstance(column, LogProbs):
        return None, None
    present = column.present[rows]
    given = present.any(axis=1)
    if not given.any():
        return None, None
    probs = np.where(present[..., None], np.exp(column.log_probs[rows]), 0.0).sum(axis=1)[given]
    probs /= present.sum(axis=1)[given, None]
    y = votes[given]
    top, right = probs.max(axis=1), probs.argmax(axis=1) == y
    place = np.minimum((top * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.bincount(place, weights=right - top, minlength=_BINS)
    with np.errstate(divide="ignore"):
        losses = -np.maximum(np.log(probs[np.arange(len(y)), y]), _FLOOR)
    return float(losses.mean()), float(np.abs(gaps).sum() / len(y))


def replacement_of(
    judgements: Judgements, annotations: npt.NDArray[Any], annotators: Sequence[str]
) -> dict[str, dict[str, Any] | None]:
    """Judge → the alternative annotator test of its verdicts, plain values; None where it has too few rows.

    Parameters
    ----------
    annotations
        (n, K) codes of K annotators, -1 where one did not vote.
    """
    found: dict[str, dict[str, Any] | None] = {}
    for name, column in judgements.columns.items():
        try:
            test = may_replace(column.verdicts, annotations)
        except InputError:
            found[name] = None
            continue
        found[name] = {
            "winning_rate": test.winning_rate,
            "advantage": test.advantage,
            "passes": test.passes,
            "epsilon": test.epsilon,
            "p_values": {annotators[place]: value for place, value in test.p_values.items()},
        }
    return found
