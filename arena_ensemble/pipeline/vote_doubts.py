"""What looks wrong between judgements and votes before anything is learned: copies, exchanged sides, numbers.

A panel learns to read a judge whose verdicts are exchanged, so a mix-up costs nothing in the table of scores
and shows only in what the predictions then mean. Hence these checks of plain agreement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from ..io import PanelVotes
from ..judgements import Judgements

_ROWS: Final = 30
"""pairs from which agreement says something"""
_BETTER: Final = 0.2
"""how much higher the agreement under another meaning must be"""
_INFORMED: Final = 0.1
"""and how much higher than the share of the commonest vote"""
_SIDES: Final = ("A", "B", "tie")
_TURNED: Final = (1, 0, 2)
_NUMBERS: Final = ((1, 2, 0), (2, 0, 1))
"""what A, B and tie mean, where numbers counted from 0 were read as counted from 1, and the reverse"""
_OTHERS: Final = (_TURNED, *_NUMBERS, (0, 2, 1), (2, 1, 0))


def doubts(judged: Judgements, votes: PanelVotes) -> list[str]:
    """Sentences about judges that copy the votes, and about sides or numbers that seem to mean others.

    Parameters
    ----------
    judged
        The judgements of the pairs that have votes, in their order.
    """
    majority = votes.majority
    found, shares = [], {}
    for name, column in judged.columns.items():
        verdicts = column.verdicts
        given = verdicts >= 0
        if given.sum() < _ROWS:
            continue
        shares[name] = _shares(verdicts[given], majority[given])
        if shares[name][()] == 1:
            found.append(
                f"judge {name!r} gives the vote in all {given.sum()} pairs that it judged; if it copies "
                "them, leave it out"
            )
    base = float(votes.shares.mean(axis=0).max())
    turned = _same_for_most(shares, base)
    if turned is not None:
        plain, other = (float(np.median([one[key] for one in shares.values()])) for key in ((), turned))
        return [
            *found,
            f"most judges agree with the votes less than if {_words(turned)}: {plain:.0%} of pairs against "
            f"{other:.0%}; see which side and which number is A, in the votes and in the judgements",
        ]
    for name, one in shares.items():
        best = max(_NUMBERS, key=lambda key: one[key])
        if _better(one, best, base):
            found.append(
                f"judge {name!r} agrees with {one[()]:.0%} of the votes, and with {one[best]:.0%} if "
                f"{_words(best)}: if its verdicts are numbers, say what they mean (--numbers)"
            )
    return found


def _shares(verdicts: npt.NDArray[np.int8], votes: npt.NDArray[np.int64]) -> Mapping[tuple[int, ...], float]:
    """Meaning → agreement; ``()`` is the meaning as read."""
    read = {(): float((verdicts == votes).mean())}
    return read | {key: float((np.array(key)[verdicts] == votes).mean()) for key in _OTHERS}


def _better(one: Mapping[tuple[int, ...], float], key: tuple[int, ...], base: float) -> bool:
    """Whether another meaning agrees far better, and better than the commonest vote alone would."""
    return one[key] == max(one.values()) and one[key] >= max(one[()] + _BETTER, base + _INFORMED)


def _same_for_most(
    shares: Mapping[str, Mapping[tuple[int, ...], float]], base: float
) -> tuple[int, ...] | None:
    """The other meaning under which more than half of the judges agree far better with the votes."""
    for key in _OTHERS:
        better = [_better(one, key, base) for one in shares.values()]
        if better and 2 * sum(better) > len(better):
            return key
    return None


def _words(key: tuple[int, ...]) -> str:
    changed = [f"{_SIDES[k]} meant {_SIDES[one]}" for k, one in enumerate(key) if one != k]
    return ", ".join(changed[:-1]) + f" and {changed[-1]}"
