"""What is said of a training: of two outcomes P(tie) is no part of it, as it is none of the predictions."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from arena_ensemble.backbones.language.watch import Watch


def watch(labels: Any) -> Watch:
    n = len(labels)
    rows: Any = SimpleNamespace(sequences=range(n), labels=np.asarray(labels), names=range(n))
    return Watch(rows, "m fold-0")


@pytest.mark.parametrize("ties", [False, True])
def test_a_head_that_still_gives_a_third_to_ties_is_no_alarm_where_none_can_be_voted(
    ties: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits (d, -d, 2) are mostly right about the winner, and give most to ties."""
    root = logging.getLogger("arena_ensemble")
    monkeypatch.setattr(root, "propagate", True)
    monkeypatch.setattr(root, "handlers", [])
    labels = np.tile([0, 1], 100)
    if ties:
        labels[:4] = 2
    side = np.where(labels == 0, 1.0, -1.0) * np.tile([0.5, 0.5, 0.5, -0.2], 50)
    logits = np.stack([side, -side, np.full(200, 2.0)], axis=1)
    one = watch(labels)
    one.add(np.arange(200), logits)
    curves: list[Any] = []
    one.look(10, 10, lambda step, values: curves.append(values), warn=True)
    facts = one.facts()
    assert bool(caplog.messages) == bool(facts["alarms"]) == ties
    if not ties:
        expected = np.log1p(np.exp(-2 * side * np.where(labels == 0, 1, -1))).mean()
        assert curves[0]["log_loss"] == pytest.approx(expected)
        assert facts["last_epoch"]["log_loss"] == pytest.approx(expected)
        assert curves[0]["share_tie"] == 0
