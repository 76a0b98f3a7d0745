"""The training battles whose prompts are nearest to a battle's, with their votes: TF-IDF, cosine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import linear_kernel

from ..battles import Battles

MOST_TERMS: Final = 200_000
_SHOWN_CHARS: Final = 160
VOTES: Final = ("A", "B", "tie")


@dataclass(frozen=True)
class Neighbour:
    """A training battle: its vote (A, B, tie; None where nobody voted) and how near its prompt is, 0 to 1."""

    id: int | str
    similarity: float
    vote: str | None
    prompt: str
    """its beginning, on one line"""


class TrainingPrompts:
    """The prompts of training battles, ready to be searched; fitted once.

    Words and pairs of words, scikit-learn's `TfidfVectorizer` with sublinear term frequencies; battles
    without a common term are never neighbours.
    """

    def __init__(self, battles: Battles) -> None:
        self.battles = battles
        self._vectorizer = TfidfVectorizer(
            sublinear_tf=True, ngram_range=(1, 2), max_features=MOST_TERMS, token_pattern=r"(?u)\b\w+\b"
        )
        try:
            self._rows = self._vectorizer.fit_transform(_prompts(battles).to_list())
        except ValueError:  # no prompt holds a word
            self._rows = None

    def nearest(self, battle: Battles, count: int, *, leave_out: bool = False) -> list[Neighbour]:
        """At most ``count`` battles nearest to the one in ``battle``, the nearest first.

        With ``leave_out``, the battle itself is among the training battles and is no neighbour.
        """
        if self._rows is None or count < 1:
            return []
        found = linear_kernel(self._vectorizer.transform(_prompts(battle).to_list()), self._rows)[0]
        if leave_out:
            found[(self.battles.ids == battle.ids[0]).to_numpy()] = 0.0
        order = np.argsort(-found, kind="stable")[:count]
        prompts, outcomes = _prompts(self.battles), self.battles.frame["outcome"]
        return [
            Neighbour(
                self.battles.ids[row],
                float(min(found[row], 1.0)),
                None if outcomes[row] is None else VOTES[outcomes[row]],
                _beginning(prompts[row]),
            )
            for row in map(int, order)
            if found[row] > 0
        ]


def _prompts(battles: Battles) -> pl.Series:
    joined = pl.col("prompt").list.join("\n", ignore_nulls=True).fill_null("")
    return battles.frame.select(joined.alias("text"))["text"]


def _beginning(text: str) -> str:
    line = " ".join(text[: 4 * _SHOWN_CHARS].split())
    return line if len(line) <= _SHOWN_CHARS else line[: _SHOWN_CHARS - 1] + "…"
