"""What everything was made from: digests, versions, cards; and how test predictions were sharpened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ...artifacts.cards import EnsembleCard, MemberCard
from ...artifacts.members import OOF
from ..tables import Column, Row, TextTable
from .section import Section

_NAME: Final = Column("", numeric=False)
_LONGEST_VALUE: Final = 64
"""characters of a value in the table of members: a SHA-256 fits"""


def provenance(card: EnsembleCard, members: Mapping[str, MemberCard]) -> Section:
    """Digests, versions and the members' cards."""
    key = card.key
    rows = [["seed", str(card.seed)], ["card", card.card_sha256]]
    if key is not None:
        rows = [["data", key.data], ["folds", key.folds], *rows]
        rows += [[f"version of {name}", text] for name, text in key.versions.items()]
    rows += [[name, sha256] for name, sha256 in card.files.items()]
    return Section(
        "provenance",
        "Made from",
        {
            "sources": _table([_NAME, Column("SHA-256, seed or version", numeric=False)], rows),
            "members": _members(members),
        },
    )


def digests(what: str, rows: Mapping[str, str]) -> Section:
    """Names and their digests or versions, of an artifact without members."""
    table = _table(
        [_NAME, Column("SHA-256, seed or version", numeric=False)], [[*row] for row in rows.items()]
    )
    return Section("provenance", "Made from", {"table": table, "what": what}, "digests")


def sharpening(gammas: Mapping[str, float]) -> Section | None:
    """How much test predictions were sharpened; None where none were made."""
    if not gammas:
        return None
    rows = [[name, f"{gamma:.3f}"] for name, gamma in gammas.items()]
    return Section("sharpening", "Test predictions", {"table": _table([_NAME, Column("gamma")], rows)})


def _members(members: Mapping[str, MemberCard]) -> TextTable:
    rows = []
    for name, card in members.items():
        recipe = "" if card.key is None else card.key.recipe
        values = (card.backbone, card.rows, card.seconds, recipe, card.files.get(OOF, ""), card.source)
        rows.append([name, *(_value(value) for value in values)])
    columns = [
        Column("member", numeric=False),
        Column("backbone", numeric=False),
        Column("rows"),
        Column("seconds"),
        Column("recipe", numeric=False),
        Column("predictions", numeric=False),
        Column("source", numeric=False),
    ]
    kept = [k for k in range(len(columns)) if k == 0 or any(row[k] for row in rows)]
    return _table([columns[k] for k in kept], [[row[k] for k in kept] for row in rows])


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)[:_LONGEST_VALUE]


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> TextTable:
    return TextTable(tuple(columns), tuple(Row(tuple(row)) for row in rows))
