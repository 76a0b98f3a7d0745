"""An explanation of one prediction, as plain values: what a terminal, a page or a notebook shows."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from .neighbours import Neighbour

Kind = Literal["length", "format", "prompt"]
Source = Literal["fold models", "kept predictions", "out of fold"]


@dataclass(frozen=True)
class Chances:
    """Three probabilities that sum to one: A wins, B wins, tie."""

    a: float
    b: float
    tie: float


@dataclass(frozen=True)
class Part:
    """What something adds to delta (above 0: for A) and to tau (above 0: for a tie), in logits."""

    delta: float
    tau: float


@dataclass(frozen=True)
class WordPart:
    """A word, or two in a row, and what it adds to a member's own delta (above 0: for A)."""

    term: str
    delta: float


@dataclass(frozen=True)
class MemberPart:
    """A member's part in the ensemble's prediction, and its own opinion."""

    name: str
    delta: float
    tau: float
    chances: Chances
    """what it predicts alone: both orders and all fold models averaged"""
    position_bias: float | None
    """half of what its delta changes when the answers change places, in logits: preference for the answer
    shown first. 0 of a member that is equivariant by construction, None of one that predicted one order"""
    level: Chances | None
    """what it predicts at equal length and format; None where the model cannot tell"""
    words: list[WordPart]
    """the terms that weigh most in its own delta, of a member that is a sum over words; else empty"""
    external: bool = False
    """whether another tool predicted it: no model of it can be asked"""


@dataclass(frozen=True)
class FeaturePart:
    """What a length or formatting feature adds beside the members."""

    name: str
    kind: Kind
    """``length`` and ``format`` of the answers; ``prompt``: what is asked, how alike the answers are"""
    delta: float
    tau: float


@dataclass(frozen=True)
class Explanation:
    """Why the ensemble gives a battle these probabilities.

    All parts of delta (members, features, order, rest) sum to ``delta``, and those of tau with ``constant``
    to ``tau``. Delta is ln P(A) - ln P(B); tau is ln P(tie) - (ln P(A) + ln P(B)) / 2.
    """

    id: int | str
    source: Source
    """``kept predictions``: what the fold models predicted of its test file before; ``out of fold``: members'
    predictions by the fold model that never saw the battle"""
    chances: Chances
    delta: float
    tau: float | None
    """None where no tie can be voted; parts of tau are zero then"""
    members: list[MemberPart]
    features: list[FeaturePart]
    """those with a part, the largest part of delta first"""
    length: Part
    """sum over the features of that kind"""
    format: Part
    prompt: Part
    order: Part
    """what members of one order add to the answer that they saw first"""
    constant: float
    """of tau: how common ties are"""
    rest: Part
    """rounding, and what a model without known parts leaves over"""
    level: Chances
    """the verdict at equal length and format: odd features, and gaps between the answers, set to zero"""
    exchanged: Chances | None
    """the prediction of the exchanged answers, columns put back: without position bias, ``chances``"""
    choice: dict[str, float]
    """candidates of the stacker and their weights"""
    gammas: dict[str, float]
    vote: str | None
    """A, B or tie, where it is known"""
    nearest: list[Neighbour]
    """training battles with the nearest prompts; empty where the training battles were not given"""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)
