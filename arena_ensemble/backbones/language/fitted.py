"""A fitted language-model member, and what it says of readings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ArenaError
from ...predictions import Floats, normalised
from ..base import Progress
from . import loading
from .encoder import Reader
from .heads import Scorer
from .hidden_cache import Vectors, with_features
from .inference import read, read_features
from .sequences import Readings


@dataclass(eq=False)
class Member:
    """A fitted language-model member."""

    reader: Reader
    scorer: Scorer
    policy: loading.Policy
    facts: dict[str, Any] = field(default_factory=dict)
    hidden: Path | None = None
    """where a frozen base's vectors are kept, or None when the base runs every time"""
    shift: Floats | None = None
    """(3,) subtracted from the log-probabilities: zero-shot calibration"""

    def log_probs(self, readings: Readings, on_progress: Progress | None = None) -> Floats:
        """Log-probabilities (n, 3) of readings, in their order.

        Raises
        ------
        ArenaError
            A logit is NaN or infinite.
        """
        recipe = self.reader.recipe
        logits = read(
            self.scorer,
            self.from_frozen(readings, on_progress),
            policy=self.policy,
            pad_id=self.reader.pad_id,
            batch_tokens=self.policy.micro_batch(recipe.train.predict_tokens),
            on_progress=on_progress,
            packed=recipe.train.packing,
        )
        if not np.isfinite(logits).all():
            row = int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])
            raise ArenaError(f"row {row + 1}: the model's logits are NaN or infinite; try precision = 'fp32'")
        log_probs = normalised(logits)
        return log_probs if self.shift is None else normalised(log_probs - self.shift)

    def features(self, readings: Readings, on_progress: Progress | None = None) -> Vectors:
        """What the base says of readings of one sequence each, (n, hidden)."""
        return read_features(
            self.scorer,
            readings,
            policy=self.policy,
            pad_id=self.reader.pad_id,
            batch_tokens=self.policy.micro_batch(self.reader.recipe.train.predict_tokens),
            on_progress=on_progress,
        )

    def from_frozen(self, readings: Readings, on_progress: Progress | None = None) -> Readings:
        """Vectors instead of token ids where the base is frozen; else the readings as they are."""
        if self.hidden is None:
            return readings
        return with_features(readings, self.hidden, lambda wanted: self.features(wanted, on_progress))
