"""Reliability before and after temperature, and what each temperature is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ...artifacts.cards import EnsembleCard
from ...artifacts.workspace import ENSEMBLE
from ...stacking.score_table import TEMPERED
from ..reliability_chart import Diagram, diagrams
from ..rungs import whole_of
from ..tables import Column, Row, TextTable
from .section import Section

_FIRST: Final = 2
"""diagrams before the fold: the ensemble's and the best member's"""


def calibration(card: EnsembleCard, *, member: str) -> Section | None:
    """Diagrams, the ensemble's first, then the best members; None for a card without bins."""
    losses = {one["name"]: one["log_loss"] for one in card.contributions["members"]}
    order = {name: place for place, name in enumerate([ENSEMBLE, *sorted(losses, key=losses.__getitem__)])}
    found = diagrams(card.reliability, suffix=TEMPERED)
    found.sort(key=lambda one: order.get(one.name, len(order)))
    whole = whole_of(member)
    found = [replace(one, name=whole) if one.name == ENSEMBLE else one for one in found]
    if not found:
        return None
    return Section(
        "calibration",
        "Calibration",
        {
            "first": found[:_FIRST],
            "rest": found[_FIRST:],
            "gaps": _gaps(found, card.contributions, whole),
            "member": member,
            "whole": whole,
            "tempered": any(name.endswith(TEMPERED) for name in card.reliability),
        },
    )


def _gaps(found: list[Diagram], contributions: Mapping[str, Any], whole: str) -> TextTable:
    known = {one["name"]: one for one in contributions["members"]}
    rows = []
    for one in found:
        facts = known.get(one.name)
        worth = ["", "", ""]
        if facts is not None:
            gain, se = facts["calibration_gain"], facts["calibration_gain_se"]
            worth = [f"{facts['beta']:.2f}", f"{gain:+.4f}", f"{se:.4f}"]
        rows.append(Row((one.name, one.gap_before, one.gap_after, *worth), emphasised=one.name == whole))
    after = "mean gap after" if any(one.gap_before for one in found) else "mean gap"
    headers = ("", "mean gap before", after, "best 1/T", "its gain", "± s.e.")
    kept = [k for k in range(len(headers)) if k == 0 or any(row.cells[k] for row in rows)]
    return TextTable(
        tuple(Column(headers[k], numeric=k > 0) for k in kept),
        tuple(Row(tuple(row.cells[k] for k in kept), row.emphasised) for row in rows),
    )
