"""Drawings of the report as SVG text. Every word that comes from outside is escaped here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from ..metrics import ScoreRow

OUTCOMES: Final = ("A wins", "B wins", "tie")
_SIDE: Final = 190
_PAD: Final = 30
_ROW: Final = 22
_NAMES: Final = 230
_PLOT: Final = 470


def loss_chart(rows: Sequence[ScoreRow]) -> str:
    """Log-losses with ± two standard errors, one line a row of the score table; the choice in colour."""
    low = min(row.log_loss - 2 * row.se for row in rows)
    high = max(row.log_loss + 2 * row.se for row in rows)
    span = (high - low) or 1.0

    def x(value: float) -> float:
        return _NAMES + 10 + (value - low) / span * _PLOT

    height = _ROW * len(rows) + 30
    parts = [_open(_NAMES + _PLOT + 90, height, "log-loss of every row of the score table")]
    for tick in _ticks(low, high):
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="0" y2="{height - 22}"/>')
        parts.append(
            f'<text class="small" text-anchor="middle" x="{x(tick):.1f}" y="{height - 8}">{tick:g}</text>'
        )
    for place, row in enumerate(rows):
        y = _ROW * place + 14
        kind = "chosen" if row.kind == "choice" else row.kind
        left, right = x(row.log_loss - 2 * row.se), x(row.log_loss + 2 * row.se)
        parts.append(f'<text text-anchor="end" x="{_NAMES}" y="{y + 4}">{escape(_short(row.name))}</text>')
        parts.append(f'<line class="bar {escape(kind)}" x1="{left:.1f}" x2="{right:.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="dot {escape(kind)}" cx="{x(row.log_loss):.1f}" cy="{y}" r="4"/>')
        parts.append(f'<text class="small" x="{right + 6:.1f}" y="{y + 4}">{row.log_loss:.4f}</text>')
    return "".join([*parts, "</svg>"])


def reliability_chart(name: str, outcomes: Sequence[Sequence[Mapping[str, float]]]) -> str:
    """Probability given against share that happened, a line for each outcome, ± one standard error."""
    size = _SIDE + _PAD + 10

    def x(value: float) -> float:
        return _PAD + value * _SIDE

    def y(value: float) -> float:
        return 10 + (1 - value) * _SIDE

    parts = [_open(size, size + 18, f"reliability of {name}")]
    parts.append(f'<text text-anchor="middle" x="{x(0.5)}" y="{size + 14}">{escape(_short(name))}</text>')
    parts.append(f'<rect class="frame" x="{x(0)}" y="{y(1)}" width="{_SIDE}" height="{_SIDE}"/>')
    parts.append(f'<line class="grid" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>')
    for tick in (0, 0.5, 1):
        parts.append(
            f'<text class="small" text-anchor="middle" x="{x(tick)}" y="{y(0) + 14}">{tick:g}</text>'
        )
        parts.append(
            f'<text class="small" text-anchor="end" x="{x(0) - 4}" y="{y(tick) + 4}">{tick:g}</text>'
        )
    for outcome, bins in enumerate(outcomes):
        points = " ".join(f"{x(one['predicted']):.1f},{y(one['happened']):.1f}" for one in bins)
        parts.append(f'<polyline class="o{outcome}" points="{points}"/>')
        for one in bins:
            at, top, low = x(one["predicted"]), one["happened"] + one["se"], one["happened"] - one["se"]
            span = f'y1="{y(min(top, 1)):.1f}" y2="{y(max(low, 0)):.1f}"'
            parts.append(f'<line class="o{outcome}" x1="{at:.1f}" x2="{at:.1f}" {span}/>')
    return "".join([*parts, "</svg>"])


def heat_table(names: Sequence[str], values: Sequence[Sequence[float]]) -> str:
    """A square table of shares in [0, 1], darker where larger."""
    head = "".join(f"<th>{escape(_short(name))}</th>" for name in names)
    body = "".join(
        f"<tr><th>{escape(_short(name))}</th>"
        + "".join(
            f'<td style="background:rgba(38,99,168,{max(0, min(1, v)) * 0.6:.2f})">{v:.2f}</td>' for v in row
        )
        + "</tr>"
        for name, row in zip(names, values, strict=True)
    )
    return f'<table class="heat"><tr><th></th>{head}</tr>{body}</table>'


def _open(width: float, height: float, title: str) -> str:
    return (
        f'<svg role="img" width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}">'
        f"<title>{escape(title)}</title>"
    )


def _short(name: str, most: int = 30) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers between low and high."""
    step = next((s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5) if (high - low) / s <= 6), 10)
    first = int(low / step) + 1
    return [round(k * step, 4) for k in range(first, int(high / step) + 1)]
