"""The few rows of the score table that a person needs first, from the prior up to the ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ..metrics import ScoreRow
from ..stacking.score_table import ENSEMBLE_ROW, PRIOR_ROW, TEMPERED

FEATURES_ONLY: Final = "features only"
_MEMBERS: Final = 4
"""members shown, the best ones"""
_PARTS: Final = 4
"""candidates that are named"""


class Rung(NamedTuple):
    """One line: a row of the score table under the name and with the remark that a person sees."""

    row: ScoreRow
    name: str
    remark: str = ""


def rungs(rows: Sequence[ScoreRow], *, member: str = "member") -> list[Rung]:
    """The rows to show: prior, features, the best members, ensemble, floor.

    A member stands with its better row, as it is or after its temperature, so that the best one is the
    one that `headline` compares with. Between prior and ensemble the worse come first. Candidates have no
    line: `made_of` names those that were chosen. ``member`` is what one member is called.
    """
    named = {row.name: row for row in rows}
    members = best_members(rows)[:_MEMBERS]
    between = [Rung(row, row.name.removesuffix(TEMPERED), _after(row)) for row in members]
    if len(between) > 1:
        words = [f"best {member}", _after(members[0])]
        between[0] = between[0]._replace(remark=", ".join(filter(None, words)))
    if FEATURES_ONLY in named:
        between.append(Rung(named[FEATURES_ONLY], FEATURES_ONLY, f"length and format, no {member}"))
    between.sort(key=lambda rung: -rung.row.log_loss)
    shown = [Rung(named[PRIOR_ROW], PRIOR_ROW, "class frequencies")] if PRIOR_ROW in named else []
    shown += between
    if ENSEMBLE_ROW in named:
        shown.append(Rung(named[ENSEMBLE_ROW], whole_of(member)))
    return shown + [Rung(row, row.name, row.note) for row in rows if row.kind == "bayes"]


def whole_of(member: str) -> str:
    """What the members together are called: judges are a panel."""
    return "panel" if member == "judge" else ENSEMBLE_ROW


def _after(row: ScoreRow) -> str:
    return "after temperature" if row.name.endswith(TEMPERED) else ""


def made_of(rows: Sequence[ScoreRow]) -> str:
    """Which candidates the ensemble is, the largest weights first; empty where that is not noted."""
    note = next((row.note for row in rows if row.kind == "choice"), "")
    parts = note.split("; ")
    shown = parts if len(parts) <= _PARTS + 1 else [*parts[:_PARTS], f"{len(parts) - _PARTS} others"]
    return f"It combines them by {', '.join(shown)}." if note else ""


def headline(
    rows: Sequence[ScoreRow], *, member: str = "member", unseen: str = "battles that its models never saw"
) -> str:
    """How good the ensemble is, against what, in one or two sentences."""
    ensemble = next(row for row in rows if row.kind == "choice")
    prior = next(row for row in rows if row.kind == "baseline")
    text = (
        f"The {whole_of(member)} scores {ensemble.log_loss:.4f} ± {ensemble.se:.4f} on {unseen}, "
        f"{against(prior)} the prior"
    )
    best = best_member(rows)
    if best is not None:
        name = best.name.removesuffix(TEMPERED)
        after = " after its temperature" if name != best.name else ""
        text += f" and {against(best)} the best {member}, {name}{after}"
    return text + "."


def best_members(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """Each member's row of less log-loss, before or after its temperature; the best member first."""
    found: dict[str, ScoreRow] = {}
    for row in rows:
        name = row.name.removesuffix(TEMPERED)
        if row.kind == "member" and (name not in found or row.log_loss < found[name].log_loss):
            found[name] = row
    return sorted(found.values(), key=lambda row: row.log_loss)


def best_member(rows: Sequence[ScoreRow]) -> ScoreRow | None:
    """The first of `best_members`; None without members."""
    return next(iter(best_members(rows)), None)


def against(row: ScoreRow) -> str:
    """``0.2290 ± 0.0138 better than``: the paired difference between a row and the ensemble."""
    word = "better than" if row.difference >= 0 else "worse than"
    return f"{abs(row.difference):.4f} ± {row.difference_se:.4f} {word}"
