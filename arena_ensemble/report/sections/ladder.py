"""The ladder: prior, features, members, candidates, ensemble and floor, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...metrics import ScoreRow
from ..intervals import DrawnTable, Line, drawn_table
from ..rungs import Rung, rungs, whole_of
from ..tables import Column, percent
from .section import Section

_ALL: Final = ("baseline", "member", "candidate", "choice", "bayes")


def ladder(rows: Sequence[ScoreRow], *, member: str) -> Section:
    """The rows that matter first, and every row behind a fold."""
    whole = whole_of(member)
    few = _table(rungs(rows, member=member), whole, caption="The rows that matter first")
    every = [Rung(row, row.name, "chosen" if row.chosen else row.note) for row in rows]
    return Section(
        "ladder",
        f"From the prior to the {whole}",
        {
            "few": few,
            "every": _table(every, whole, caption="Every row of the score table"),
            "member": member,
            "whole": whole,
        },
    )


def _table(found: Sequence[Rung], whole: str, *, caption: str) -> DrawnTable:
    gaps = any(rung.row.gap_closed is not None for rung in found)
    columns = [
        Column("log-loss"),
        Column("± s.e."),
        Column("accuracy"),
        Column(f"vs {whole}"),
        Column("± s.e."),
    ]
    columns += [Column("gap closed")] if gaps else []
    lines = []
    for rung in found:
        row = rung.row
        cells = [f"{row.log_loss:.4f}", f"{row.se:.4f}", f"{row.accuracy:.3f}"]
        own = row.kind == "choice"
        cells += ["", ""] if own else [f"{row.difference:+.4f}", f"{row.difference_se:.4f}"]
        cells += [percent(row.gap_closed)] if gaps else []
        kind = row.kind if row.kind in _ALL else ""
        lines.append(Line(rung.name, row.log_loss, row.se, tuple(cells), kind, remark=rung.remark))
    return drawn_table(lines, columns, caption=caption, first="", quantity="log-loss")
