"""Reliability diagrams: how often each outcome was voted where it was given a certain probability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from . import svg

OUTCOMES: Final = ("A wins", "B wins", "tie")
_SIDE: Final = 168
_LEFT: Final = 30
_TOP: Final = 8
_WIDTH: Final = _LEFT + _SIDE + 10
_HEIGHT: Final = _TOP + _SIDE + 20

Bins = Sequence[Mapping[str, float]]
Outcomes = Sequence[Bins]


@dataclass(frozen=True)
class Diagram:
    """One predictor: a square for each outcome, and how far its bins lie from the diagonal."""

    name: str
    squares: tuple[tuple[str, Markup], ...]
    gap_before: str
    gap_after: str
    note: str = ""


def diagram(name: str, before: Outcomes | None, after: Outcomes | None, note: str = "") -> Diagram:
    """The squares of one predictor, before its temperature (grey), after it (accent), or of one of both."""
    count = len(after or before or ())
    squares = []
    for outcome in range(count):
        sides = [None if one is None else one[outcome] for one in (before, after)]
        if all(not side or all(b["predicted"] == 0 for b in side) for side in sides):
            continue  # no tie can be voted
        squares.append((OUTCOMES[outcome], _square(name, OUTCOMES[outcome], sides[0], sides[1])))
    return Diagram(name, tuple(squares), _shown(before), _shown(after), note)


def mean_gap(outcomes: Outcomes) -> float:
    """Mean of |predicted - voted| over the bins of all outcomes, weighted by their rows."""
    bins = [one for of_outcome in outcomes for one in of_outcome]
    rows = sum(one["rows"] for one in bins)
    return sum(one["rows"] * abs(one["predicted"] - one["happened"]) for one in bins) / rows if rows else 0.0


def _shown(outcomes: Outcomes | None) -> str:
    return "" if outcomes is None else f"{100 * mean_gap(outcomes):.1f}"


def _square(name: str, outcome: str, before: Bins | None, after: Bins | None) -> Markup:
    parts = [svg.frame(_LEFT, _TOP, _SIDE, _SIDE), svg.line("grid", _x(0), _y(0), _x(1), _y(1))]
    for tick in (0, 0.5, 1):
        parts.append(svg.text("tick middle", _x(tick), _y(0) + 14, f"{tick:g}"))
        parts.append(svg.text("tick end", _x(0) - 5, _y(tick) + 4, f"{tick:g}"))
    told = []
    for kind, bins in (("before", before), ("after", after)):
        if bins is None:
            continue
        parts.append(svg.curve(kind, [(_x(b["predicted"]), _y(b["happened"])) for b in bins]))
        for b in bins:
            low, high = max(b["happened"] - b["se"], 0.0), min(b["happened"] + b["se"], 1.0)
            parts.append(
                svg.line(f"mark whisker {kind}", _x(b["predicted"]), _y(low), _x(b["predicted"]), _y(high))
            )
            parts.append(svg.dot(f"dot {kind}", _x(b["predicted"]), _y(b["happened"])))
        points = ", ".join(f"{b['predicted']:.2f} → {b['happened']:.2f}" for b in bins)
        told.append(f"{kind} its temperature, predicted → voted: {points}")
    return svg.square(
        _WIDTH, _HEIGHT, title=f"{name}: reliability of {outcome}", desc="; ".join(told), parts=parts
    )


def _x(share: float) -> float:
    return _LEFT + share * _SIDE


def _y(share: float) -> float:
    return _TOP + (1 - share) * _SIDE


def diagrams(reliability: Mapping[str, Any], *, suffix: str) -> list[Diagram]:
    """A diagram a predictor, in the card's order: NAME before, ``NAME + suffix`` after its temperature.

    A predictor without the second is shown as it is: the ensemble, a judge after its calibration, or a
    member in the card of an earlier version.
    """
    found = []
    for name, bins in reliability.items():
        if name.endswith(suffix) and name.removesuffix(suffix) in reliability:
            continue
        after = reliability.get(name + suffix)
        found.append(diagram(name, None, bins) if after is None else diagram(name, bins, after))
    return found
