"""The few rows of the score table that a person needs first, from the prior up to the ensemble."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from rich.table import Table
from rich.text import Text

from ..metrics import ScoreRow
from ..stacking.score_table import ENSEMBLE_ROW, PRIOR_ROW
from .tables import rendered
from .terminal import Terminal

_FEATURES_ONLY: Final = "features only"
_TEMPERATURE: Final = ", temperature"
_MEMBERS: Final = 4
"""members shown, the best ones"""
_BAR: Final = 24
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


class Rung(NamedTuple):
    """One line: a row of the score table under the name and with the remark that a person sees."""

    row: ScoreRow
    name: str
    remark: str = ""


class _Column(NamedTuple):
    header: str
    cell: Callable[[Rung], str]
    width: int


_COLUMNS: Final = (
    _Column("log-loss", lambda rung: f"{rung.row.log_loss:.4f}", 8),
    _Column("± s.e.", lambda rung: f"{rung.row.se:.4f}", 6),
    _Column("accuracy", lambda rung: f"{rung.row.accuracy:.3f}", 8),
)


def rungs(rows: Sequence[ScoreRow], *, member: str = "member") -> list[Rung]:
    """The rows to show: prior, features, the best members after their temperatures, ensemble, floor.

    Between prior and ensemble the worse come first. Candidates have no line: the ensemble's remark names
    those that were chosen. ``member`` is what one member is called.
    """
    named = {row.name: row for row in rows}
    members = [row for row in rows if row.kind == "member" and row.name.endswith(_TEMPERATURE)]
    members = sorted(members, key=lambda row: row.log_loss)[:_MEMBERS]
    between = [Rung(row, row.name.removesuffix(_TEMPERATURE)) for row in members]
    if len(between) > 1:
        between[0] = between[0]._replace(remark=f"best {member}")
    if _FEATURES_ONLY in named:
        between.append(Rung(named[_FEATURES_ONLY], _FEATURES_ONLY, f"length and formatting, no {member}"))
    between.sort(key=lambda rung: -rung.row.log_loss)
    shown = [Rung(named[PRIOR_ROW], PRIOR_ROW, "class frequencies")] if PRIOR_ROW in named else []
    shown += between
    if ENSEMBLE_ROW in named:
        shown.append(Rung(named[ENSEMBLE_ROW], ENSEMBLE_ROW, named[ENSEMBLE_ROW].note))
    return shown + [Rung(row, row.name, row.note) for row in rows if row.kind == "bayes"]


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
    remarks = left > 10

    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(Text(column.header), justify="right", no_wrap=True)
    if bars:
        table.add_column(Text("better than the prior"), no_wrap=True, min_width=_BAR)
    if remarks:
        table.add_column("", no_wrap=True, max_width=left - 2)
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


def headline(
    rows: Sequence[ScoreRow], *, member: str = "member", unseen: str = "battles that its models never saw"
) -> str:
    """How good the ensemble is, against what, in one or two sentences."""
    named = {row.name: row for row in rows}
    ensemble, prior = named[ENSEMBLE_ROW], named[PRIOR_ROW]
    text = (
        f"The ensemble scores {ensemble.log_loss:.4f} ± {ensemble.se:.4f} on {unseen}, "
        f"{_against(prior)} the prior"
    )
    members = [row for row in rows if row.kind == "member"]
    if members:
        best = min(members, key=lambda row: row.log_loss)
        name = best.name.removesuffix(_TEMPERATURE)
        after = " after its temperature" if name != best.name else ""
        text += f" and {_against(best)} the best {member}, {name}{after}"
    return text + "."


def _against(row: ScoreRow) -> str:
    """``0.2290 ± 0.0138 better than``: the paired difference between a row and the ensemble."""
    word = "better than" if row.difference >= 0 else "worse than"
    return f"{abs(row.difference):.4f} ± {row.difference_se:.4f} {word}"
