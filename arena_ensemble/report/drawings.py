"""Charts of the report as SVG. Every value is put in by `Markup.format`, which escapes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from markupsafe import Markup

from ..metrics import ScoreRow

_SIDE: Final = 190
_PAD: Final = 30
_ROW: Final = 22
_NAMES: Final = 230
_PLOT: Final = 470
_LONGEST_NAME: Final = 30
"""characters of a name that a chart shows"""

_SVG: Final = Markup(
    '<svg role="img" width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}">'
    "<title>{title}</title>{parts}</svg>"
)
_LINE: Final = Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
_DOT: Final = Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="4"/>')
_FRAME: Final = Markup('<rect class="frame" x="{:.1f}" y="{:.1f}" width="{:g}" height="{:g}"/>')
_CURVE: Final = Markup('<polyline class="{}" points="{}"/>')
_TEXT: Final = Markup('<text class="{}" text-anchor="{}" x="{:.1f}" y="{:.1f}">{}</text>')


def loss_chart(rows: Sequence[ScoreRow]) -> Markup:
    """Log-losses with ± two standard errors, one line for each row of the score table."""
    low = min(row.log_loss - 2 * row.se for row in rows)
    high = max(row.log_loss + 2 * row.se for row in rows)
    span = (high - low) or 1.0

    def x(value: float) -> float:
        return _NAMES + 10 + (value - low) / span * _PLOT

    height = _ROW * len(rows) + 30
    parts = []
    for tick in _ticks(low, high):
        parts.append(_LINE.format("grid", x(tick), x(tick), 0, height - 22))
        parts.append(_TEXT.format("small", "middle", x(tick), height - 8, f"{tick:g}"))
    for place, row in enumerate(rows):
        y = _ROW * place + 14
        left, right = x(row.log_loss - 2 * row.se), x(row.log_loss + 2 * row.se)
        parts.append(_TEXT.format("", "end", _NAMES, y + 4, shortened(row.name)))
        parts.append(_LINE.format(f"bar {row.kind}", left, right, y, y))
        parts.append(_DOT.format(row.kind, x(row.log_loss), y))
        parts.append(_TEXT.format("small", "start", right + 6, y + 4, f"{row.log_loss:.4f}"))
    return _svg(_NAMES + _PLOT + 90, height, "log-loss of every row of the score table", parts)


def reliability_chart(name: str, outcomes: Sequence[Sequence[Mapping[str, float]]]) -> Markup:
    """Predicted probability against observed share, a line for each outcome, ± one standard error."""
    size = _SIDE + _PAD + 10

    def x(value: float) -> float:
        return _PAD + value * _SIDE

    def y(value: float) -> float:
        return 10 + (1 - value) * _SIDE

    parts = [
        _TEXT.format("", "middle", x(0.5), size + 14, shortened(name)),
        _FRAME.format(x(0), y(1), _SIDE, _SIDE),
        _LINE.format("grid", x(0), x(1), y(0), y(1)),
    ]
    for tick in (0, 0.5, 1):
        parts.append(_TEXT.format("small", "middle", x(tick), y(0) + 14, f"{tick:g}"))
        parts.append(_TEXT.format("small", "end", x(0) - 4, y(tick) + 4, f"{tick:g}"))
    for outcome, bins in enumerate(outcomes):
        kind = f"o{outcome}"
        points = " ".join(f"{x(b['predicted']):.1f},{y(b['happened']):.1f}" for b in bins)
        parts.append(_CURVE.format(kind, points))
        for b in bins:
            low, high = max(b["happened"] - b["se"], 0), min(b["happened"] + b["se"], 1)
            parts.append(_LINE.format(kind, x(b["predicted"]), x(b["predicted"]), y(high), y(low)))
    return _svg(size, size + 18, f"reliability of {name}", parts)


def shortened(name: str) -> str:
    """The name, cut in the middle to 30 characters: ``…, temperature`` at its end tells two rows apart."""
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 14]}…{name[-13:]}"


def _svg(width: float, height: float, title: str, parts: Iterable[Markup]) -> Markup:
    return _SVG.format(width=width, height=height, title=title, parts=Markup("").join(parts))


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers between low and high."""
    step = next((s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5) if (high - low) / s <= 6), 10)
    first = int(low / step) + 1
    return [round(k * step, 4) for k in range(first, int(high / step) + 1)]
