"""The ledger: what each member adds, repeats, costs and gets wrong, with clustered standard errors."""

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
from ..stacking.stacker import fold_codes

_ROUNDS: Final = 25


@dataclass(frozen=True)
class MemberAccount:
    """One member's account. Losses in nats; ``_se`` are clustered by group; gains are paired.

    ``without`` is what the ensemble's log-loss rises by when the member is left out (a geometric pool,
    cross-fitted); ``calibration_gain`` what its own temperature takes off its loss out of fold; ``lean``
    how far its mean p_A - p_B exceeds what happened; ``position_bias`` the mean lean toward the first
    response in logits, for members that read both orders; ``gain_per_hour`` is ``without`` divided by
    the hours it cost.
    """

    name: str
    log_loss: float
    log_loss_se: float
    without: float
    without_se: float
    beta: float
    calibration_gain: float
    calibration_gain_se: float
    lean: float
    lean_se: float
    position_bias: float | None
    position_bias_se: float | None
    hours: float | None
    gain_per_hour: float | None
    advice: str


@dataclass(frozen=True)
class Ledger:
    """All accounts, and what members share.

    ``greedy`` lists members in the order greedy selection adds them, each with the log-loss reached;
    ``disagreement[i][j]`` is the share of rows whose likeliest outcomes differ, ``error_correlation``
    the correlation of row losses.
    """

    members: tuple[MemberAccount, ...]
    pool_log_loss: float
    pool_log_loss_se: float
    greedy: tuple[tuple[str, float], ...]
    disagreement: tuple[tuple[float, ...], ...]
    error_correlation: tuple[tuple[float, ...], ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


def keep_ledger(
    members: Members,
    y: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    folds: npt.ArrayLike | None = None,
    hours: Mapping[str, float] | None = None,
    *,
    n_folds: int = 5,
    seed: int = 0,
) -> Ledger:
    """Account for every member.

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
    losses = np.stack([row_losses(lp, labels) for lp in design.log_probs], axis=1)
    whole = _pool_losses(design, labels, parts)
    accounts = []
    for m, name in enumerate(design.members):
        rest = [j for j in range(len(design.members)) if j != m]
        gone = _pool_losses(_subset(design, rest), labels, parts) if rest else np.full(len(labels), np.log(3))
        accounts.append(
            _account(name, members[name], design.log_probs[m], labels, codes, parts, gone - whole, hours)
        )
    true = true_class_probs(design.log_probs, labels)
    path = greedy_path(true, _ROUNDS)
    reached = -np.log(np.cumsum(true[:, path], axis=1) / np.arange(1, len(path) + 1)).mean(axis=0)
    votes = np.argmax(design.log_probs, axis=2)
    differ = (votes[:, None] != votes[None]).mean(axis=2)
    spread = losses.std(axis=0)
    centred = (losses - losses.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    correlation = centred.T @ centred / len(labels)
    return Ledger(
        members=tuple(accounts),
        pool_log_loss=float(whole.mean()),
        pool_log_loss_se=standard_error(whole, codes),
        greedy=tuple((design.members[m], float(loss)) for m, loss in zip(path, reached, strict=True)),
        disagreement=tuple(tuple(row) for row in differ.tolist()),
        error_correlation=tuple(tuple(row) for row in correlation.tolist()),
    )


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
        pair = at_index(model.predict_path(design.take(held)), (0, 0))
        out[held] = row_losses(to_log_probs(pair, predicts_tie_logit=False), y[held])
    return out


def _account(
    name: str,
    said: npt.ArrayLike | Predictions,
    log_probs: Floats,
    y: Labels,
    codes: npt.NDArray[np.int64],
    folds: npt.NDArray[np.int64],
    missed: Floats,
    hours: Mapping[str, float] | None,
) -> MemberAccount:
    losses = row_losses(log_probs, y)
    after = np.empty(len(y))
    for fold in range(int(folds.max()) + 1):
        held = folds == fold
        cooled = fit_temperature(log_probs[~held], y[~held], prior_rows=TEMPERATURE_ROWS)
        after[held] = row_losses(cooled.apply(log_probs[held]), y[held])
    probs = np.exp(log_probs)
    lean = (probs[:, 0] - probs[:, 1]) - ((y == 0).astype(np.float64) - (y == 1))
    bias = said.position_bias() if isinstance(said, Predictions) else None
    twice = codes
    if bias is not None and bias.any():  # a row that was not read twice shows no lean at all
        bias, twice = bias[bias != 0], codes[bias != 0]
    without, without_se = float(missed.mean()), standard_error(missed, codes)
    cost = None if hours is None else hours.get(name)
    return MemberAccount(
        name=name,
        log_loss=log_loss(log_probs, y),
        log_loss_se=standard_error(losses, codes),
        without=without,
        without_se=without_se,
        beta=fit_temperature(log_probs, y).beta,
        calibration_gain=float((losses - after).mean()),
        calibration_gain_se=standard_error(losses - after, codes),
        lean=float(lean.mean()),
        lean_se=standard_error(lean, codes),
        position_bias=None if bias is None else float(bias.mean()),
        position_bias_se=None if bias is None else standard_error(bias, twice),
        hours=cost,
        gain_per_hour=None if not cost else without / cost,
        advice=_advice(name, without, without_se, cost),
    )


def _advice(name: str, without: float, without_se: float, hours: float | None) -> str:
    if without > 2 * without_se:
        return "keep: the ensemble is worse without it"
    if without < -2 * without_se:
        return "leave out: the ensemble is better without it"
    spent = "" if not hours else f" after {hours:.1f} hours"
    return f"stop training {name}: no gain{spent} that shows beyond two standard errors"
