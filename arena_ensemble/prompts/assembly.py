"""Rows of token ids: ``opening PROMPT before_a A before_b B cue``, or round by round between opening and cue.

Every turn and every literal is tokenised on its own and the ids are joined, so that the same text has the
same ids wherever it stands, the cut is counted in tokens, and exchanging the responses exchanges runs of ids
and nothing else. The cue is never cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from ..errors import RecipeError
from ..recipes import PromptSettings
from .budgets import cut_turns, share_budget
from .encoded import PROMPT, RESPONSE_A, RESPONSE_B, Encoded, Ids, TokenizedTemplate
from .rounds import Budget, rounds_kept

_LEAST_ROOM: Final = 12


def room_for_texts(literals: TokenizedTemplate, settings: PromptSettings) -> int:
    """Tokens of the window that prompt and responses share.

    Raises
    ------
    RecipeError
        The template's own words leave too little.
    """
    room = settings.max_tokens - literals.fixed
    if room < _LEAST_ROOM:
        raise RecipeError(
            f"prompt.max_tokens = {settings.max_tokens}: the template {settings.template!r} alone takes "
            f"{literals.fixed} tokens; give at least {literals.fixed + _LEAST_ROOM}"
        )
    return room


def assemble(
    turns: tuple[Sequence[Sequence[Ids]], ...], literals: TokenizedTemplate, settings: PromptSettings
) -> Encoded:
    """Rows of prompt and two responses, cut to the window.

    Parameters
    ----------
    turns
        Per column (prompt, A, B), per battle, the token ids of each turn; as many in all three where the
        template goes by rounds.
    """
    room = room_for_texts(literals, settings)

    def share(size: Budget, left: int) -> Budget:
        return share_budget(size[0], size[1], size[2], left, settings.prompt_share)

    heads = (literals.turn, PROMPT), (literals.before_a, RESPONSE_A), (literals.before_b, RESPONSE_B)
    rows = _Rows()
    for texts in zip(*turns, strict=True):
        if literals.rounds:
            sizes = [tuple(map(len, texts_of_round)) for texts_of_round in zip(*texts, strict=True)]
            between = sum(len(ids) for ids, _ in heads)
            kept = rounds_kept(sizes, room, between, settings.cut, share)
            parts, cut = _shown(texts, kept, (0, 1, 2), heads, literals, settings)
        else:
            size = _sizes(texts, literals)
            budget = share(size, room)
            parts, cut = [], [0, 0, 0]
            for k, (head, segment) in enumerate(heads):
                ids, cut[k] = cut_turns(texts[k], budget[k], settings.cut, literals.turn, literals.marker)
                parts += [(head, segment)] * (k > 0) + [(ids, segment)]
        rows.add([(literals.opening, PROMPT), *parts, (literals.cue, PROMPT)], (cut[0], cut[1], cut[2]))
    return rows.encoded()


def assemble_singles(
    turns: tuple[Sequence[Sequence[Ids]], ...], literals: TokenizedTemplate, settings: PromptSettings
) -> tuple[Encoded, Encoded]:
    """Rows of prompt and *one* response, for the reward head: (of A, of B).

    The prompt is cut alike in both, and what a response keeps depends on the other's length only
    through the prompt, evenly; so exchanging the responses exchanges the two results.
    """
    room = room_for_texts(literals, settings) + len(literals.before_a) + len(literals.before_b)
    room -= len(literals.before_response)

    def share(size: Budget, left: int) -> Budget:
        keep = min(size[0], max(int(left * settings.prompt_share), left - size[1]))
        return keep, left - keep

    heads = (literals.turn, PROMPT), (literals.before_response, RESPONSE_A)
    sides = _Rows(), _Rows()
    for texts in zip(*turns, strict=True):
        if literals.rounds:
            sizes = [(len(p), max(len(a), len(b))) for p, a, b in zip(*texts, strict=True)]
            between = sum(len(ids) for ids, _ in heads)
            kept = rounds_kept(sizes, room, between, settings.cut, share)
        else:
            size = _sizes(texts, literals)
            budget = share((size[0], max(size[1], size[2])), room)
        for side, rows in enumerate(sides):
            if literals.rounds:
                parts, cut = _shown(texts, kept, (0, 1 + side), heads, literals, settings)
            else:
                (prompt, cut_prompt), (response, cut_response) = (
                    cut_turns(texts[k], budget[min(k, 1)], settings.cut, literals.turn, literals.marker)
                    for k in (0, 1 + side)
                )
                parts = [(prompt, PROMPT), heads[1], (response, RESPONSE_A)]
                cut = [cut_prompt, cut_response]
            whole = [(literals.opening, PROMPT), *parts, (literals.cue, PROMPT)]
            rows.add(whole, (cut[0], cut[1], 0) if side == 0 else (cut[0], 0, cut[1]))
    return sides[0].encoded(), sides[1].encoded()


def _sizes(texts: Sequence[Sequence[Ids]], literals: TokenizedTemplate) -> tuple[int, int, int]:
    prompt, a, b = (sum(map(len, text)) + len(literals.turn) * (len(text) - 1) for text in texts)
    return prompt, a, b


def _shown(
    texts: Sequence[Sequence[Ids]],
    kept: list[tuple[int, Budget]],
    columns: tuple[int, ...],
    heads: Sequence[tuple[Ids, int]],
    literals: TokenizedTemplate,
    settings: PromptSettings,
) -> tuple[list[tuple[Ids, int]], list[int]]:
    """The kept rounds' texts of these columns with their literals, and tokens left out of each column.

    A round that is left out counts with its literals, each to the text that it announces.
    """
    parts: list[tuple[Ids, int]] = []
    gone = len(texts[0]) - len(kept)
    cut = [gone * len(head) for head, _ in heads]
    for k, column in enumerate(columns):
        shown = {place for place, _ in kept}
        cut[k] += sum(len(ids) for place, ids in enumerate(texts[column]) if place not in shown)
    for count, (place, budget) in enumerate(kept):
        for k, column in enumerate(columns):
            ids, out = cut_turns(
                [texts[column][place]], budget[k], settings.cut, literals.turn, literals.marker
            )
            cut[k] += out
            first = count == 0 and k == 0  # the opening announces it
            parts += [heads[k]] * (not first) + [(ids, heads[k][1])]
    return parts, cut


class _Rows:
    """Collects rows part by part; one concatenation at the end."""

    def __init__(self) -> None:
        self.parts: list[Ids] = []
        self.marks: list[tuple[int, int]] = []
        self.lengths: list[int] = []
        self.cut: list[tuple[int, int, int]] = []

    def add(self, parts: list[tuple[Ids, int]], cut: tuple[int, int, int]) -> None:
        self.parts += [ids for ids, _ in parts]
        self.marks += [(segment, len(ids)) for ids, segment in parts]
        self.lengths.append(sum(len(ids) for ids, _ in parts))
        self.cut.append(cut)

    def encoded(self) -> Encoded:
        marks = np.asarray(self.marks, dtype=np.int64).reshape(-1, 2)
        return Encoded(
            tokens=np.concatenate([*self.parts, np.empty(0, np.int32)]).astype(np.int32, copy=False),
            segments=np.repeat(marks[:, 0].astype(np.int8), marks[:, 1]),
            offsets=np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)]).astype(np.int64),
            cut=np.asarray(self.cut, dtype=np.int32).reshape(-1, 3),
        )
