"""The battles whose vote the ensemble least expected, with both answers side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from markupsafe import Markup, escape

from ..battle_view import BattleView
from ..clipping import clipped, one_line
from ..reliability_chart import OUTCOMES
from ..svg import stacked_strip
from .section import Section

_SHOWN: Final = 100
_PROMPT_BYTES: Final = 6_000
_ANSWER_BYTES: Final = 14_000
"""of a battle, all turns together, escaped: a hundred battles stay under 3.5 MB"""
_ROUNDS: Final = 40
_NAME: Final = 60
_SUMMARY: Final = 150


@dataclass(frozen=True)
class Text:
    """A turn as shown, and how many of its characters are not."""

    shown: str
    left_out: int


@dataclass(frozen=True)
class Round:
    """One turn of the conversation."""

    prompt: Text
    a: Text
    b: Text


@dataclass(frozen=True)
class Surprise:
    """A battle whose vote had a small probability."""

    rank: int
    id: str
    loss: str
    voted: int
    probabilities: str
    strip: Markup
    summary: str
    models: tuple[str, str]
    members: tuple[tuple[str, str], ...]
    rounds: tuple[Round, ...]
    more_rounds: int

    @property
    def outcome(self) -> str:
        """What was voted, in words."""
        return OUTCOMES[self.voted]


def surprises(view: BattleView, *, member: str, unit: str = "battles", shown: int = _SHOWN) -> Section:
    """The battles of largest loss, the most surprising first; ``unit`` is what they are called."""
    losses = view.losses
    order = np.argsort(-losses, kind="stable")[:shown]
    frame = view.battles.take(order).frame
    outcomes = view.outcomes
    found = [
        _surprise(
            place + 1, int(row), frame.row(place, named=True), view, float(losses[row]), int(outcomes[row])
        )
        for place, row in enumerate(order)
    ]
    return Section(
        "surprises",
        f"The most surprising {unit}",
        {"battles": found, "of": len(losses), "member": member},
    )


def _surprise(
    rank: int, row: int, battle: dict[str, Any], view: BattleView, loss: float, voted: int
) -> Surprise:
    probs = np.exp(view.ensemble[row])
    words = ", ".join(f"{OUTCOMES[k]} {probs[k]:.0%}" for k in (0, 2, 1))
    rounds, more = _rounds(battle)
    return Surprise(
        rank=rank,
        id=one_line(str(battle["id"]), _NAME),
        loss=f"{loss:.2f}",
        voted=voted,
        probabilities=words,
        strip=stacked_strip(probs.tolist(), title=f"Predicted: {words}"),
        summary=one_line((battle["prompt"] or [""])[0] or "", _SUMMARY),
        models=(_model(battle, "model_a"), _model(battle, "model_b")),
        members=tuple((name, f"{np.exp(one[row, voted]):.0%}") for name, one in view.members.items()),
        rounds=rounds,
        more_rounds=more,
    )


def _model(battle: dict[str, Any], column: str) -> str:
    return one_line(str(battle.get(column) or ""), _NAME)


def _rounds(battle: dict[str, Any]) -> tuple[tuple[Round, ...], int]:
    """The turns side by side, as many as the sizes allow, and how many more there are."""
    columns = [battle["prompt"] or [], battle["response_a"] or [], battle["response_b"] or []]
    left = [_PROMPT_BYTES, _ANSWER_BYTES, _ANSWER_BYTES]
    count = max(map(len, columns))
    rounds = []
    for turn in range(min(count, _ROUNDS)):
        texts = []
        for side, turns in enumerate(columns):
            text = (turns[turn] if turn < len(turns) else "") or ""
            shown, left_out = clipped(text, left[side])
            left[side] -= len(str(escape(shown)).encode("utf-8", "replace"))
            texts.append(Text(shown, left_out))
        rounds.append(Round(*texts))
        if max(left[1:]) <= 0:
            break
    return tuple(rounds), count - len(rounds)
