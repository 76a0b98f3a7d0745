"""What each member adds, repeats, costs and gets wrong, with clustered standard errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..calibration import fit_temperature
from ..metrics import Labels, checked_labels, group_codes, log_loss, row_losses, standard_error
from ..predictions import Floats, Predictions
from ..stacking import Members, make_design
from ..stacking.base import at_index, to_log_probs
from ..stacking.design import Design
from ..stacking.pool_weights import greedy_path, true_class_probs
from ..stacking.pooling import TEMPERATURE_ROWS, BestMember, GeometricPool
from ..stacking.row_folds import fold_codes

_ROUNDS: Final = 25


@dataclass(frozen=True)
class MemberContribution:
    """One member's contribution. Losses in nats; ``_se`` are clustered by group; gains are paired.

    ``leave_one_out_gain`` is what the log-loss of a cross-fitted geometric pool rises by when the member
    is left out; ``calibration_gain`` what its own temperature takes off its loss out of fold; ``a_bias``
    how far its mean p_A - p_B exceeds the share of A minus that of B; ``position_bias`` the mean shift
    toward the first response in logits, for members that predict both orders; ``gain_per_hour`` is
    ``leave_one_out_gain`` divided by the hours it cost.
    """

    name: str
    log_loss: float
    log_loss_se: float
    leave_one_out_gain: float
    leave_one_out_gain_se: float
    beta: float
    calibration_gain: float
    calibration_gain_se: float
    a_bias: float
    a_bias_se: float
    position_bias: float | None
    position_bias_se: float | None
    hours: float | None
    gain_per_hour: float | None
    advice: str


@dataclass(frozen=True)
class ContributionTable:
    """Every member's contribution, and what members have in common.

    ``greedy`` lists members in the order greedy selection adds them, each with the log-loss reached;
    ``disagreement[i][j]`` is the share of rows whose likeliest outcomes differ, ``error_correlation``
    the correlation of row losses.
    """

    members: tuple[MemberContribution, ...]
    pool_log_loss: float
    pool_log_loss_se: float
    greedy: tuple[tuple[str, float], ...]
    disagreement: tuple[tuple[float, ...], ...]
    error_correlation: tuple[tuple[float, ...], ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


def member_contributions(
    members: Members,
    y: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    folds: npt.ArrayLike | None = None,
    hours: Mapping[str, float] | None = None,
    *,
    n_folds: int = 5,
    seed: int = 0,
) -> ContributionTable:
    """What every member contributes.

    Parameters
    ----------
    members
        Name → (n, 3) out-of-fold probabilities or `Predictions`.
    y
        (n,) outcomes in {0, 1, 2}.
    groups, folds
        As in `Stacker.fit`.
    hours
        Name → hours on the device that the member cost, from its card.
    """
    labels = checked_labels(y)
    design = make_design(members, None, n=len(labels))
    codes = group_codes(groups, len(labels))
    parts = fold_codes(labels, codes, folds, n_folds=n_folds, seed=seed)
    whole = _pool_losses(design, labels, parts)
    rows = []
    for m, name in enumerate(design.members):
        rest = [j for j in range(len(design.members)) if j != m]
        rest_losses = (
            _pool_losses(_subset(design, rest), labels, parts) if rest else np.full(len(labels), np.log(3))
        )
        rows.append(
            _contribution(
                name,
                members[name],
                design.log_probs[m],
                labels,
                codes,
                parts,
                rest_losses - whole,
                hours,
                alone=not rest,
            )
        )
    true = true_class_probs(design.log_probs, labels)
    path = greedy_path(true, _ROUNDS)
    reached = -np.log(np.cumsum(true[:, path], axis=1) / np.arange(1, len(path) + 1)).mean(axis=0)
    differ, correlation = _similarity(design, labels)
    return ContributionTable(
        members=tuple(rows),
        pool_log_loss=float(whole.mean()),
        pool_log_loss_se=standard_error(whole, codes),
        greedy=tuple((design.members[m], float(loss)) for m, loss in zip(path, reached, strict=True)),
        disagreement=tuple(tuple(row) for row in differ.tolist()),
        error_correlation=tuple(tuple(row) for row in correlation.tolist()),
    )


def _similarity(design: Design, y: Labels) -> tuple[Floats, Floats]:
    """(M, M) shares of rows whose likeliest outcomes differ, and (M, M) correlations of row losses."""
    votes = np.argmax(design.log_probs, axis=2)
    losses = np.stack([row_losses(log_probs, y) for log_probs in design.log_probs], axis=1)
    spread = losses.std(axis=0)
    centred = (losses - losses.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return (votes[:, None] != votes[None]).mean(axis=2), centred.T @ centred / len(y)


def _subset(design: Design, keep: list[int]) -> Design:
    return dataclasses.replace(
        design,
        delta=design.delta[:, keep],
        tau=design.tau[:, keep],
        members=tuple(design.members[j] for j in keep),
    )


def _pool_losses(design: Design, y: Labels, folds: npt.NDArray[np.int64]) -> Floats:
    """Row losses (n,) of the geometric pool (one member: its temperature), each fold by the others' fit."""
    candidate = GeometricPool() if len(design.members) > 1 else BestMember("one", tempered=True)
    out = np.empty(len(y))
    for fold in range(int(folds.max()) + 1):
        held = folds == fold
        model = candidate.fit(design.take(~held), y[~held], 0)
        columns = at_index(model.predict_path(design.take(held)), (0, 0))
        out[held] = row_losses(to_log_probs(columns, predicts_tie_logit=False), y[held])
    return out


