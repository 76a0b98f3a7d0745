"""This ensemble against another: the paired difference, where it comes from, and what changed."""

from __future__ import annotations

import numpy as np

from ...artifacts.workspace import ENSEMBLE
from ...diagnostics.slices import losses_by
from ..comparison import Comparison
from ..cuts import cuts_of
from ..intervals import Line, drawn_table
from ..svg import Scale
from ..tables import Column, Row, TextTable
from .section import Section


def against(found: Comparison) -> Section:
    """The comparison, first of all sections."""
    own = found.differences[ENSEMBLE]
    lines = [
        Line(
            name,
            pair.mean,
            pair.se,
            (f"{pair.mean:+.4f}", f"{pair.se:.4f}"),
            _kind(pair.mean, pair.se) if name == ENSEMBLE else "",
        )
        for name, pair in found.differences.items()
    ]
    columns = [Column("difference"), Column("± s.e.")]
    return Section(
        "against",
        "Against the other",
        {
            "verdict": _verdict(own.mean, own.se),
            "here": f"{found.here:.4f}",
            "there": f"{found.there:.4f}",
            "difference": f"{own.mean:+.4f} ± {own.se:.4f}",
            "found": found,
            "table": drawn_table(
                lines,
                columns,
                caption="Difference of the log-loss on the common battles; left of zero this one is better",
                first="",
                quantity="difference",
                zero=True,
            ),
            "parts": _parts(found),
            "changes": TextTable(
                (
                    Column("what", numeric=False),
                    Column("here", numeric=False),
                    Column("there", numeric=False),
                ),
                tuple(Row((one.what, one.here, one.there)) for one in found.changes),
            ),
        },
    )


def _parts(found: Comparison) -> list[object]:
    zeros = np.zeros(len(found.losses))
    parts = [(cut, losses_by(cut, found.losses, zeros, found.groups)) for cut in cuts_of(found.battles)]
    enough = [one for _, several in parts for one in several if one.rows >= 20]
    ends = [end for one in enough for end in (one.log_loss - 2 * one.se, one.log_loss + 2 * one.se)]
    scale = Scale.over([*ends, 0.0])
    columns = [Column("difference"), Column("battles")]
    return [
        drawn_table(
            [
                Line(
                    one.name,
                    one.log_loss,
                    one.se,
                    (f"{one.log_loss:+.4f}", f"{one.rows:,}"),
                    _kind(one.log_loss, one.se),
                )
                for one in several
            ],
            columns,
            caption=cut.title,
            first="",
            quantity="difference",
            zero=True,
            scale=scale,
        )
        for cut, several in parts
    ]


def _kind(mean: float, se: float) -> str:
    """Better or worse by more than two standard errors."""
    if mean < -2 * se:
        return "accent"
    return "bad" if mean > 2 * se else ""


def _verdict(mean: float, se: float) -> str:
    if mean < -2 * se:
        return "This one is better, by more than two standard errors."
    if mean > 2 * se:
        return "The other is better, by more than two standard errors."
    return "No difference shows beyond two standard errors."
