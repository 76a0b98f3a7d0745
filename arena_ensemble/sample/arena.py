"""The sample arena: readable synthetic battles whose true probabilities are known.

Votes are drawn from a Davidson model (Davidson 1970) per battle, with known weights for what the
text says (correctness, following the instruction, manner, relevance, refusal) and known biases
(length, formatting, position). The expected log-loss of the true probabilities is the floor that no
method can beat, so a score can be read as a share of the learnable gap between prior and floor.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ..battles import Battles
from ..predictions import Floats, from_delta_tau
from . import texts

MODELS: Final = ("aster-70b", "birch-34b", "cedar-13b", "delta-8b", "elder-7b", "fern-2b")
_SKILL: Final = (0.90, 0.82, 0.72, 0.62, 0.52, 0.42)


@dataclass(frozen=True)
class Weights:
    """What moves a vote, in logits of delta (A against B); tau is the log-weight of a tie."""

    correct: float = 3.0
    follows: float = 0.8
    helpful: float = 0.6
    hedging: float = -1.1
    rude: float = -2.0
    off_topic: float = -2.0
    refusal: float = -3.2
    length_bias: float = 0.9
    """per unit of ln(words)"""
    format_bias: float = 1.0
    """for a response with a heading or list"""
    position_bias: float = 0.10
    """toward the first response"""
    tie: float = -0.25
    both_bad_tie: float = 0.9
    """added to tau when neither response is correct"""


@dataclass(frozen=True, eq=False)
class Arena:
    """Battles with outcomes, the true log-probabilities (n, 3) behind them, and the weights used."""

    battles: Battles
    true_log_probs: Floats
    weights: Weights

    @property
    def bayes_log_loss(self) -> float:
        """Expected log-loss of the true probabilities (mean entropy, nats): the floor."""
        return float(-(np.exp(self.true_log_probs) * self.true_log_probs).sum(axis=1).mean())


@dataclass
class _Side:
    """One response while it is being written."""

    turns: list[str | None] = field(default_factory=list)
    correct: bool = False
    follows: bool = False
    manner: str = "neutral"
    off_topic: bool = False
    refusal: bool = False
    formatted: bool = False

    def words(self) -> int:
        return sum(len(turn.split()) for turn in self.turns if turn)

    def score(self, w: Weights) -> float:
        value = w.length_bias * float(np.log1p(self.words())) + w.format_bias * self.formatted
        if self.refusal:
            return value + w.refusal
        manner = {"helpful": w.helpful, "hedging": w.hedging, "rude": w.rude}.get(self.manner, 0.0)
        return (
            value
            + w.correct * self.correct
            + w.follows * self.follows
            + manner
            + w.off_topic * self.off_topic
        )


class _Writer:
    """Writes prompts and responses from the banks; all randomness comes from one generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def pick(self, options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def first_turn(self, relation: str, subject: str, instruction: str | None) -> str:
        parts = [f"{self.pick(texts.OPENERS)[:-1]} {self.pick(texts.PLACES)}."] if self.chance(0.85) else []
        parts.append(self.pick(texts.QUESTIONS[relation]).format(s=subject))
        if instruction is not None:
            parts.append(self.pick(texts.INSTRUCTIONS[instruction]))
        return " ".join(parts)

    def response(
        self, fact: tuple[str, str, tuple[str, ...]], wanted: str | None, n: int, skill: float
    ) -> _Side:
        subject, right, wrong = fact
        side = _Side(refusal=self.chance(0.05), off_topic=self.chance(0.08 * (1.5 - skill)))
        side.correct = self.chance(0.15 + 0.75 * skill)
        side.follows = wanted is None or self.chance(0.2 + 0.6 * skill)
        side.manner = str(
            self.rng.choice(["helpful", "neutral", "hedging", "rude"], p=[0.35, 0.35, 0.18, 0.12])
        )
        side.formatted = self.chance(0.3)
        if side.refusal:
            side.formatted = side.correct = side.follows = False
            side.turns = [self.pick(texts.REFUSALS) for _ in range(n)]
            return side
        if wanted is not None and side.follows:
            register = wanted
        else:  # ignores the instruction, or there was none
            register = (
                self.pick(["plain", *(k for k in texts.INSTRUCTIONS if k != wanted)]) if wanted else "plain"
            )
        answer = right if side.correct else self.pick(wrong)
        filler = int(self.rng.integers(1, 6))
        for turn in range(n):
            bank = texts.OFF_TOPIC if side.off_topic else texts.REGISTERS[register]
            order = self.rng.permutation(len(bank))[: max(1, filler - turn)]
            body = [self.pick(texts.MANNERS[side.manner])] if turn == 0 else []
            body.append(self.pick(texts.ANSWERS).format(s=subject, a=answer))
            body += [bank[i] for i in order]
            text = " ".join(body)
            if side.formatted:
                points = "\n".join(f"- {self.pick(texts.BULLETS).format(a=answer)}" for _ in range(filler))
                text = f"## Answer\n\n{text}\n\n{points}"
            side.turns.append(text)
        return side

    def other_script(self) -> tuple[list[str | None], _Side, _Side]:
        prompt, right, wrong = self.pick(texts.OTHER_SCRIPTS)
        sides = []
        for _ in range(2):
            correct = self.chance(0.6)
            sides.append(_Side([right if correct else wrong], correct=correct, follows=True))
        return [prompt], sides[0], sides[1]


def make_arena(rows: int = 1500, *, seed: int = 0, weights: Weights | None = None) -> Arena:
    """Draw ``rows`` battles, their votes and their true probabilities.

    Parameters
    ----------
    rows
        How many battles.
    seed
        Seeds text, votes and ids; the same seed gives the same arena to the byte.
    weights
        The truth; the default is documented field by field in :class:`Weights`.
    """
    weights = weights or Weights()
    rng = np.random.default_rng(seed)
    writer = _Writer(rng)
    relations = list(texts.FACTS)
    ids = rng.choice(np.arange(10_000, 10_000 + 40 * max(rows, 1)), size=rows, replace=False)
    records: list[dict[str, Any]] = []
    delta, tau = np.empty(rows), np.empty(rows)
    for row in range(rows):
        first, second = rng.choice(len(MODELS), size=2, replace=False)
        if writer.chance(0.02):
            prompt, side_a, side_b = writer.other_script()
        else:
            relation = writer.pick(relations)
            fact = writer.pick(texts.FACTS[relation])
            wanted = writer.pick(list(texts.INSTRUCTIONS)) if writer.chance(0.6) else None
            n = int(rng.choice([1, 2, 3], p=[0.86, 0.10, 0.04]))
            prompt = [writer.first_turn(relation, fact[0], wanted)]
            prompt += [writer.pick(texts.FOLLOW_UPS) for _ in range(n - 1)]
            side_a = writer.response(fact, wanted, n, _SKILL[first])
            side_b = writer.response(fact, wanted, n, _SKILL[second])
            if n > 1 and writer.chance(0.03):
                side_a.turns[-1] = None  # Kaggle's file has such turns; readers and members must cope
        delta[row] = side_a.score(weights) - side_b.score(weights) + weights.position_bias
        neither = not (side_a.correct or side_b.correct)
        tau[row] = weights.tie + weights.both_bad_tie * neither
        records.append(
            {
                "id": int(ids[row]),
                "prompt": prompt,
                "response_a": side_a.turns,
                "response_b": side_b.turns,
                "model_a": MODELS[first],
                "model_b": MODELS[second],
            }
        )
    truth = from_delta_tau(delta, tau)
    votes = _draw(rng, truth)
    for record, vote in zip(records, votes, strict=True):
        record["outcome"] = int(vote)
    return Arena(Battles.from_rows(records), truth, weights)


def _draw(rng: np.random.Generator, log_probs: Floats) -> npt.NDArray[np.int64]:
    """One outcome per row by inverting the cumulative probabilities."""
    edges = np.exp(log_probs).cumsum(axis=1)[:, :2]
    return np.asarray((rng.random(len(log_probs))[:, None] > edges).sum(axis=1), dtype=np.int64)


def kaggle_frame(battles: Battles, *, labelled: bool) -> pl.DataFrame:
    """The battles in the columns of Kaggle's ``train.csv`` (labelled) or ``test.csv``."""
    frame = battles.frame
    lists = {
        name: pl.Series(name, [json.dumps(turns, ensure_ascii=True) for turns in frame[name].to_list()])
        for name in ("prompt", "response_a", "response_b")
    }
    columns: list[pl.Series] = [frame["id"]]
    if labelled:
        columns += [frame["model_a"], frame["model_b"]]
    columns += list(lists.values())
    if labelled:
        outcome = frame["outcome"]
        names = ("winner_model_a", "winner_model_b", "winner_tie")
        columns += [(outcome == k).cast(pl.Int8).alias(name) for k, name in enumerate(names)]
    return pl.DataFrame(columns)


def files(rows: int = 1500, test_rows: int = 300, *, seed: int = 0) -> dict[str, str]:
    """CSV texts of a sample folder by file name.

    ``train.csv``, ``test.csv`` and ``sample_submission.csv`` are in Kaggle's format;
    ``truth.csv`` holds ``id, split, p_a, p_b, p_tie, outcome`` of both, for scoring only.
    """
    arena = make_arena(rows + test_rows, seed=seed)
    train, test = arena.battles.take(np.arange(rows)), arena.battles.take(np.arange(rows, rows + test_rows))
    empty = pl.DataFrame(
        {
            "id": test.ids,
            **{name: [1 / 3] * len(test) for name in ("winner_model_a", "winner_model_b", "winner_tie")},
        }
    )
    probs = np.exp(arena.true_log_probs)
    truth = pl.DataFrame(
        {
            "id": arena.battles.ids,
            "split": ["train"] * rows + ["test"] * test_rows,
            "p_a": probs[:, 0],
            "p_b": probs[:, 1],
            "p_tie": probs[:, 2],
            "outcome": arena.battles.outcomes(),
        }
    )
    return {
        "train.csv": kaggle_frame(train, labelled=True).write_csv(),
        "test.csv": kaggle_frame(test, labelled=False).write_csv(),
        "sample_submission.csv": empty.write_csv(),
        "truth.csv": truth.write_csv(),
    }
