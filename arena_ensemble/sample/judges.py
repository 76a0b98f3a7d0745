"""A sample panel: simulated judges of pairs whose true probabilities are known.

Votes are drawn from a Davidson model (Davidson 1970). Every judge sees who wins (delta) through its own
noise, leans to what it saw first by its own amount, and is now and then missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ..judgements import First, JudgeColumn, Judgements, LogProbs, Scores, Verdicts
from ..predictions import Floats, from_delta_tau

_SPREAD: Final = 2.2
"""standard deviation of delta"""
_TIE: Final = -0.6
"""tau of a pair whose answers are equally good"""
_WORDS: Final = ("model_a", "model_b", "tie")
_REFUSAL: Final = "I cannot compare these answers."


@dataclass(frozen=True)
class Judge:
    """How a simulated judge answers.

    ``noise`` is the standard deviation of what it adds to delta, ``lean`` what it adds for the answer that it
    saw first, both in logits; ``orders`` is 2 (both), 1 (one, drawn by chance) or 0 (each answer scored
    alone); ``missing`` the share of its calls without a usable answer; ``kind`` a column's kind.
    """

    kind: str
    noise: float
    lean: float = 0.0
    orders: int = 2
    missing: float = 0.02
    cost: float = 1.0


JUDGES: Final[Mapping[str, Judge]] = {
    "careful": Judge("verdicts", noise=0.8, lean=0.2, cost=8.0),
    "leaning": Judge("verdicts", noise=1.2, lean=1.5, orders=1, cost=4.0),
    "hasty": Judge("verdicts", noise=3.0, orders=1, missing=0.15),
    "coin": Judge("verdicts", noise=100.0),
    "reward": Judge("scores", noise=1.5, orders=0, missing=0.0, cost=0.2),
    "labels": Judge("log_probs", noise=1.5, lean=0.6, orders=1, cost=0.5),
}
"""A good judge, one that leans, a poor one that often refuses, one of pure noise, scores, probabilities."""


@dataclass(frozen=True, eq=False)
class SamplePanel:
    """Judgements of n pairs, their votes (n,), and the true log-probabilities (n, 3) behind them."""

    judgements: Judgements
    outcomes: npt.NDArray[np.int64]
    true_log_probs: Floats

    @property
    def bayes_log_loss(self) -> float:
        """Expected log-loss of the true probabilities (nats): the floor."""
        return float(-(np.exp(self.true_log_probs) * self.true_log_probs).sum(axis=1).mean())

    def files(self) -> dict[str, str]:
        """CSV texts by name: ``votes.csv``, ``verdicts.csv``, ``scores.csv``, ``probabilities.csv``."""
        columns = self.judgements.columns
        ids = self.judgements.ids.to_list()
        verdicts: list[tuple[Any, ...]] = []
        scores: list[tuple[Any, ...]] = []
        probs: list[tuple[Any, ...]] = []
        for name, column in columns.items():
            for k, identity in enumerate(ids):
                for slot, letter in ((First.A, "a"), (First.B, "b")):
                    if isinstance(column, Verdicts) and column.unusable[k, slot]:
                        verdicts.append((identity, name, letter, _REFUSAL))
                    elif isinstance(column, Verdicts) and column.present[k, slot]:
                        word = _WORDS[int(column.slot_verdicts[k, slot])]
                        verdicts.append((identity, name, letter, word))
                    elif isinstance(column, LogProbs) and column.present[k, slot]:
                        given = np.exp(column.log_probs[k, slot]).tolist()
                        probs.append((identity, name, letter, *given))
                if isinstance(column, Scores) and column.present[k, First.UNKNOWN]:
                    scores.append((identity, name, *column.mean[k, First.UNKNOWN].tolist()))
        tables: dict[str, tuple[tuple[str, ...], list[tuple[Any, ...]]]] = {
            "votes.csv": (
                ("id", "winner"),
                [(i, _WORDS[y]) for i, y in zip(ids, self.outcomes, strict=True)],
            ),
            "verdicts.csv": (("id", "judge", "first", "verdict"), verdicts),
            "scores.csv": (("id", "judge", "score_a", "score_b"), scores),
            "probabilities.csv": (("id", "judge", "first", "p_a", "p_b", "p_tie"), probs),
        }
        return {
            name: pl.DataFrame(rows, schema=list(header), orient="row").write_csv()
            for name, (header, rows) in tables.items()
            if rows
        }


def panel(
    rows: int = 400, *, seed: int = 0, judges: Mapping[str, Judge] = JUDGES, ties: bool = True
) -> SamplePanel:
    """Draw pairs, their votes, and what each judge answers; the same seed gives the same panel.

    Parameters
    ----------
    rows
        How many pairs.
    judges
        Name → how it answers.
    ties
        Whether a vote may be a tie.
    """
    rng = np.random.default_rng(seed)
    delta = rng.normal(0, _SPREAD, rows)
    tau = np.full(rows, _TIE if ties else -np.inf)
    truth = from_delta_tau(delta, tau)
    edges = np.exp(truth).cumsum(axis=1)[:, :2]
    outcomes = np.asarray((rng.random(rows)[:, None] > edges).sum(axis=1), dtype=np.int64)
    columns = {name: _column(judge, delta, rng) for name, judge in judges.items()}
    ids = pl.Series("id", [f"pair-{seed}-{k}" for k in range(rows)], dtype=pl.String)
    costs = {name: judge.cost for name, judge in judges.items()}
    return SamplePanel(Judgements(ids, columns, costs), outcomes, truth)


def _column(judge: Judge, delta: Floats, rng: np.random.Generator) -> JudgeColumn:
    n = len(delta)
    quality = delta + rng.normal(0, judge.noise, n)
    lost = rng.random((n, 2)) < judge.missing
    if judge.kind == Scores.kind:
        level = rng.normal(5, 1, n)
        scores = np.stack([level + quality / 2, level - quality / 2], axis=1)
        return Scores.from_pairs(np.where(lost[:, :1], np.nan, scores))
    asked = np.ones((n, 2), bool)
    if judge.orders == 1:
        asked = np.eye(2, dtype=bool)[rng.integers(0, 2, n)]
    # Half of the noise belongs to the pair, half to the call: the two orders do not always agree.
    seen = quality[:, None] + judge.lean * np.array([1.0, -1.0]) + rng.normal(0, judge.noise / 2, (n, 2))
    if judge.kind == LogProbs.kind:
        log_probs = np.full((n, 3, 3), np.nan)
        # Twice as sure as it should be.
        log_probs[:, :2] = from_delta_tau(2 * seen.ravel(), np.full(2 * n, _TIE)).reshape(n, 2, 3)
        log_probs[:, :2][~asked | lost] = np.nan
        return LogProbs(log_probs)
    codes = np.where(np.abs(seen) < judge.noise / 3, 2, np.where(seen > 0, 0, 1))
    counts, unusable = np.zeros((n, 3, 3), np.int64), np.zeros((n, 3), np.int64)
    for slot in (First.A, First.B):
        rows = np.flatnonzero(asked[:, slot] & ~lost[:, slot])
        counts[rows, slot, codes[rows, slot]] = 1
        unusable[asked[:, slot] & lost[:, slot], slot] = 1
    return Verdicts(counts, unusable)
