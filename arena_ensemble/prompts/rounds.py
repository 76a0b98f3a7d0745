"""Which rounds of a conversation stay in the window: whole ones, and one at the edge that is cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

Budget = tuple[int, ...]
"""Tokens that each text of a round may keep."""
LEAST_EDGE: Final = 64
"""Tokens of text that must be left for a round to be shown in part rather than not at all."""


def rounds_kept(
    sizes: Sequence[Budget], room: int, between: int, how: str, share: Callable[[Budget, int], Budget]
) -> list[tuple[int, Budget]]:
    """The rounds that are shown, in their order, with the tokens that each of their texts may keep.

    Rounds are kept whole from the newest back (from the oldest on where ``how`` is ``tail``) as long as they
    fit. The next one is cut where at least `LEAST_EDGE` tokens are left for it, and a round is always shown:
    one that overflows alone is cut to the whole room.

    Parameters
    ----------
    sizes
        Per round, tokens of each of its texts.
    room
        Tokens of the window for texts, and for the words between rounds.
    between
        Tokens of the words that each round after the first one needs.
    share
        Divides a room among the texts of one round.
    """
    places = list(range(len(sizes)))
    kept: list[tuple[int, Budget]] = []
    for place in places if how == "tail" else reversed(places):
        left = room - (between if kept else 0)
        if sum(sizes[place]) <= left:
            kept.append((place, sizes[place]))
            room = left - sum(sizes[place])
            continue
        if not kept or left >= LEAST_EDGE:
            kept.append((place, share(sizes[place], left)))
        break
    return sorted(kept)
