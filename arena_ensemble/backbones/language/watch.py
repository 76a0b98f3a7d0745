"""What a model gave for the rows that it trains on: curves while it runs, warnings of a collapse, facts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import torch

from ...diagnostics.collapse import collapse_warnings, prediction_summary
from ...losses import Floats
from .batching import Index
from .sequences import TrainingSet

_log = logging.getLogger(__name__)
WATCH_ROWS: Final = 200
"""Examples that a look waits for: fewer make a ragged curve."""
Log = Callable[[int, Mapping[str, float]], None]
"""``log(step, values)``"""


class Watch:
    """The logits of the training rows as the steps gave them.

    Parameters
    ----------
    training_set
        The examples.
    name
        How warnings call what is trained.
    """

    def __init__(self, training_set: TrainingSet, name: str) -> None:
        self.training_set, self.name = training_set, name
        self.seen_logits: Floats = np.full((len(training_set.sequences), 3), np.nan)
        """(examples, 3), NaN where this epoch has not been"""
        self._no_ties = not (training_set.labels == 2).any()
        """of two outcomes: predictions lose P(tie), and so do those that are looked at"""
        # both orders of a battle are one observation where its predictions are tested
        self._battle: Index = np.unique([str(name) for name in training_set.names], return_inverse=True)[1]
        self._recent: list[tuple[Index, Floats]] = []  # rows and logits since the last look

    def add(self, rows: Index, logits: Floats) -> None:
        """The logits (rows, 3) of one step."""
        self._recent.append((rows, logits))
        self.seen_logits[rows] = logits

    def look(self, done: int, steps: int, on_log: Log | None, *, warn: bool) -> None:
        """Report on the examples since the last look, once there are enough; warn of a collapse."""
        if sum(len(rows) for rows, _ in self._recent) < WATCH_ROWS and done < steps:
            return
        rows, logits = (np.concatenate(part) for part in zip(*self._recent, strict=True))
        self._recent.clear()
        log_probs = self._looked_at(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
        labels = self.training_set.labels[rows]
        if on_log:
            on_log(done, _curves(prediction_summary(log_probs, labels)))
        alarms = collapse_warnings(log_probs, labels, groups=self._battle[rows]).alarms if warn else []
        for alarm in alarms:
            _log.warning("%s, after %d of %d steps: it %s", self.name, done, steps, alarm)

    def epoch_loss(self) -> float:
        """Mean log-loss of the rows that this epoch has seen."""
        log_probs, rows = self._epoch_log_probs()
        return round(float(-log_probs[np.arange(len(rows)), self.training_set.labels[rows]].mean()), 6)

    def facts(self) -> dict[str, Any]:
        """The last epoch's summary and alarms, for the card."""
        log_probs, rows = self._epoch_log_probs()
        log_probs, labels = self._looked_at(log_probs), self.training_set.labels[rows]
        return {
            "last_epoch": {"rows": len(rows), **prediction_summary(log_probs, labels)},
            "alarms": collapse_warnings(log_probs, labels, groups=self._battle[rows]).alarms,
        }

    def _looked_at(self, log_probs: Floats) -> Floats:
        if not self._no_ties:
            return log_probs
        two = np.where([True, True, False], log_probs, -np.inf)
        return np.asarray(two - np.logaddexp.reduce(two, axis=1, keepdims=True))

    def _epoch_log_probs(self) -> tuple[Floats, Index]:
        rows = np.flatnonzero(~np.isnan(self.seen_logits).any(axis=1))
        logits = torch.from_numpy(self.seen_logits[rows])
        return torch.log_softmax(logits, dim=1).numpy(), rows


def _curves(summary: Mapping[str, Any]) -> dict[str, float]:
    """A summary as flat numbers for loss curves."""
    shares = {f"share_{name.lower()}": float(share) for name, share in summary["predicted_shares"].items()}
    losses = {name: float(summary[name]) for name in ("log_loss", "prior_log_loss")}
    return losses | {"entropy": float(summary["mean_entropy"])} | shares
