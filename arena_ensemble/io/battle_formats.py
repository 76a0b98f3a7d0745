"""What the columns of each known file mean: a row of cells becomes one battle.

A format says which columns hold the texts; how their cells are written (lists, plain text, messages) is
decided per column, and votes are read by ``votes``. To add a format, write a function of a row, a line
in ``FORMATS``, and its name in ``format_names``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..battles import Outcome
from .cells import (
    MESSAGES,
    PLAIN,
    BattleRow,
    Cells,
    RowProblem,
    Turns,
    paired,
    text_cell,
    text_or_none,
)
from .messages import conversation, dialogue, role_of
from .questions import Question
from .votes import tie_flag, word_outcome


@dataclass(frozen=True)
class Layout:
    """How the cells of one file are written, decided from its first rows."""

    kinds: Mapping[str, str] = field(default_factory=dict)
    """field of text → ``list``, ``plain`` or ``messages``"""
    question: Question | None = None
    texts_only: bool = False
    """both answers and the question hold text only, no messages: the fast and usual way"""


@dataclass(frozen=True)
class Format:
    """How one kind of file is recognised and read.

    ``required`` fields must all be there, the first two hold the answers; ``optional`` ones are read where
    they are. ``outcomes`` is
    how many outcomes the task has: 3, or 2 where no tie can be voted (a tie in the file makes it 3).
    """

    name: str
    title: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    ids: tuple[str, ...]
    """fields that may hold the id, the first one present is taken; none: rows are numbered from 1"""
    outcomes: int
    read: Callable[[Cells, Layout], BattleRow]
    asks: bool = True
    """whether a column must hold the question"""
    needs_id: bool = True
    votes: str | None = None
    """the field of the vote that is taken when this format is asked for by name"""
    paired: bool = False
    """whether the columns themselves say who won, so that no vote is read"""
    note: str = ""
    """what a reader of the report should know"""

    @property
    def sides(self) -> tuple[str, ...]:
        """The fields that hold the answers."""
        return self.required[:2]


def _texts(cells: Cells, layout: Layout) -> BattleRow:
    question, kinds = layout.question, layout.kinds
    assert question is not None
    asked = question.read(cells)
    if layout.texts_only:
        answers = [text_cell(cells[name], name, kinds[name]) for name in ("response_a", "response_b")]
        battle = paired(asked, *answers)
    else:
        asked_a, first = _answered(asked, _answer(cells, "response_a", kinds), "response_a")
        asked_b, second = _answered(asked, _answer(cells, "response_b", kinds), "response_b")
        if asked_a != asked_b:
            raise RowProblem("response_a and response_b answer different questions; put one question in both")
        battle = paired(asked_a, first, second)
    if question.system is not None:
        battle = (question.with_system(battle[0], cells), battle[1], battle[2])
    return BattleRow(*battle, None, *_described(cells))


def _arena(cells: Cells, layout: Layout) -> BattleRow:
    asked, response_a = conversation(cells["conversation_a"], "conversation_a")
    asked_b, response_b = conversation(cells["conversation_b"], "conversation_b")
    if asked != asked_b:
        raise RowProblem(
            "conversation_a and conversation_b hold different questions; put the same question in both"
        )
    if layout.question is not None and layout.question.system is not None:
        asked = layout.question.with_system(asked, cells)
    battle = paired(asked, response_a, response_b)
    return BattleRow(*battle, None, *_described(cells))


def _pairs(cells: Cells, layout: Layout) -> BattleRow:
    question = None if layout.question is None else layout.question.read(cells)
    asked, chosen = _answered(question, _answer(cells, "chosen", layout.kinds), "chosen")
    asked_too, rejected = _answered(question, _answer(cells, "rejected", layout.kinds), "rejected")
    if asked != asked_too:
        raise RowProblem("chosen and rejected answer different questions; put the same question before both")
    if layout.question is not None:
        asked = layout.question.with_system(asked, cells)
    winner, loser = (text_or_none(cells.get(name)) for name in ("chosen_model", "rejected_model"))
    language = text_or_none(cells.get("language"))
    vote = word_outcome(cells["winner"], "winner", numbers=False) if "winner" in cells else None
    tie = vote == Outcome.TIE or ("tie" in cells and tie_flag(cells["tie"], "tie"))
    text = "\x1f".join(turn or "" for side in (asked, chosen, rejected) for turn in side)
    drawn = hashlib.blake2b(f"{_PAIR_SEED}\x1f{text}".encode("utf-8", "surrogatepass"), digest_size=1)
    second = vote == Outcome.B if vote in (Outcome.A, Outcome.B) else bool(drawn.digest()[0] & 1)
    if second:
        outcome = Outcome.TIE if tie else Outcome.B
        return BattleRow(*paired(asked, rejected, chosen), outcome, loser, winner, language)
    outcome = Outcome.TIE if tie else Outcome.A
    return BattleRow(*paired(asked, chosen, rejected), outcome, winner, loser, language)


def _answer(cells: Cells, name: str, kinds: Mapping[str, str]) -> list[Any] | str | None:
    kind = kinds.get(name, PLAIN)
    value = cells[name]
    if kind in (PLAIN, MESSAGES):
        return dialogue(value, name, messages=kind == MESSAGES)
    return text_cell(value, name, kind)


def _answered(
    question: list[Any] | Turns | None, answer: list[Any] | str | None, name: str
) -> tuple[Turns, Turns]:
    """Questions and answers of one side: the question before it, and the answer that was compared.

    Parameters
    ----------
    question
        Turns of text, messages, or None where the answer brings its question along.
    answer
        One text, turns of text, or messages.
    """
    messages = question if question and isinstance(question[0], dict) else None
    if isinstance(answer, list) and answer and isinstance(answer[0], dict):
        if role_of(answer[0]) != "assistant":
            return conversation(answer, name)  # the question is there already, as the first messages
        replies = answer
    elif question is None:
        raise RowProblem(
            f"{name} is an answer without a question; put the question into a column prompt, or before the "
            "answer"
        )
    elif isinstance(answer, list) and not (messages and len(answer) == 1):
        return (conversation(messages, name)[0] if messages else question), answer
    else:
        text = answer[0] if isinstance(answer, list) else answer
        if messages is None:
            return question, [*[None] * (len(question) - 1), text]
        replies = [{"role": "assistant", "content": text}]
    if question is None:
        raise RowProblem(
            f"{name} holds an answer without a question; put the question into a column prompt, or before "
            "the answer"
        )
    return conversation(
        [*(messages or [{"role": "user", "content": turn} for turn in question]), *replies], name
    )


def _described(cells: Cells) -> tuple[str | None, str | None, str | None]:
    model_a, model_b, language = (
        text_or_none(cells.get(name)) for name in ("model_a", "model_b", "language")
    )
    return model_a, model_b, language


_SIDES: Final = ("response_a", "response_b")
_DESCRIBED: Final = ("model_a", "model_b", "language")
_IDS: Final = ("id", "question_id")
_PAIR_SEED: Final = 0
_DRAWN: Final = f"which response is shown first was drawn by a hash of the texts (BLAKE2b, seed {_PAIR_SEED})"
_PAIR_OPTIONS: Final = ("chosen_model", "rejected_model", "language")

FORMATS: Final[dict[str, Format]] = {
    form.name: form
    for form in (
        Format("kaggle", "Kaggle LMSYS", _SIDES, _DESCRIBED, _IDS, 3, _texts, votes="winner_model_a"),
        Format("wsdm", "WSDM Cup", _SIDES, _DESCRIBED, _IDS, 2, _texts, votes="winner"),
        Format(
            "arena",
            "Hugging Face arena",
            ("conversation_a", "conversation_b"),
            _DESCRIBED,
            _IDS,
            3,
            _arena,
            asks=False,
            votes="winner",
        ),
        Format(
            "pairs",
            "chosen and rejected",
            ("chosen", "rejected"),
            _PAIR_OPTIONS,
            ("id",),
            2,
            _pairs,
            asks=False,
            needs_id=False,
            paired=True,
            note=_DRAWN,
        ),
        Format(
            "rewardbench",
            "RewardBench",
            ("chosen", "rejected", "chosen_model", "rejected_model"),
            _PAIR_OPTIONS,
            ("id",),
            2,
            _pairs,
            asks=True,
            needs_id=False,
            paired=True,
            note=_DRAWN,
        ),
    )
}
"""Every known format, by the name that ``--format`` takes."""
