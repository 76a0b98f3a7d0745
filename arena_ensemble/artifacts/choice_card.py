"""The card of a best-of-N panel."""

from __future__ import annotations

from typing import Literal

from .cards import Card


class ChoiceCard(Card):
    """A best-of-N panel, ``card.json``."""

    kind: Literal["best_of_n"] = "best_of_n"
    judges: list[str]
    items: int
    answers: int
    seed: int
    log_loss: float
    accuracy: float
    weights: dict[str, list[float]]
    """judge → weights of its standardised score and of the saturated one"""
