"""Predictions that another tool might have made of a sample arena, right ones and damaged ones, as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from arena_ensemble import sample

Array = Any
PLAIN = ("p_a", "p_b", "p_tie")
AB, LEFT, RIGHT = (1, 0, 2), (1, 2, 0), (2, 0, 1)
"""Columns of a file that are not where their names say: A and B exchanged, all three rotated."""


def softmax(logits: Array) -> Array:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


class SampleArena:
    """The files of a sample arena, and members that know its truth up to noise."""

    def __init__(self, folder: Path, rows: int, test_rows: int, seed: int) -> None:
        self.folder = folder
        for name, text in sample.files(rows, test_rows, seed=seed).items():
            (folder / name).write_text(text)
        truth = pl.read_csv(folder / "truth.csv")
        parts = {split: truth.filter(pl.col("split") == split) for split in ("train", "test")}
        self.ids = {split: part["id"] for split, part in parts.items()}
        self.truth = {split: np.log(part.select(PLAIN).to_numpy()) for split, part in parts.items()}
        self.votes = {split: part["outcome"].to_numpy() for split, part in parts.items()}

    def path(self, name: str) -> Path:
        return self.folder / name

    def honest(self, split: str = "train", seed: int = 1) -> Array:
        """(n, 3) probabilities of a member that knows the truth up to noise."""
        noise = np.random.default_rng(seed + 100 * (split == "test")).normal(size=self.truth[split].shape)
        return softmax(0.8 * self.truth[split] + 0.6 * noise)

    def write(
        self,
        name: str,
        probs: Array,
        split: str = "train",
        order: Sequence[int] = (0, 1, 2),
        **columns: Any,
    ) -> Path:
        """A predictions file; ``order`` puts other columns under the names than belong there."""
        path = self.path(name)
        values = {column: probs[:, k] for column, k in zip(PLAIN, order, strict=True)}
        pl.DataFrame({"id": self.ids[split], **values, **columns}).write_csv(path)
        return path
