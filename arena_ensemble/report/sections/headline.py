"""The first screen: the log-loss with its error, what it is to be compared with, and warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ...artifacts.cards import EnsembleCard, MemberCard
from ...metrics import ScoreRow
from ...stacking.score_table import ENSEMBLE_ROW, TEMPERED
from ..rungs import FEATURES_ONLY, against, best_member, headline, whole_of
from ..tables import percent

_PARTS: Final = 4
"""candidates named in the head of the page"""


def summary(
    rows: Sequence[ScoreRow], card: EnsembleCard, shares: Mapping[str, float], *, member: str
) -> dict[str, Any]:
    """The sentence, the figures beside it, and one line on how they came about.

    Parameters
    ----------
    shares
        Candidate → its weight in the prediction.
    member
        What one member is called.
    """
    own = next(row for row in rows if row.kind == "choice")
    unseen = "pairs that it did not learn from" if card.judges else "battles that its models never saw"
    if not (card.folds_verified or card.judges):
        unseen = "battles out of fold, as far as the members' makers know"
    return {
        "loss": f"{own.log_loss:.4f}",
        "se": f"{own.se:.4f}",
        "sentence": headline(rows, member=member, unseen=unseen),
        "comparisons": _comparisons(rows, member=member),
        "facts": _facts(own, card, shares, member=member),
    }


def _comparisons(rows: Sequence[ScoreRow], *, member: str) -> list[dict[str, str]]:
    named = {row.name: row for row in rows}
    found: list[tuple[str, ScoreRow | None]] = [
        ("prior", next((row for row in rows if row.kind == "baseline"), None)),
        (FEATURES_ONLY, named.get(FEATURES_ONLY)),
        (f"best {member}", best_member(rows)),
        ("Bayes floor", next((row for row in rows if row.kind == "bayes"), None)),
    ]
    return [
        {
            "what": what,
            "name": "" if row.name == what else row.name.removesuffix(TEMPERED),
            "loss": f"{row.log_loss:.4f}",
            "gain": f"{whole_of(member)} {against(row).removesuffix(' than')}",
        }
        for what, row in found
        if row is not None and row.name != ENSEMBLE_ROW
    ]


def _facts(own: ScoreRow, card: EnsembleCard, shares: Mapping[str, float], *, member: str) -> list[str]:
    plural = member if len(card.members) == 1 else f"{member}s"
    facts = [f"{card.rows:,} {'pairs' if card.judges else 'battles'}", f"{len(card.members)} {plural}"]
    facts.append(f"accuracy {own.accuracy:.1%}")
    grouped = "standard errors by group" if card.judges else "standard errors by group of prompts"
    facts.append(grouped if card.folds_verified else "folds unverified")
    if own.gap_closed is not None:
        facts.append(f"{percent(own.gap_closed)} of the way from the prior to the Bayes floor")
    largest = sorted(shares.items(), key=lambda one: -one[1])
    made = [f"{name} {share:.0%}" for name, share in largest[:_PARTS]]
    made += ["others"] if len(largest) > _PARTS else []
    facts.append("made of " + ", ".join(made))
    return facts


def warnings(card: EnsembleCard, members: Mapping[str, MemberCard]) -> list[str]:
    """Whatever makes the figures doubtful, a line each."""
    found = [f"{one['member']} looks leaked: {'; '.join(one['reasons'])}" for one in card.suspicions]
    if card.key is None and not card.judges:
        found.append("all members are external; whether their own training saw these rows is unverified")
    found += [f"{name} {alarm}" for name, alarms in card.alarms.items() for alarm in alarms]
    for name, member in members.items():
        found += [f"{name}: {alarm}" for alarm in member.alarms]
        if not member.folds_verified:
            found.append(f"{name} is external; its folds are unverified")
    return list(dict.fromkeys(found))
