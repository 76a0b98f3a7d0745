"""What a fitted panel remembers of its judges, so that later files are read as the first ones were."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class KnownJudge:
    """A judge of a panel."""

    kind: str
    """of its column: ``verdicts``, ``scores`` or ``log_probs``"""
    numbers: str | None = None
    """what numbers meant as its verdicts, ``120`` or ``012``; None where it gave none"""
    answers: tuple[str, ...] = ()
    """the answers of every item, where these had the same names throughout"""


Known = Collection[str] | Mapping[str, KnownJudge]
"""Names that are surely judges', or what is known of each."""


def known_judge(known: Known, name: str) -> KnownJudge | None:
    """What is known of a judge; None where there is only a name, or not even that."""
    return known.get(name) if isinstance(known, Mapping) else None
