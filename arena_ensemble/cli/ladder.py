"""The few rows of the score table that a person needs first, as the terminal shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from rich.table import Table
from rich.text import Text

from ..metrics import ScoreRow
from ..report.rungs import Rung, headline, made_of, rungs
from .tables import rendered
from .terminal import Terminal

__all__ = ["bar", "headline", "ladder", "made_of", "rungs"]

_BAR: Final = 24
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


class _Column(NamedTuple):
    header: str
    cell: Callable[[Rung], str]
    width: int


_COLUMNS: Final = (
    _Column("log-loss", lambda rung: f"{rung.row.log_loss:.4f}", 8),
    _Column("± s.e.", lambda rung: f"{rung.row.se:.4f}", 6),
    _Column("accuracy", lambda rung: f"{rung.row.accuracy:.3f}", 8),
)


def ladder(rows: Sequence[ScoreRow], terminal: Terminal, *, title: str, member: str = "member") -> str:
    """The rungs as a table, with a bar for what each gains over the prior where the line has room."""
    shown = rungs(rows, member=member)
    prior = shown[0].row.log_loss
    most = max(prior - rung.row.log_loss for rung in shown)
    columns = list(_COLUMNS)
    names = max(len(rung.name) for rung in shown)
    while columns and names + sum(column.width + 2 for column in columns) > terminal.width:
        columns.pop()
    left = terminal.width - names - sum(column.width + 2 for column in columns)
    bars = terminal.blocks and most > 0 and left > _BAR + 2
    left -= _BAR + 2 if bars else 0
    longest = max(len(rung.remark) for rung in shown)
    if bars and left < longest + 2 <= left + _BAR + 2:  # words say more than bars
        bars, left = False, left + _BAR + 2
    remarks = left >= longest + 2

    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(Text(column.header), justify="right", no_wrap=True)
    if bars:
        table.add_column(Text("better than the prior"), no_wrap=True, min_width=_BAR)
    if remarks:
        table.add_column("", no_wrap=True)
    for rung in shown:
        style = "bold green" if rung.row.kind == "choice" else ""
        cells = [rung.name, *(column.cell(rung) for column in columns)]
        if bars:
            cells.append(bar((prior - rung.row.log_loss) / most, _BAR))
        if remarks:
            cells.append(rung.remark)
        table.add_row(*(Text(cell) for cell in cells), style=style if terminal.colours else "")
    return rendered(table, width=terminal.width, colours=terminal.colours)


def bar(share: float, width: int) -> str:
    """A bar of ``share`` of ``width`` characters, in eighths; empty below zero, full above one."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
