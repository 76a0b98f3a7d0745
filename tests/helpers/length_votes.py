"""Battles in which the longer answer wins every vote, a judge that scores at random, and a panel of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from arena_ensemble import Panel
from arena_ensemble.pipeline.panel import PanelData, read_panel_data


@dataclass(frozen=True)
class LengthVotes:
    """``battles.csv`` and ``scores.csv`` of a folder, as tables and as the panel that was fitted on them."""

    battles: pl.DataFrame
    scores: pl.DataFrame
    data: PanelData
    panel: Panel


def length_votes(folder: Path, ids: Sequence[str], *, longest: int, lists: bool = False) -> LengthVotes:
    """Answers of fewer than ``longest`` words, B's as a list or as one line; features are their texts'."""
    rng = np.random.default_rng(0)
    words = rng.integers(1, longest, (len(ids), 2))
    between, word = ("\n", "- word") if lists else (" ", "word")
    battles = pl.DataFrame(
        {
            "id": ids,
            "prompt": [f"question {k}" for k in range(len(ids))],
            "response_a": [" ".join(["word"] * n) for n in words[:, 0]],
            "response_b": [between.join([word] * n) for n in words[:, 1]],
            "winner": np.where(words[:, 0] > words[:, 1], "model_a", "model_b"),
        }
    )
    noise = rng.normal(size=(len(ids), 2))
    scores = battles.select("id").with_columns(judge=pl.lit("x"), score_a=noise[:, 0], score_b=noise[:, 1])
    battles.write_csv(folder / "battles.csv")
    scores.write_csv(folder / "scores.csv")
    text = folder / "battles.csv"
    data = read_panel_data([folder / "scores.csv"], text, text=text)
    panel = Panel(honest=False).fit(data.judgements, data.votes.majority, features=data.features)
    return LengthVotes(battles, scores, data, panel)
