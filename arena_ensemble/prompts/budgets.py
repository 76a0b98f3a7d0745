"""How many tokens each text may keep, and what of a text is left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .encoded import Ids


def share_budget(prompt: int, a: int, b: int, room: int, prompt_share: float) -> tuple[int, int, int]:
    """Tokens that the prompt and the two responses may keep of ``room``.

    A text that needs less than its share leaves the rest to the others. Exchanging ``a`` and ``b``
    exchanges their budgets, to the token.
    """
    if prompt + a + b <= room:
        return prompt, a, b
    keep = min(prompt, max(int(room * prompt_share), room - a - b))
    rest = room - keep
    half = rest // 2
    return keep, min(a, max(half, rest - b)), min(b, max(half, rest - a))


def cut_turns(turns: Sequence[Ids], budget: int, how: str, turn: Ids, marker: Ids) -> tuple[Ids, int]:
    """Join turns with ``turn`` between them and cut the whole to ``budget`` tokens.

    ``how`` says what goes: the middle, the head, the tail, or (``last-turns``) the oldest turns and
    then the middle of what is left. Returns the ids and the number of tokens left out.
    """
    joined = list(turns)
    total = sum(map(len, joined)) + len(turn) * (len(joined) - 1)
    if total <= budget:
        return _join(joined, turn), 0
    left = total
    if how == "last-turns":
        while len(joined) > 1 and left > budget:
            left -= len(joined.pop(0)) + len(turn)
        how = "middle"
    ids = _join(joined, turn)
    if len(ids) > budget:
        keep = budget - len(marker)
        if keep < 2:  # no room for the marker: the first tokens are all there is
            ids = ids[:budget]
        elif how == "middle":
            ids = np.concatenate([ids[: keep - keep // 2], marker, ids[len(ids) - keep // 2 :]])
        elif how == "head":
            ids = np.concatenate([marker, ids[len(ids) - keep :]])
        else:
            ids = np.concatenate([ids[:keep], marker])
    return ids, total - len(ids)


def _join(turns: Sequence[Ids], turn: Ids) -> Ids:
    if len(turns) == 1:
        return turns[0]
    parts = [turns[0]]
    for ids in turns[1:]:
        parts += [turn, ids]
    return np.concatenate(parts)
