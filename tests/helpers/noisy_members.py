"""Members that see the truth through noise, and a stacker that was fitted on them."""

from __future__ import annotations

from functools import cache

import numpy as np

from arena_ensemble.features import Features
from arena_ensemble.predictions import from_delta_tau
from arena_ensemble.stacking import Stacker


def noisy_members(
    n: int, seed: int = 0, *, count: int = 3, features: bool = False
) -> tuple[dict[str, np.ndarray], np.ndarray, Features | None]:
    """Members that see the truth through noise, outcomes, and features that see what they do not."""
    rng = np.random.default_rng(seed)
    seen, unseen, ease = rng.normal(size=(3, n))
    truth = from_delta_tau(1.2 * seen + 0.8 * unseen, -0.3 * np.abs(seen) + 0.4 * ease)
    y = (rng.random(n)[:, None] > np.exp(truth).cumsum(axis=1)[:, :2]).sum(axis=1)
    members = {
        f"m{i}": np.exp(
            from_delta_tau(seen + rng.normal(size=n) * (0.3 + 0.5 * i), 0.2 * rng.normal(size=n) + 0.3 * ease)
        )
        for i in range(count)
    }
    odd = np.stack([unseen + 0.3 * rng.normal(size=n), rng.normal(size=n)], axis=1)
    even = np.stack([ease, np.abs(odd[:, 0]), rng.normal(size=n)], axis=1)
    names = ("chars.log", "x.diff"), ("chars.sum", "chars.gap", "x.mean")
    return members, y, Features(odd, even, *names) if features else None


@cache
def fitted(features: bool = False) -> Stacker:
    members, y, extra = noisy_members(600, features=features)
    return Stacker(random_state=0).fit(members, y, features=extra)


def strong_weak_and_noise(n: int = 1500, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Three members of one truth, the last of which knows nothing, and outcomes."""
    rng = np.random.default_rng(seed)
    delta = rng.normal(size=n) * 1.5
    truth = from_delta_tau(delta, np.full(n, -0.2))
    y = (rng.random(n)[:, None] > np.exp(truth).cumsum(axis=1)[:, :2]).sum(axis=1)

    def member(noise: float, share: float) -> np.ndarray:
        return np.exp(from_delta_tau(share * (delta + rng.normal(size=n) * noise), np.full(n, -0.2)))

    return {"strong": member(0.4, 0.9), "weak": member(2.0, 0.4), "noise": member(50.0, 0.01)}, y
