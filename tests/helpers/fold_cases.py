"""Battles and folds for the tests of the fold room."""

from __future__ import annotations

from typing import Any

import numpy as np

from arena_ensemble.battles import Battles
from arena_ensemble.folds import Folds, make_folds

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "while",
    "rain",
    "fell",
    "over",
    "quiet",
    "towns",
    "and",
    "nobody",
    "asked",
    "why",
    "it",
    "never",
    "stopped",
]


def battles(
    prompts: list[str | None], *, answers: list[tuple[str, str]] | None = None, seed: int = 0
) -> Battles:
    """Battles with these first turns and random outcomes."""
    outcome = np.random.default_rng(seed).integers(0, 3, len(prompts))
    pairs = answers or [
        (f"answer {k} of the first", f"answer {k} of the second") for k in range(len(prompts))
    ]
    return Battles.from_rows(
        [
            {"id": f"r{k}", "prompt": [p, "later"], "response_a": [a, "x"], "response_b": [b, "x"],
             "outcome": int(outcome[k])}
            for k, (p, (a, b)) in enumerate(zip(prompts, pairs, strict=True))
        ]
    )  # fmt: skip


def example_folds(**settings: Any) -> tuple[Battles, Folds]:
    """Sixty battles with different prompts, and their folds."""
    words = [f"{a} {b}" for a in ("alpha", "beta", "gamma", "delta") for b in WORDS]
    many = battles(words[:60])
    return many, make_folds(many, **settings)
