"""Tables with a drawn column: in each row a value with its interval, all on one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .svg import Scale, axis_strip, bar_strip, interval_strip
from .tables import Column


@dataclass(frozen=True)
class Line:
    """One row: its name, a value with its standard error, cells after the drawing, and how it looks.

    ``se`` is None for a share that is drawn as a bar. ``reference`` is a second value to compare with.
    """

    name: str
    value: float
    se: float | None
    cells: tuple[str, ...]
    kind: str = ""
    reference: float | None = None
    remark: str = ""
    ends: tuple[float, float] | None = None
    """its interval, where that is not two standard errors to each side"""


@dataclass(frozen=True)
class DrawnRow:
    """A line with its drawing."""

    name: str
    drawing: Markup
    cells: tuple[str, ...]
    kind: str
    remark: str


@dataclass(frozen=True)
class DrawnTable:
    """A table ready for the page: ``columns`` are those after the drawing."""

    caption: str
    first: str
    quantity: str
    interval: str
    columns: tuple[Column, ...]
    rows: tuple[DrawnRow, ...]
    axis: Markup


def drawn_table(
    lines: Sequence[Line],
    columns: Sequence[Column],
    *,
    caption: str,
    first: str,
    quantity: str,
    zero: bool = False,
    percent: bool = False,
    scale: Scale | None = None,
) -> DrawnTable:
    """Lay out lines on one scale.

    Parameters
    ----------
    columns
        Headers of the cells after the drawing.
    caption, first, quantity
        What the table shows, the header of the names, and what is drawn.
    zero
        Whether zero belongs on the scale, marked: for differences.
    percent
        Whether values are shares, drawn as bars from 0 % where they have no error.
    scale
        By default one that holds all values, references and two standard errors around the values.
    """
    ends = [end for line in lines for end in (*_ends(line), *_given(line.reference))]
    chosen = scale or Scale.over([*ends, *([0.0] if zero or percent else [])])
    rows = []
    for line in lines:
        low, high = _ends(line)
        if line.se is None:
            drawing = bar_strip(chosen, line.value, kind=line.kind, title=f"{line.name}: {line.value:.1%}")
        else:
            title = f"{line.name}: {quantity} {line.value:.4f}, interval {low:.4f} to {high:.4f}"
            drawing = interval_strip(
                chosen,
                line.value,
                low,
                high,
                kind=line.kind,
                title=title,
                reference=line.reference,
                zero=zero,
            )
        rows.append(DrawnRow(line.name, drawing, line.cells, line.kind, line.remark))
    return DrawnTable(
        caption,
        first,
        quantity,
        _interval(lines),
        tuple(columns),
        tuple(rows),
        axis_strip(chosen, title=f"scale of {quantity}", percent=percent),
    )


def _ends(line: Line) -> tuple[float, float]:
    """Two standard errors to each side; the value itself where the error is not known."""
    if line.ends is not None:
        return line.ends
    se = line.se if line.se is not None and math.isfinite(line.se) else 0.0
    return line.value - 2 * se, line.value + 2 * se


def _given(value: float | None) -> tuple[float, ...]:
    return () if value is None else (value,)


def _interval(lines: Sequence[Line]) -> str:
    """What the intervals are, for the head of the drawing; empty for bars."""
    if any(line.ends is not None for line in lines):
        return ", 95%"
    return ", ± 2 s.e." if any(line.se is not None for line in lines) else ""
