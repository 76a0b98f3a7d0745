"""Battles to token ids: one versioned template for training and prediction, budgets, the verdict cue.

A row is ``opening PROMPT before_a A before_b B cue``. Every turn and every literal is tokenised on
its own and the ids are joined, so that the same text has the same ids wherever it stands, the cut is
counted in tokens, and exchanging the responses exchanges two runs of ids and nothing else. The cue is
never cut.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .battles import Battles
from .errors import RecipeError
from .recipes import PromptSettings, Recipe

Ids = npt.NDArray[np.int32]
Encode = Callable[[Sequence[str]], list[Ids]]
"""Token ids of each text, without special tokens."""

PROMPT, RESPONSE_A, RESPONSE_B = 0, 1, 2
"""Segments: whose text a token is. Literals belong to the text that they announce, the cue to 0."""
_COLUMNS: Final = ("prompt", "response_a", "response_b")
_LEAST_ROOM: Final = 12


@dataclass(frozen=True)
class Template:
    """The literals around the texts. A change of one character is a new name and a new digest."""

    name: str
    opening: str
    before_a: str
    before_b: str
    cue: str
    gap: str = " "
    """between the cue and the verdict word"""
    before_response: str = "\n\n[Response]\n"
    """before the one response that the reward head reads"""
    turn: str = "\n\n[Next turn]\n"
    marker: str = " [...] "
    """stands where text was cut out"""
    empty: str = "(no text)"
    """stands for a null or empty turn"""
    chat: bool = False
    """wrap in the tokenizer's own chat template"""


TEMPLATES: Final = {
    "plain-1": Template(
        name="plain-1",
        opening="Two assistants answered the same user. Which response is better: A, B, or is it a tie?"
        "\n\n[User]\n",
        before_a="\n\n[Response A]\n",
        before_b="\n\n[Response B]\n",
        cue="\n\n[End]\nBetter response:",
    ),
    "short-1": Template(
        name="short-1",
        opening="[User]",
        before_a="[A]",
        before_b="[B]",
        cue="[Better]",
        before_response="[Response]",
        turn="[Next]",
        marker="[...]",
        empty="(no text)",
    ),
    "chat-1": Template(
        name="chat-1",
        opening="Two assistants answered the same user. Compare the responses and reply with one word."
        "\n\n[User]\n",
        before_a="\n\n[Response A]\n",
        before_b="\n\n[Response B]\n",
        cue="\n\n[End]\nWhich response is better: A, B, or tie?",
        gap="",
        chat=True,
    ),
}


def get_template(name: str) -> Template:
    """The template of that name.

    Raises
    ------
    RecipeError
        There is none; the nearest name is given.
    """
    if name not in TEMPLATES:
        close = difflib.get_close_matches(name, TEMPLATES, n=1, cutoff=0.0)
        raise RecipeError(f"unknown prompt.template {name!r}; the nearest is {close[0]!r}")
    return TEMPLATES[name]


def template_digest(recipe: Recipe) -> str:
    """SHA-256 over the template's text and the prompt settings: what a card calls the prompt."""
    value = {**asdict(get_template(recipe.prompt.template)), **recipe.prompt.model_dump(mode="json")}
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def turns_of(battles: Battles, template: Template) -> tuple[list[list[str]], ...]:
    """Prompt, response A and response B of every battle as lists of non-empty turns.

    A null or blank turn becomes the template's word for it; a null response becomes one such turn.
    """

    def filled(turns: list[str | None] | None) -> list[str]:
        return [turn if turn and not turn.isspace() else template.empty for turn in turns or [None]]

    return tuple([filled(turns) for turns in battles.frame[name].to_list()] for name in _COLUMNS)


@dataclass(frozen=True, eq=False)
class TokenizedTemplate:
    """The literals of a template as token ids, special tokens of the tokenizer included."""

    opening: Ids
    before_a: Ids
    before_b: Ids
    before_response: Ids
    cue: Ids
    turn: Ids
    marker: Ids

    @property
    def fixed(self) -> int:
        """Tokens of a row of two responses that are never cut."""
        return sum(map(len, (self.opening, self.before_a, self.before_b, self.cue)))

    def digest(self) -> str:
        """SHA-256 over all ids."""
        ids = {name: getattr(self, name).tolist() for name in self.__dataclass_fields__}
        return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Encoded:
    """Rows of token ids, end to end.

    Parameters
    ----------
    tokens
        (total,) int32.
    segments
        (total,) int8 in {0, 1, 2}: prompt, response A, response B.
    offsets
        (n + 1,) int64: row i is ``tokens[offsets[i]:offsets[i + 1]]``.
    cut
        (n, 3) int32: tokens left out of prompt, response A, response B.
    """

    tokens: Ids
    segments: npt.NDArray[np.int8]
    offsets: npt.NDArray[np.int64]
    cut: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(n,) tokens per row."""
        return np.diff(self.offsets)

    def facts(self) -> dict[str, Any]:
        """Truncation per side, for the card."""
        sides = ("prompt", "response_a", "response_b")
        return {
            "rows": len(self),
            "tokens": int(self.offsets[-1]),
            "longest_row_tokens": int(self.lengths.max(initial=0)),
            "truncated_rows": {side: int((self.cut[:, k] > 0).sum()) for k, side in enumerate(sides)},
            "truncated_tokens": {side: int(self.cut[:, k].sum()) for k, side in enumerate(sides)},
        }


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
        Per column (prompt, A, B), per battle, the token ids of each turn.
    """
    room = room_for_texts(literals, settings)
    rows = _Rows()
    for texts in zip(*turns, strict=True):
        size = [sum(map(len, text)) + len(literals.turn) * (len(text) - 1) for text in texts]
        budget = share_budget(size[0], size[1], size[2], room, settings.prompt_share)
        kept = [
            cut_turns(text, budget[k], settings.cut, literals.turn, literals.marker)
            for k, text in enumerate(texts)
        ]
        rows.add(
            [
                (literals.opening, PROMPT),
                (kept[0][0], PROMPT),
                (literals.before_a, RESPONSE_A),
                (kept[1][0], RESPONSE_A),
                (literals.before_b, RESPONSE_B),
                (kept[2][0], RESPONSE_B),
                (literals.cue, PROMPT),
            ],
            (kept[0][1], kept[1][1], kept[2][1]),
        )
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
    sides = _Rows(), _Rows()
    for texts in zip(*turns, strict=True):
        size = [sum(map(len, text)) + len(literals.turn) * (len(text) - 1) for text in texts]
        longest = max(size[1], size[2])
        keep = min(size[0], max(int(room * settings.prompt_share), room - longest))
        prompt, cut_prompt = cut_turns(texts[0], keep, settings.cut, literals.turn, literals.marker)
        for side, rows in enumerate(sides):
            text = texts[1 + side]
            kept, cut = cut_turns(text, room - keep, settings.cut, literals.turn, literals.marker)
            parts = [
                (literals.opening, PROMPT),
                (prompt, PROMPT),
                (literals.before_response, RESPONSE_A),
                (kept, RESPONSE_A),
                (literals.cue, PROMPT),
            ]
            rows.add(parts, (cut_prompt, cut, 0) if side == 0 else (cut_prompt, 0, cut))
    return sides[0].encoded(), sides[1].encoded()


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
