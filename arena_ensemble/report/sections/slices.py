"""Where the ensemble loses: its log-loss by outcome, length, turns, language and length difference."""

from __future__ import annotations

from ...diagnostics.slices import losses_by
from ..battle_view import BattleView
from ..cuts import cuts_of
from ..intervals import Line, drawn_table
from ..svg import Scale
from ..tables import Column
from .section import Section


def slices(view: BattleView, *, unit: str = "battles") -> Section:
    """A table a cut, all on one scale; ``unit`` is what the rows are."""
    losses, prior = view.losses, view.prior_losses
    found = [(cut, losses_by(cut, losses, prior, view.groups)) for cut in cuts_of(view.battles)]
    every = [part for _, parts in found for part in parts]
    enough = [part for part in every if part.rows >= 20] or every
    scale = Scale.over(
        [end for part in enough for end in (part.log_loss - 2 * part.se, part.log_loss + 2 * part.se)]
        + [part.reference for part in enough]
    )
    columns = [Column("log-loss"), Column("prior"), Column(unit)]
    tables = [
        drawn_table(
            [
                Line(
                    part.name,
                    part.log_loss,
                    part.se,
                    (f"{part.log_loss:.4f}", f"{part.reference:.4f}", f"{part.rows:,}"),
                    "accent",
                    reference=part.reference,
                )
                for part in parts
            ],
            columns,
            caption=cut.title,
            first="",
            quantity="log-loss",
            scale=scale,
        )
        for cut, parts in found
    ]
    return Section("slices", "Where it loses", {"tables": tables})
