"""Lines over a few steps: a small chart for each member, a line for each fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from markupsafe import Markup

from . import svg

_LEFT: Final = 44
_TOP: Final = 8
_WIDTH: Final = 220
_HEIGHT: Final = 120
_DOTS: Final = 60
"""points that are drawn one by one"""
_TOLD: Final = 12

Points = Sequence[tuple[float, float]]


def line_chart(
    name: str,
    lines: Sequence[tuple[str, Points]],
    *,
    quantity: str,
    step: str,
    label: Callable[[float], str] = "{:g}".format,
) -> Markup:
    """Every line over the same steps.

    Parameters
    ----------
    lines
        What a line is, such as ``fold 0``, and its points (step, value).
    quantity, step
        What is drawn, and over what, for those who cannot see it.
    label
        What stands below the first and the last step.
    """
    scale = svg.Scale.over(value for _, points in lines for _, value in points)
    first, last = (end(at for _, points in lines for at, _ in points) for end in (min, max))
    dots = sum(len(points) for _, points in lines) <= _DOTS

    def x(at: float) -> float:
        return _LEFT + (_WIDTH * (at - first) / (last - first) if last > first else _WIDTH / 2)

    def y(value: float) -> float:
        return _TOP + _HEIGHT * (1 - (value - scale.low) / (scale.high - scale.low))

    parts = [svg.frame(_LEFT, _TOP, _WIDTH, _HEIGHT)]
    for tick in scale.ticks(4):
        parts.append(svg.line("grid", _LEFT, y(tick), _LEFT + _WIDTH, y(tick)))
        parts.append(svg.text("tick end", _LEFT - 5, y(tick) + 4, f"{tick:g}"))
    for at in sorted({first, last}):
        parts.append(svg.text("tick middle", x(at), _TOP + _HEIGHT + 14, label(at)))
    for _, points in lines:
        places = [(x(at), y(value)) for at, value in points]
        parts.append(svg.curve("after" if dots else "after thin", places))
        parts += [svg.dot("dot after", *place, 2.5) for place in places] if dots else []
    told = "; ".join(f"{what}: {_told([value for _, value in points])}" for what, points in lines)
    return svg.square(
        _LEFT + _WIDTH + 12,
        _TOP + _HEIGHT + 20,
        title=f"{name}: {quantity} by {step}",
        desc=told,
        parts=parts,
    )


def _told(values: Sequence[float]) -> str:
    """The values in words, the first and the last of many."""
    shown = [f"{value:.3f}" for value in values]
    if len(shown) > _TOLD:
        shown = [shown[0], "…", shown[-1]]
    return ", ".join(shown)
