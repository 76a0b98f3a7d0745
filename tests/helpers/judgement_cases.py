"""Random judgements for the laws: every kind of column, both orders, samples, missing answers."""

from __future__ import annotations

import numpy as np
import polars as pl

from arena_ensemble.judgements import First, Judgements, LogProbs, Scores, Verdicts
from arena_ensemble.predictions import normalised


def random_judgements(n: int = 40, *, seed: int = 0, missing: float = 0.2) -> Judgements:
    """Six judges, one of each kind: verdicts of both orders and of one, samples, scores, probabilities."""
    rng = np.random.default_rng(seed)

    def lost(*shape: int) -> np.ndarray:
        return rng.random(shape) < missing

    def codes() -> np.ndarray:
        return np.where(lost(n), -1, rng.integers(0, 3, n))

    a, b = Verdicts.from_codes(codes(), First.A), Verdicts.from_codes(codes(), First.B)
    counts = rng.integers(0, 4, (n, 3, 3)) * ~lost(n, 3)[..., None]
    mean = np.where(lost(n, 3, 2), np.nan, rng.normal(size=(n, 3, 2)))
    spread = np.where(np.isnan(mean), np.nan, rng.random((n, 3, 2)))
    probs = np.where(lost(n)[:, None], np.nan, normalised(rng.normal(size=(n, 3))))
    return Judgements(
        pl.Series("id", np.arange(n)),
        {
            "verdicts": Verdicts(a.counts + b.counts, a.unusable + b.unusable),
            "single": Verdicts.from_codes(codes(), rng.integers(0, 2, n)),
            "samples": Verdicts(counts, np.zeros((n, 3), np.int64)),
            "scores": Scores(mean, spread),
            "alone": Scores.from_pairs(np.where(lost(n, 2), np.nan, rng.normal(size=(n, 2)))),
            "probs": LogProbs.from_probs(probs, rng.integers(0, 3, n)),
        },
        {"single": 0.5},
    )
