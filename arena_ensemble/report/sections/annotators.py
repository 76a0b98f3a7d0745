"""Judges beside people and beside each other: may one replace an annotator, which say the same.

Facts come from JSON that may lack any of them: what is not there is not shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...artifacts.cards import EnsembleCard
from ..tables import Column, Matrix, Row, TextTable, percent
from .section import Section


def replacement(card: EnsembleCard) -> Section | None:
    """The alternative annotator test of each judge; None where it was not made."""
    tests = [
        (str(row["name"]), row["replacement"]) for row in card.judges if _is_test(row.get("replacement"))
    ]
    if not tests:
        return None
    columns = (
        Column("judge", numeric=False),
        Column("may replace one", numeric=False),
        Column("as good as, of annotators"),
        Column("agrees with the others no less"),
    )
    rows = [
        Row((name, "yes" if one["passes"] else "no", percent(one["winning_rate"]), percent(one["advantage"])))
        for name, one in tests
    ]
    values = {"table": TextTable(columns, tuple(rows)), "epsilon": f"{tests[0][1]['epsilon']:g}"}
    return Section("replacement", "May a judge replace an annotator?", values)


def _is_test(given: Any) -> bool:
    needed = ("passes", "winning_rate", "advantage", "epsilon")
    return isinstance(given, Mapping) and all(isinstance(given.get(key), int | float) for key in needed)


def same_verdicts(found: Mapping[str, Any], key: str = "same_verdict") -> list[Matrix]:
    """How often two judges say the same, by ``agreement`` of ``judges.json``; empty where that is unknown."""
    agreement = found.get("agreement")
    if not isinstance(agreement, Mapping):
        return []
    names, values = agreement.get("judges"), agreement.get(key)
    if not isinstance(names, Sequence) or not isinstance(values, Sequence) or len(names) < 2:
        return []
    caption = {
        "same_verdict": "Share of the pairs that both judged on which two judges give the same verdict",
        "same_best": "Share of items on which two judges put the same answers on top",
    }[key]
    rows = tuple(tuple(float("nan") if one is None else float(one) for one in row) for row in values)
    return [Matrix(caption, tuple(map(str, names)), rows)]
