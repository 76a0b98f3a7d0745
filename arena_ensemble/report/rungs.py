"""The few rows of the score table that a person needs first, from the prior up to the ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ..metrics import ScoreRow
from ..stacking.score_table import ENSEMBLE_ROW, PRIOR_ROW, TEMPERED

FEATURES_ONLY: Final = "features only"
_MEMBERS: Final = 4
"""members shown, the best ones"""


class Rung(NamedTuple):
    """One line: a row of the score table under the name and with the remark that a person sees."""

    row: ScoreRow
    name: str
    remark: str = ""


def rungs(rows: Sequence[ScoreRow], *, member: str = "member") -> list[Rung]:
    """The rows to show: prior, features, the best members after their temperatures, ensemble, floor.

    Between prior and ensemble the worse come first. Candidates have no line: the ensemble's remark names
    those that were chosen. ``member`` is what one member is called.
    """
    named = {row.name: row for row in rows}
    members = [row for row in rows if row.kind == "member" and row.name.endswith(TEMPERED)]
    members = sorted(members, key=lambda row: row.log_loss)[:_MEMBERS]
    between = [Rung(row, row.name.removesuffix(TEMPERED)) for row in members]
    if len(between) > 1:
        between[0] = between[0]._replace(remark=f"best {member}")
    if FEATURES_ONLY in named:
        between.append(Rung(named[FEATURES_ONLY], FEATURES_ONLY, f"length and formatting, no {member}"))
    between.sort(key=lambda rung: -rung.row.log_loss)
    shown = [Rung(named[PRIOR_ROW], PRIOR_ROW, "class frequencies")] if PRIOR_ROW in named else []
    shown += between
    if ENSEMBLE_ROW in named:
        shown.append(Rung(named[ENSEMBLE_ROW], ENSEMBLE_ROW, named[ENSEMBLE_ROW].note))
    return shown + [Rung(row, row.name, row.note) for row in rows if row.kind == "bayes"]


def headline(
    rows: Sequence[ScoreRow], *, member: str = "member", unseen: str = "battles that its models never saw"
) -> str:
    """How good the ensemble is, against what, in one or two sentences."""
    ensemble = next(row for row in rows if row.kind == "choice")
    prior = next(row for row in rows if row.kind == "baseline")
    text = (
        f"The ensemble scores {ensemble.log_loss:.4f} ± {ensemble.se:.4f} on {unseen}, "
        f"{against(prior)} the prior"
    )
    best = best_member(rows)
    if best is not None:
        name = best.name.removesuffix(TEMPERED)
        after = " after its temperature" if name != best.name else ""
        text += f" and {against(best)} the best {member}, {name}{after}"
    return text + "."


def best_member(rows: Sequence[ScoreRow]) -> ScoreRow | None:
    """The member's row of least log-loss, before or after its temperature; None without members."""
    members = [row for row in rows if row.kind == "member"]
    return min(members, key=lambda row: row.log_loss) if members else None


def against(row: ScoreRow) -> str:
    """``0.2290 ± 0.0138 better than``: the paired difference between a row and the ensemble."""
    word = "better than" if row.difference >= 0 else "worse than"
    return f"{abs(row.difference):.4f} ± {row.difference_se:.4f} {word}"
