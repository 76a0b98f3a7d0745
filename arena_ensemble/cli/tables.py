"""Tables for the terminal, rendered with rich and returned as text."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..report import tables as layout
from .terminal import WIDTH

if TYPE_CHECKING:
    from ..metrics import ScoreRow
    from ..panels.best_of_n import ChoiceRow

_GAP: Final = 2
"""blanks between two columns (rich pads each cell by one at both sides)"""
_WIDEST: Final = 10_000
_REMARK: Final = 20
"""characters that a remark has at least"""


def score_table(rows: Sequence[ScoreRow], *, title: str, width: int = WIDTH) -> str:
    """The score table: one line per row."""
    return _rendered_layout(fitting(layout.score_table(rows), width), title=title, width=width)


def contribution_table(card: Mapping[str, Any], *, width: int = WIDTH) -> str:
    """What each member adds, from the card of an ensemble."""
    table = fitting(layout.contribution_table(card), width)
    return _rendered_layout(table, title="what each member adds to a pool", width=width)


def fitting(table: layout.TextTable, width: int) -> layout.TextTable:
    """The table without the columns before its last one that a terminal of this width has no room for.

    The first two stay, and the last one, a remark: from the right the figures matter less. Where there is
    no terminal, or a wide one, all stay, however long a name makes the lines.
    """
    if width >= WIDTH:
        return table
    least = 3
    kept = list(range(len(table.columns)))
    while len(kept) > least and sum(_width(table, k) + _GAP for k in kept) - _GAP > width:
        kept.pop(-2)
    return layout.TextTable(
        tuple(table.columns[k] for k in kept),
        tuple(layout.Row(tuple(row.cells[k] for k in kept), emphasised=row.emphasised) for row in table.rows),
    )


def _width(table: layout.TextTable, place: int) -> int:
    """Of a column; of the last one, whose words wrap, at most `_REMARK`."""
    widest = max(len(table.columns[place].header), *(len(row.cells[place]) for row in table.rows))
    return min(widest, _REMARK) if place == len(table.columns) - 1 else widest


def judge_table(judges: Sequence[Mapping[str, Any]]) -> str:
    """What each judge of a panel is worth alone, from the panel's card."""
    return _rendered_layout(layout.judge_table(judges), title="each judge alone, its verdicts calibrated")


def choice_table(rows: Sequence[ChoiceRow], *, title: str) -> str:
    """Ways to choose the best of several answers, one a line."""
    names = [
        "",
        "log-loss",
        "±",
        "best found",
        "±",
        *(["ties"] if rows[-1].ties is not None else []),
        "minus panel",
    ]
    columns = tuple(layout.Column(name, numeric=k not in (0, len(names) - 1)) for k, name in enumerate(names))
    lines = []
    for row in rows:
        ties = [] if row.ties is None else [f"{row.ties:.3f}"]
        against = "" if row is rows[-1] else f"{row.difference:+.4f} ± {row.difference_se:.4f}"
        cells = (
            row.name,
            f"{row.log_loss:.4f}",
            f"{row.se:.4f}",
            f"{row.accuracy:.3f}",
            f"{row.accuracy_se:.3f}",
        )
        lines.append(layout.Row((*cells, *ties, against), emphasised=row is rows[-1]))
    return _rendered_layout(layout.TextTable(columns, tuple(lines)), title=title)


def facts_table(pairs: Sequence[tuple[str, Any]], *, title: str) -> str:
    """Two columns, names and values."""
    table = _table(title, show_header=False)
    table.add_column("", no_wrap=True)
    table.add_column("")
    for name, value in pairs:
        table.add_row(Text(name), Text(str(value)))
    return rendered(table)


Cells = tuple[str, ...]


def wide_table(header: Cells, rows: Sequence[Cells], *, title: str) -> str:
    """A table of ready texts in which nothing is cut, whatever the width; numbers to the right."""
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(header):
        numeric = place > 0 and all(_is_number(row[place]) for row in rows)
        table.add_column(Text(name), justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return f"{title}\n{rendered(table, width=_WIDEST)}"


def plain_table(header: Cells, rows: Sequence[Cells], *, width: int = WIDTH) -> str:
    """A table of ready texts, numbers to the right; the last column wraps to fit the line."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    widths[-1] = max(width - sum(widths[:-1]) - _GAP * len(widths[:-1]), _REMARK)
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(header):
        numeric = all(_is_number(row[place]) for row in rows)
        justify: Literal["left", "right"] = "right" if numeric else "left"
        whole = place < len(header) - 1
        table.add_column(Text(name), justify=justify, no_wrap=whole, overflow="fold", max_width=widths[place])
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return rendered(table, width=sum(widths) + _GAP * len(widths))


def _is_number(text: str) -> bool:
    return not text or text[0] in "+-0123456789"


def rendered(table: Table, *, width: int = WIDTH, colours: bool = False) -> str:
    """A rich table as text, with the codes of colours where they are wanted."""
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=width,
        force_terminal=colours,
        color_system="standard" if colours else None,
        legacy_windows=False,
    )
    console.print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def _table(title: str, *, show_header: bool = True) -> Table:
    return Table(title=Text(title), title_justify="left", box=None, pad_edge=False, show_header=show_header)


def _rendered_layout(laid_out: layout.TextTable, *, title: str, width: int = WIDTH) -> str:
    """Every column is as wide as its content, except the last, a remark, which wraps to fit the line.

    Long names make lines longer than `WIDTH`: a figure is never cut.
    """
    table = _table(title)
    *widths, _ = (
        max(len(column.header), *(len(row.cells[place]) for row in laid_out.rows))
        for place, column in enumerate(laid_out.columns)
    )
    used = sum(widths) + _GAP * len(widths)
    remark = max(width - used, _REMARK)
    for column, widest in zip(laid_out.columns, [*widths, remark], strict=True):
        justify: Literal["left", "right"] = "right" if column.numeric else "left"
        whole = column is not laid_out.columns[-1]
        table.add_column(Text(column.header), justify=justify, no_wrap=whole, max_width=widest)
    for row in laid_out.rows:
        table.add_row(*(Text(cell) for cell in row.cells))
    return rendered(table, width=used + remark)
