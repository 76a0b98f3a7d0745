"""Simulated out-of-fold files with known true probabilities, for the benchmark of the stacker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from arena_ensemble.predictions import from_delta_tau

Array = Any


@dataclass(frozen=True)
class Simulated:
    """Members' probabilities (name → (n, 3)), outcomes (n,) and true log-probabilities (n, 3)."""

    scene: str
    rows: int
    members: dict[str, Array]
    y: Array
    truth: Array

    def losses(self, log_probs: Array) -> Array:
        """(n,) expected losses under the true probabilities.

        Where a member saw the drawn outcomes, the losses on those: its gain is real on such a file,
        and no stacker can know that it ends at the test rows.
        """
        if self.scene == "leaky":
            return -log_probs[np.arange(self.rows), self.y]
        return -(np.exp(self.truth) * log_probs).sum(axis=1)


def simulate(name: str, kinds: list[str], rows: int, seed: int) -> Simulated:
    """Votes from a Davidson model of two hidden qualities, and members that see them in part.

    Kinds: ``strong``, ``weak`` (more noise, shrunk), ``sure`` (over-confident by 1.8), ``shy`` (under-
    confident), ``curved`` (saturating), ``noise`` (knows nothing), ``twin`` (a copy of the first),
    ``lean`` (favours the first response), ``swapped`` (columns A and B exchanged), ``leaky`` (saw one
    label in ten).
    """
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=rows) * 1.2, rng.normal(size=rows) * 0.7
    ease = rng.normal(size=rows) * 0.4
    delta = first + second
    tau = -0.1 - 0.35 * np.abs(delta) + ease
    truth = from_delta_tau(delta, tau)
    y = (rng.random(rows)[:, None] > np.exp(truth).cumsum(axis=1)[:, :2]).sum(axis=1)
    members: dict[str, Array] = {}
    for place, kind in enumerate(kinds):
        strong = kind not in ("weak", "shy", "curved", "noise")
        seen, share = (0.45, 0.85) if strong else (1.3, 0.3)
        blend = first * (1.0 if place % 2 else 0.8) + second * (0.5 if place % 2 else 0.9)
        signal = blend + rng.normal(size=rows) * seen
        d = share * signal
        t = -0.1 - 0.3 * np.abs(d) + 0.5 * ease + rng.normal(size=rows) * 0.2
        if kind == "sure":
            d, t = 1.8 * d, 1.8 * t
        elif kind == "shy":
            d, t = 0.4 * d, 0.4 * t
        elif kind == "curved":
            d = 1.5 * np.tanh(1.5 * d)
        elif kind == "noise":
            d, t = rng.normal(size=rows) * 0.5, rng.normal(size=rows) * 0.2
        elif kind == "lean":
            d = d + 0.4
        elif kind == "swapped":
            d = -d
        probs = np.exp(from_delta_tau(d, t))
        if kind == "leaky":
            saw = rng.random(rows) < 0.1
            probs[saw] = 0.05
            probs[saw, y[saw]] = 0.9
        members[f"{kind}{place}"] = members[next(iter(members))] if kind == "twin" else probs
    return Simulated(name, rows, members, y, truth)


SCENES: dict[str, list[str]] = {
    "one strong among weak": ["strong", "weak", "weak"],
    "weak only": ["weak", "weak", "curved"],
    "strong and alike": ["strong", "strong", "strong"],
    "badly calibrated": ["sure", "shy", "weak"],
    "twins and noise": ["strong", "twin", "noise", "noise"],
    "leaning and swapped": ["lean", "strong", "swapped"],
    "leaky": ["strong", "leaky", "weak"],
}


SIZES = {300: 3, 732: 2, 1500: 1, 2874: 1, 6000: 1, 14_370: 1}
"""Rows → draws of every scene: the fewer rows, the more one draw is luck. Kaggle's size has one scene."""


def grid(*, quick: bool) -> list[Simulated]:
    """Every scene at every size."""
    if quick:
        return [simulate(name, kinds, 600, 0) for name, kinds in list(SCENES.items())[:2]]
    files = [
        simulate(name, kinds, rows, seed)
        for rows, draws in SIZES.items()
        for name, kinds in SCENES.items()
        for seed in range(draws)
    ]
    largest = "one strong among weak"
    return [*files, simulate(largest, SCENES[largest], 57_477, 0)]
