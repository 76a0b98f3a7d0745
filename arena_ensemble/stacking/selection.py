"""The choice between candidates, made on rows that none of their fits saw, and how it is applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..calibration import Temperature, fit_temperature
from ..metrics import Labels, bootstrap_means, row_losses, standard_error
from ..predictions import Floats, delta_tau, from_delta_tau
from .base import Family, Setting, picked, to_log_probs, tuned
from .pool_weights import geometric_weights
from .pooling import TEMPERATURE_ROWS

RESAMPLES: Final = 200
LEAST_SHARE: Final = 0.03
"""Candidates of a smaller share are left out: they would cost fits for next to nothing."""


@dataclass(frozen=True)
class Mix:
    """A geometric mix of other candidates: equal weights, or non-negative ones of least log-loss."""

    name: str
    parts: tuple[str, ...]
    learned: bool
    pull_rows: float = 50.0
    """Ridge of learned weights toward equal ones, in rows."""


@dataclass(frozen=True)
class Menu:
    """What may be chosen: families and mixes of them, simplest first."""

    families: tuple[Family, ...]
    mixes: tuple[Mix, ...]
    order: tuple[str, ...]
    """Names from the simplest to the richest; families not listed serve only as parts or baselines."""
    raw: tuple[str, ...] = ("prior", "best member", "greedy selection")
    """Candidates that are read as they are, with no temperature of their own."""

    def family(self, name: str) -> Family:
        """The family of that name."""
        return next(one for one in self.families if one.name == name)

    @property
    def factored(self) -> dict[str, bool]:
        """Family → what its readings are."""
        return {family.name: family.factored for family in self.families}


@dataclass(frozen=True)
class Decision:
    """What was learned from out-of-fold readings: settings, sharpness, mix weights, the choice."""

    settings: dict[str, Setting]
    betas: dict[str, float]
    mixes: dict[str, dict[str, float]]
    """Mix → the families in it and their weights."""
    shares: dict[str, float]
    """Candidate → share of the resamples that chose it; they sum to one."""
    losses: dict[str, float]

    @property
    def choice(self) -> str:
        """The candidate chosen most often."""
        return max(self.shares, key=lambda name: self.shares[name])

    def parts(self, name: str | None = None) -> tuple[str, ...]:
        """The families that a candidate (default: all with a share) needs."""
        targets = self.shares if name is None else (name,)
        return tuple(dict.fromkeys(part for one in targets for part in self.mixes.get(one, (one,))))


def decide(
    menu: Menu,
    readings: Mapping[str, Floats],
    y: Labels,
    groups: Sequence[int] | np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    *,
    tolerance: float,
    repeats: int = 1,
) -> Decision:
    """Tune, sharpen, mix and choose, all on these out-of-fold readings.

    In each resample of the groups the simplest candidate is taken whose loss exceeds the least by no
    more than ``tolerance`` paired standard errors (clustered by group; 1 is the usual rule of Breiman
    et al. 1984); what predicts is the geometric mean of the candidates by how often each was taken
    (bagging of the choice, Breiman 1996), which lowers the regret of a single choice: docs/log.md.

    Parameters
    ----------
    readings
        Family → (V, n, 2), of rows that its fit did not see.
    y, groups
        (n,) outcomes and groups.
    repeats
        How often each battle is among the n rows, read by fits on other folds each time.
    """
    settings: dict[str, Setting] = {}
    betas: dict[str, float] = {}
    predicted: dict[str, Floats] = {}
    for family in menu.families:
        if family.name not in readings:
            continue
        values = readings[family.name]
        settings[family.name] = tuned(values, y, factored=family.factored)
        plain = to_log_probs(picked(values, settings[family.name]), factored=family.factored)
        beta = 1.0
        if family.name not in menu.raw:
            beta = fit_temperature(plain, y, prior_rows=TEMPERATURE_ROWS * repeats).beta
        betas[family.name] = beta
        predicted[family.name] = Temperature(beta).apply(plain) if beta != 1.0 else plain
    mixes: dict[str, dict[str, float]] = {}
    for mix in menu.mixes:
        weights = _mix_weights(mix, predicted, y, repeats)
        mixes[mix.name] = dict(zip(mix.parts, weights, strict=True))
        predicted[mix.name] = mixed([predicted[part] for part in mix.parts], weights)
    losses = {name: row_losses(log_probs, y) for name, log_probs in predicted.items()}
    means = {name: float(values.mean()) for name, values in losses.items()}
    shares = _shares(np.stack([losses[name] for name in menu.order], axis=1), groups, tolerance)
    kept = {name: share for name, share in zip(menu.order, shares, strict=True) if share >= LEAST_SHARE}
    total = sum(kept.values())
    return Decision(settings, betas, mixes, {name: share / total for name, share in kept.items()}, means)


def _shares(
    losses: Floats, groups: Sequence[int] | np.ndarray[tuple[int, ...], np.dtype[np.int64]], tolerance: float
) -> Floats:
    """How often each of C candidates is the choice, (C,), from losses (n, C), the simplest first."""
    count = losses.shape[1]
    means = bootstrap_means(losses, groups, n_resamples=RESAMPLES, seed=0)
    best = means.argmin(axis=1)
    errors = np.zeros((count, count))
    for winner in np.unique(best):
        for other in range(count):
            if other != winner:
                errors[winner, other] = standard_error(losses[:, other] - losses[:, winner], groups)
    near = means - means.min(axis=1, keepdims=True) <= tolerance * errors[best]
    return np.bincount(near.argmax(axis=1), minlength=count) / len(means)


def _mix_weights(mix: Mix, predicted: Mapping[str, Floats], y: Labels, repeats: int) -> tuple[float, ...]:
    count = len(mix.parts)
    if not mix.learned:
        return (1.0 / count,) * count
    pairs = [delta_tau(predicted[part]) for part in mix.parts]
    delta, tau = np.stack([p[0] for p in pairs], axis=1), np.stack([p[1] for p in pairs], axis=1)
    return tuple(geometric_weights(delta, tau, y, penalty=mix.pull_rows * repeats / len(y)).tolist())


def mixed(parts: Sequence[Floats], weights: Sequence[float]) -> Floats:
    """Geometric mix (n, 3) of log-probabilities, weights as they are (their sum is a sharpness)."""
    delta, tau = np.zeros(len(parts[0])), np.zeros(len(parts[0]))
    for part, weight in zip(parts, weights, strict=True):
        d, t = delta_tau(part)
        delta, tau = delta + weight * d, tau + weight * t
    return from_delta_tau(delta, tau)


def combined(
    decision: Decision,
    readings: Mapping[str, Floats],
    factored: Mapping[str, bool],
    name: str | None = None,
) -> Floats:
    """Log-probabilities (n, 3) of a candidate (default: all by their shares) from families' readings."""
    if name is None:
        made = [combined(decision, readings, factored, one) for one in decision.shares]
        return made[0] if len(made) == 1 else mixed(made, list(decision.shares.values()))
    read = []
    for part in decision.parts(name):
        plain = to_log_probs(picked(readings[part], decision.settings[part]), factored=factored[part])
        beta = decision.betas[part]
        read.append(Temperature(beta).apply(plain) if beta != 1.0 else plain)
    return mixed(read, list(decision.mixes[name].values())) if name in decision.mixes else read[0]
