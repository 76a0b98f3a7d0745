"""What each member adds, how alike members are, and position bias."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from ...artifacts.cards import EnsembleCard
from .. import tables
from ..intervals import Line, drawn_table
from ..tables import Column, Matrix
from .panels import added
from .section import Section

_STEPS: Final = 10
_ADVICE: Final = {"keep": "accent", "leave out": "bad"}


def contribution(card: EnsembleCard, *, member: str) -> Section | None:
    """How much the log-loss rises without each member: of a panel where that is known, else of a pool."""
    rows = card.contributions["members"]
    if not rows:
        return None
    hours = any(row["hours"] is not None for row in rows)
    columns = [Column("advice", numeric=False), *map(Column, ("rise", "± s.e.", "best 1/T"))]
    columns += [Column("hours")] if hours else []
    lines = []
    for row in sorted(rows, key=lambda one: -one["leave_one_out_gain"]):
        gain, se = row["leave_one_out_gain"], row["leave_one_out_gain_se"]
        cells = [f"{gain:+.4f}", f"{se:.4f}", f"{row['beta']:.2f}"]
        cells += ["" if row["hours"] is None else f"{row['hours']:.2f}"] if hours else []
        advice = str(row["advice"]).partition(":")[0]
        lines.append(Line(row["name"], gain, se, (advice, *cells), _ADVICE.get(advice, "")))
    table = drawn_table(
        lines,
        columns,
        caption=f"Rise of the log-loss of a geometric pool of all {member}s without one, cross-fitted",
        first=member,
        quantity="rise without it",
        zero=True,
    )
    refitted = added([one for one in card.judges if one.get("adds_to") == "panel"])
    return Section(
        "contribution",
        f"What each {member} adds",
        {
            "table": refitted or table,
            "whole": "panel" if refitted else "pool",
            "greedy": tables.greedy_steps(card.contributions),
            "member": member,
        },
    )


def likeness(card: EnsembleCard, *, member: str, more: Sequence[Matrix] = ()) -> Section | None:
    """Correlation of errors and share of differing verdicts, and ``more``; None for a member alone."""
    found = tables.likeness(card.contributions)
    if not found:
        return None
    order = {"Correlation of row losses": 0}
    found.sort(key=lambda one: order.get(one.caption, 1))
    return Section(
        "likeness",
        f"How alike the {member}s are",
        {"matrices": [heat(one) for one in (*found, *more)], "member": member},
    )


def heat(matrix: Matrix) -> dict[str, Any]:
    """A matrix with, for each cell, its text and one of eleven shades; empty where it is NaN."""
    rows = [
        [
            {"text": "", "step": 0}
            if math.isnan(value)
            else {"text": f"{value:.2f}", "step": round(max(0.0, min(1.0, value)) * _STEPS)}
            for value in row
        ]
        for row in matrix.values
    ]
    return {
        "caption": matrix.caption,
        "names": matrix.names,
        "rows": list(zip(matrix.names, rows, strict=True)),
    }


def position(card: EnsembleCard) -> Section | None:
    """Preference for the answer shown first, by member; for a panel see its judges' flips."""
    if card.judges:
        return None
    rows = card.contributions["members"]
    both = [
        Line(
            row["name"],
            row["position_bias"],
            row["position_bias_se"],
            (f"{row['position_bias']:+.3f}", f"{row['position_bias_se']:.3f}"),
            "member",
        )
        for row in rows
        if row["position_bias"] is not None
    ]
    lean = [
        Line(
            row["name"],
            row["a_bias"],
            row["a_bias_se"],
            (f"{row['a_bias']:+.3f}", f"{row['a_bias_se']:.3f}"),
            "member",
        )
        for row in rows
    ]
    columns = [Column("bias"), Column("± s.e.")]
    tables_of = []
    if both:
        caption = (
            "Half the difference between the two orders' log-odds of A over B; plus favours the first answer"
        )
        tables_of.append(
            drawn_table(both, columns, caption=caption, first="member", quantity="shift in logits", zero=True)
        )
    if lean:
        caption = "Mean p(A) - p(B), less the observed share of A wins minus that of B wins; plus favours A"
        tables_of.append(
            drawn_table(
                lean, columns, caption=caption, first="member", quantity="excess p(A) - p(B)", zero=True
            )
        )
    one_order = [row["name"] for row in rows if row["position_bias"] is None]
    return (
        Section("position", "Position bias", {"tables": tables_of, "one_order": one_order}) if lean else None
    )
