"""The choice between candidates, made on rows that none of their fits saw, and how it is applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..calibrate import Temperature, fit_temperature
from ..pools import geometric_weights
from ..predictions import Floats, delta_tau, from_delta_tau
from ..score import Labels, row_losses, standard_error
from .family import Family, Setting, picked, to_log_probs, tuned
from .simple import TEMPERATURE_ROWS


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


@dataclass(frozen=True)
class Decision:
    """What was learned from out-of-fold readings: settings, sharpness, mix weights, the choice."""

    settings: dict[str, Setting]
    betas: dict[str, float]
    weights: dict[str, tuple[float, ...]]
    choice: str
    losses: dict[str, float]

    def parts(self, menu: Menu, name: str | None = None) -> tuple[str, ...]:
        """The families that a candidate (default: the choice) needs."""
        target = self.choice if name is None else name
        mix = next((one for one in menu.mixes if one.name == target), None)
        return (target,) if mix is None else mix.parts


def decide(
    menu: Menu,
    readings: Mapping[str, Floats],
    y: Labels,
    groups: Sequence[int] | np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    *,
    tolerance: float,
) -> Decision:
    """Tune, sharpen, mix and choose, all on these out-of-fold readings.

    The choice is the simplest candidate whose loss exceeds the least by no more than ``tolerance``
    paired standard errors (clustered by group); 1 is the usual rule of Breiman et al. (1984).
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
            beta = fit_temperature(plain, y, prior_rows=TEMPERATURE_ROWS).beta
        betas[family.name] = beta
        predicted[family.name] = Temperature(beta).apply(plain) if beta != 1.0 else plain
    weights: dict[str, tuple[float, ...]] = {}
    for mix in menu.mixes:
        weights[mix.name] = _mix_weights(mix, predicted, y)
        predicted[mix.name] = mixed([predicted[part] for part in mix.parts], weights[mix.name])
    losses = {name: row_losses(log_probs, y) for name, log_probs in predicted.items()}
    means = {name: float(values.mean()) for name, values in losses.items()}
    best = min(menu.order, key=lambda name: means[name])
    choice = best
    for name in menu.order:
        gap = means[name] - means[best]
        if name == best or gap <= tolerance * standard_error(losses[name] - losses[best], groups):
            choice = name
            break
    return Decision(settings, betas, weights, choice, means)


def _mix_weights(mix: Mix, predicted: Mapping[str, Floats], y: Labels) -> tuple[float, ...]:
    count = len(mix.parts)
    if not mix.learned:
        return (1.0 / count,) * count
    pairs = [delta_tau(predicted[part]) for part in mix.parts]
    delta, tau = np.stack([p[0] for p in pairs], axis=1), np.stack([p[1] for p in pairs], axis=1)
    return tuple(geometric_weights(delta, tau, y, penalty=mix.pull_rows / len(y)).tolist())


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
    parts: Sequence[str],
    factored: Mapping[str, bool],
    name: str | None = None,
) -> Floats:
    """Log-probabilities (n, 3) of a candidate (default: the choice) from its parts' readings."""
    target = decision.choice if name is None else name
    read = []
    for part in parts:
        plain = to_log_probs(picked(readings[part], decision.settings[part]), factored=factored[part])
        beta = decision.betas[part]
        read.append(Temperature(beta).apply(plain) if beta != 1.0 else plain)
    if target not in decision.weights:
        return read[0]
    return mixed(read, decision.weights[target])


def apply(menu: Menu, decision: Decision, readings: Mapping[str, Floats], name: str | None = None) -> Floats:
    """`combined` for a candidate of the menu."""
    factored = {family.name: family.factored for family in menu.families}
    return combined(decision, readings, decision.parts(menu, name), factored, name)