def _contribution(
    name: str,
    values: npt.ArrayLike | Predictions,
    log_probs: Floats,
    y: Labels,
    codes: npt.NDArray[np.int64],
    folds: npt.NDArray[np.int64],
    leave_one_out: Floats,
    hours: Mapping[str, float] | None,
    *,
    alone: bool,
) -> MemberContribution:
    losses = row_losses(log_probs, y)
    after = np.empty(len(y))
    for fold in range(int(folds.max()) + 1):
        held = folds == fold
        tempered = fit_temperature(log_probs[~held], y[~held], prior_rows=TEMPERATURE_ROWS)
        after[held] = row_losses(tempered.apply(log_probs[held]), y[held])
    probs = np.exp(log_probs)
    a_excess = (probs[:, 0] - probs[:, 1]) - ((y == 0).astype(np.float64) - (y == 1))
    bias = values.position_bias() if isinstance(values, Predictions) else None
    bias_codes = codes
    if bias is not None and bias.any():  # a row that was predicted in one order shows no bias at all
        bias, bias_codes = bias[bias != 0], codes[bias != 0]
    gain, gain_se = float(leave_one_out.mean()), standard_error(leave_one_out, codes)
    cost = None if hours is None else hours.get(name)
    return MemberContribution(
        name=name,
        log_loss=log_loss(log_probs, y),
        log_loss_se=standard_error(losses, codes),
        leave_one_out_gain=gain,
        leave_one_out_gain_se=gain_se,
        beta=fit_temperature(log_probs, y).beta,
        calibration_gain=float((losses - after).mean()),
        calibration_gain_se=standard_error(losses - after, codes),
        a_bias=float(a_excess.mean()),
        a_bias_se=standard_error(a_excess, codes),
        position_bias=None if bias is None else float(bias.mean()),
        position_bias_se=None if bias is None else standard_error(bias, bias_codes),
        hours=cost,
        gain_per_hour=None if not cost else gain / cost,
        advice=_advice(gain, gain_se, cost, alone=alone),
    )


def _advice(gain: float, gain_se: float, hours: float | None, *, alone: bool) -> str:
    if alone:
        return "only member: there is no pool without it"
    if gain > 2 * gain_se:
        return "keep: the ensemble is worse without it"
    if gain < -2 * gain_se:
        return "leave out: the ensemble is better without it"
    spent = "" if not hours else f" after {hours:.1f} hours"
    return f"no gain seen: nothing{spent} that shows beyond two standard errors"
