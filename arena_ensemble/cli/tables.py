"""Tables for the terminal, made with rich and returned as text."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..metrics import ScoreRow

WIDTH = 118


def score_table(rows: Sequence[ScoreRow], *, title: str) -> str:
    """The score table: one line per row, the choice in bold."""
    with_gap = any(row.gap_closed is not None for row in rows)
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("", no_wrap=True, min_width=max(len(row.name) for row in rows))
    for name in ("log-loss", "± s.e.", "accuracy", "vs choice", "± s.e."):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    if with_gap:
        table.add_column("gap closed", justify="right", no_wrap=True, min_width=10)
    table.add_column("", overflow="ellipsis", no_wrap=True)
    for row in rows:
        cells = [
            row.name,
            f"{row.log_loss:.4f}",
            f"{row.se:.4f}",
            f"{row.accuracy:.3f}",
            f"{row.difference:+.4f}",
            f"{row.difference_se:.4f}",
        ]
        if with_gap:
            cells.append("" if row.gap_closed is None else f"{round(row.gap_closed, 3) + 0.0:.1%}")
        cells.append("◀ chosen" if row.chosen else row.note)
        table.add_row(*(Text(cell) for cell in cells), style="bold" if row.chosen else "")
    return rendered(table)


def contribution_table(contributions: Mapping[str, Any]) -> str:
    """What each member is worth: loss without it, its temperature, its bias to A, its cost."""
    table = Table(title="what each member adds to a pool", title_justify="left", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    names = ("loss without it", "± s.e.", "best 1/T", "excess p_A - p_B", "position bias", "hours")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    table.add_column("", no_wrap=True)
    for row in contributions["members"]:
        bias = "one order read" if row["position_bias"] is None else f"{row['position_bias']:+.3f}"
        hours = "" if row["hours"] is None else f"{row['hours']:.2f}"
        cells = [
            row["name"],
            f"{row['leave_one_out_gain']:+.4f}",
            f"{row['leave_one_out_gain_se']:.4f}",
            f"{row['beta']:.2f}",
        ]
        advice = (
            row["advice"].partition(":")[0].removesuffix(f" {row['name']}")
        )  # keep, leave out, stop training
        cells += [f"{row['a_bias']:+.3f}", bias, hours, advice]
        table.add_row(*(Text(cell) for cell in cells))
    return rendered(table)


def facts_table(pairs: Sequence[tuple[str, Any]], *, title: str) -> str:
    """Two columns, names and values."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column("", no_wrap=True)
    table.add_column("")
    for name, value in pairs:
        table.add_row(Text(name), Text(str(value)))
    return rendered(table)


def rendered(table: Table) -> str:
    """A rich table as plain text."""
    stream = io.StringIO()
    Console(file=stream, width=WIDTH, color_system=None, legacy_windows=False).print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())
