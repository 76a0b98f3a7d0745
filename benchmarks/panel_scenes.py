"""Simulated panels of verdicts with known true probabilities: few votes, three to 65 judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from arena_ensemble.judgements import Judgements, Verdicts
from arena_ensemble.predictions import from_delta_tau

Array = Any
FRESH = 2000
"""rows beside those with votes, to score on"""


@dataclass(frozen=True)
class Scene:
    """How panels of one kind are drawn; each draw has its own number of judges and its own qualities.

    A pair has a quality difference q (standard normal) and shared impressions f that judges take for quality:
    those of an LLM (``families`` of them) and one ``appeal`` that all see. A judge sees
    ``skill q + family f + appeal g + own + call``, leans to what it saw first, and says tie near zero.
    """

    judges: tuple[int, int]
    noise: tuple[float, float]
    """own noise of a judge over its skill, drawn between these on a log scale"""
    families: int = 2
    family: float = 0.5
    """how much of a family's impression its judges see"""
    appeal: tuple[float, float] = (0.0, 0.5)
    """how much of the common impression a judge sees, drawn between these"""
    clear: float = 2.5
    """slope of the votes' delta in q: 2.5 are people, 8 an objective label"""
    vote_ties: bool = False
    judge_ties: float = 0.0
    """half width of the band in which a judge says tie"""
    both_orders: float = 1.0
    """share of the judges that read both orders"""
    lean: float = 0.3
    """spread of the judges' leans"""
    missing: float = 0.01
    coins: float = 0.0
    """share of the judges that know nothing"""
    twins: bool = False
    """whether the last judge repeats the first"""


SCENES: Mapping[str, Scene] = {
    "a few alike": Scene((3, 8), (0.7, 1.1), appeal=(0.2, 0.6)),
    "a few unequal": Scene((4, 9), (0.4, 3.0)),
    "prompts of two models": Scene((8, 20), (0.6, 1.2), family=1.0, clear=4.0),
    "misled by appeal": Scene((20, 65), (0.4, 1.5), families=5, appeal=(-0.2, 1.8), clear=8.0),
    "many weak": Scene((15, 65), (2.0, 6.0), families=4, coins=0.2),
    "votes and verdicts with ties": Scene(
        (3, 8), (0.5, 2.0), vote_ties=True, judge_ties=0.35, both_orders=0.7
    ),
    "one order, leaning": Scene((3, 6), (0.5, 1.5), both_orders=0.0, lean=0.8, vote_ties=True),
    "coins and twins": Scene((5, 12), (0.5, 1.5), coins=0.5, twins=True, judge_ties=0.2, missing=0.1),
}


@dataclass(frozen=True)
class SimulatedPanel:
    """Judgements of ``votes + FRESH`` pairs, outcomes (n,) and true log-probabilities (n, 3)."""

    scene: str
    votes: int
    judgements: Judgements
    y: Array
    truth: Array

    def loss(self, log_probs: Array) -> float:
        """Expected log-loss of log-probabilities (FRESH, 3) of the pairs without a vote."""
        truth = self.truth[self.votes :]
        probs = np.exp(truth)
        return float(-np.where(probs > 0, probs * np.maximum(log_probs, -40), 0).sum(axis=1).mean())

    def accuracy(self, log_probs: Array) -> float:
        """Expected accuracy of the likeliest outcome."""
        truth = np.exp(self.truth[self.votes :])
        return float(truth[np.arange(len(truth)), log_probs.argmax(axis=1)].mean())


def simulate(name: str, votes: int, seed: int) -> SimulatedPanel:
    """Draw one panel; the same name, votes and seed give the same one."""
    scene = SCENES[name]
    rng = np.random.default_rng([list(SCENES).index(name), votes, seed])
    n = votes + FRESH
    quality, common = rng.normal(size=n), rng.normal(size=n)
    impressions = rng.normal(size=(scene.families, n))
    tau = np.full(n, -0.3) if scene.vote_ties else np.full(n, -np.inf)
    truth = from_delta_tau(scene.clear * quality, tau)
    y = (rng.random(n)[:, None] > np.exp(truth).cumsum(axis=1)[:, :2]).sum(axis=1)
    y[:2] = (0, 1)
    columns: dict[str, Verdicts] = {}
    count = int(rng.integers(scene.judges[0], scene.judges[1] + 1))
    for place in range(count):
        noise = float(np.exp(rng.uniform(*np.log(scene.noise))))
        skill = 0.0 if rng.random() < scene.coins else 1.0
        appeal = rng.uniform(*scene.appeal)
        seen = (
            skill * quality
            + skill * appeal * common
            + skill * scene.family * impressions[place % scene.families]
            + noise * rng.normal(size=n)
        )
        lean = rng.normal() * scene.lean
        calls = seen[:, None] + lean * np.array([1.0, -1.0]) + noise / 2 * rng.normal(size=(n, 2))
        codes = np.where(np.abs(calls) < scene.judge_ties, 2, np.where(calls > 0, 0, 1))
        asked = np.ones((n, 2), dtype=bool)
        if rng.random() >= scene.both_orders:
            asked = np.eye(2, dtype=bool)[rng.integers(0, 2, n)]
        given = asked & (rng.random((n, 2)) >= scene.missing)
        counts, unusable = np.zeros((n, 3, 3), np.int64), np.zeros((n, 3), np.int64)
        for slot in (0, 1):
            rows = np.flatnonzero(given[:, slot])
            counts[rows, slot, codes[rows, slot]] = 1
            unusable[:, slot] = asked[:, slot] & ~given[:, slot]
        columns[f"judge-{place:02d}"] = Verdicts(counts, unusable)
    if scene.twins:
        columns[f"judge-{count - 1:02d}"] = columns["judge-00"]
    ids = pl.Series("id", np.arange(n))
    return SimulatedPanel(name, votes, Judgements(ids, columns), y.astype(np.int64), truth)
