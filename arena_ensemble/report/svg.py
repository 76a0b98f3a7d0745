"""Marks of the charts as inline SVG. Every value is put in by `Markup.format`, which escapes it.

Charts of one dimension (a value and its interval in a table's row) are as wide as their cell, with
positions in percent, so that text keeps its size on any screen. Those of two dimensions are small squares.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

_PAD: Final = 3.0
"""percent of the width left free at both sides, so that a mark at an end is whole"""
_ROW: Final = 22
_AXIS: Final = 24

_STRIP: Final = Markup('<svg class="{}" role="img" width="100%" height="{}"><title>{}</title>{}</svg>')
_SQUARE: Final = Markup(
    '<svg class="square" role="img" viewBox="0 0 {w:g} {h:g}"><title>{title}</title>'
    "<desc>{desc}</desc>{parts}</svg>"
)
_LINE: Final = Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>')
_DOT: Final = Markup('<circle class="mark {}" cx="{}" cy="{}" r="{:g}"/>')
_BAR: Final = Markup('<rect class="mark {}" x="{}" y="{:g}" width="{}" height="{:g}"/>')
_CURVE: Final = Markup('<polyline class="curve {}" points="{}"/>')
_FRAME: Final = Markup('<rect class="frame" x="{:g}" y="{:g}" width="{:g}" height="{:g}"/>')
_TEXT: Final = Markup('<text class="{}" x="{}" y="{:g}">{}</text>')


@dataclass(frozen=True)
class Scale:
    """From values to percent of a strip's width."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float]) -> Scale:
        """The scale that holds all finite values; 0 to 1 where there is none."""
        finite = [value for value in values if math.isfinite(value)]
        if not finite:
            return cls(0.0, 1.0)
        low, high = min(finite), max(finite)
        return cls(low, high) if high > low else cls(low - 0.5, high + 0.5)

    def at(self, value: float) -> float:
        """Percent of the width at which a value lies, kept within the strip."""
        share = (value - self.low) / (self.high - self.low)
        return _PAD + (100 - 2 * _PAD) * min(max(share, 0.0), 1.0)

    def ticks(self, most: int = 5) -> list[float]:
        """At most so many round numbers on the scale."""
        power = 10.0 ** math.floor(math.log10(self.high - self.low))
        ticks: list[float] = []
        for factor in (0.1, 0.2, 0.5, 1, 2, 5, 10):
            step = factor * power
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            ticks = [round(k * step, 10) for k in range(first, last + 1)]
            if len(ticks) <= most:
                break
        return ticks


def interval_strip(
    scale: Scale,
    value: float,
    low: float,
    high: float,
    *,
    kind: str,
    title: str,
    reference: float | None = None,
    zero: bool = False,
) -> Markup:
    """A value as a dot on its interval; ``reference`` is a second value, drawn as a short upright line."""
    parts = [*_grid(scale, _ROW, zero=zero)]
    middle = _ROW / 2
    parts.append(_LINE.format(f"mark bar {kind}", _p(scale.at(low)), middle, _p(scale.at(high)), middle))
    if reference is not None:
        x = _p(scale.at(reference))
        parts.append(_LINE.format("mark reference", x, middle - 6, x, middle + 6))
    parts.append(_DOT.format(f"dot {kind}", _p(scale.at(value)), middle, 4.5))
    return _STRIP.format("strip", _ROW, title, Markup("").join(parts))


def bar_strip(scale: Scale, value: float, *, kind: str, title: str) -> Markup:
    """A value as a bar from zero."""
    start, end = scale.at(0.0), scale.at(value)
    width = max(abs(end - start), 0.4)  # a share of nearly nothing is still seen
    bar = _BAR.format(f"solid {kind}", _p(min(start, end)), 5, _p(width), _ROW - 10)
    return _STRIP.format("strip", _ROW, title, Markup("").join([*_grid(scale, _ROW), bar]))


def stacked_strip(shares: Sequence[float], *, title: str) -> Markup:
    """Shares that sum to one, side by side: A wins, tie, B wins, of the classes ``p0``, ``p2``, ``p1``."""
    parts, start = [], 0.0
    for place in (0, 2, 1):
        width = max(float(shares[place]), 0.0) * 100
        parts.append(_BAR.format(f"p{place}", _p(start), 3, _p(width), 10))
        start += width
    return _STRIP.format("strip", 16, title, Markup("").join(parts))


def axis_strip(scale: Scale, *, title: str, percent: bool = False) -> Markup:
    """The numbers below or above strips of one scale."""
    parts = []
    for tick in scale.ticks():
        text = f"{100 * tick:g}%" if percent else f"{tick:g}"
        parts.append(_TEXT.format("tick middle", _p(scale.at(tick)), 15, text))
    return _STRIP.format("strip axis", _AXIS, title, Markup("").join(parts))


def square(width: float, height: float, *, title: str, desc: str, parts: Iterable[Markup]) -> Markup:
    """A drawing of two dimensions in its own units, which scales as a whole."""
    return _SQUARE.format(w=width, h=height, title=title, desc=desc, parts=Markup("").join(parts))


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    """A straight line."""
    return _LINE.format(kind, *(f"{v:.1f}" for v in (x1, y1, x2, y2)))


def dot(kind: str, x: float, y: float, radius: float = 3.0) -> Markup:
    """A point."""
    return _DOT.format(kind, f"{x:.1f}", f"{y:.1f}", radius)


def curve(kind: str, points: Sequence[tuple[float, float]]) -> Markup:
    """A line through points."""
    return _CURVE.format(kind, " ".join(f"{x:.1f},{y:.1f}" for x, y in points))


def frame(x: float, y: float, width: float, height: float) -> Markup:
    """The border of a plot."""
    return _FRAME.format(x, y, width, height)


def text(kind: str, x: float, y: float, words: str) -> Markup:
    """Words; ``kind`` names the classes, among them start, middle or end."""
    return _TEXT.format(kind, f"{x:.1f}", y, words)


def _grid(scale: Scale, height: float, *, zero: bool = False) -> list[Markup]:
    lines = [_LINE.format("grid", _p(scale.at(t)), 0, _p(scale.at(t)), height) for t in scale.ticks()]
    if zero:
        x = _p(scale.at(0.0))
        lines.append(_LINE.format("grid zero", x, 0, x, height))
    return lines


def _p(percent: float) -> str:
    return f"{percent:.2f}%"
