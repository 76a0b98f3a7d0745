"""What the columns of each known file mean: a row of cells becomes one battle.

The only room that knows column names of battles. A format is told by its columns; to add one, write
a function of a row and a line in ``FORMATS``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..battles import Outcome
from ..errors import InputError
from .cells import (
    WINNERS,
    Cells,
    ReadRow,
    RowProblem,
    Turns,
    conversation,
    dialogue,
    one_hot_outcome,
    paired,
    plain,
    text_or_none,
    turns,
    verdict_outcome,
)


@dataclass(frozen=True)
class Format:
    """How one kind of file is recognised and read.

    ``required`` columns must all be there; ``optional`` ones are read where they are. ``outcomes`` is
    how many outcomes the task has: 3, or 2 where no tie can be voted.
    """

    name: str
    title: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    ids: tuple[str, ...]
    """columns that may hold the id, the first one present is taken; none: rows are numbered from 1"""
    outcomes: int
    read: Callable[[Cells], ReadRow]
    needs_id: bool = True
    note: str = ""
    """what a reader of the report should know"""


def _kaggle(cells: Cells) -> ReadRow:
    battle = paired(*(turns(cells[name], name) for name in ("prompt", "response_a", "response_b")))
    outcome = one_hot_outcome([cells[name] for name in WINNERS]) if WINNERS[0] in cells else None
    return ReadRow(*battle, outcome, *_described(cells))


def _wsdm(cells: Cells) -> ReadRow:
    battle = paired(*(plain(cells[name], name) for name in ("prompt", "response_a", "response_b")))
    return ReadRow(*battle, verdict_outcome(cells.get("winner")), *_described(cells))


def _arena(cells: Cells) -> ReadRow:
    asked, response_a = conversation(cells["conversation_a"], "conversation_a")
    asked_b, response_b = conversation(cells["conversation_b"], "conversation_b")
    if asked != asked_b:
        raise RowProblem("conversation_a and conversation_b hold different questions")
    battle = paired(asked, response_a, response_b)
    return ReadRow(*battle, verdict_outcome(cells.get("winner")), *_described(cells))


def _pairs(cells: Cells) -> ReadRow:
    prompt = dialogue(cells.get("prompt"), "prompt")
    asked, chosen = _answered(prompt, dialogue(cells["chosen"], "chosen"), "chosen")
    asked_too, rejected = _answered(prompt, dialogue(cells["rejected"], "rejected"), "rejected")
    if asked != asked_too:
        raise RowProblem("chosen and rejected answer different questions")
    winner, loser = (text_or_none(cells.get(name)) for name in ("chosen_model", "rejected_model"))
    language = text_or_none(cells.get("language"))
    text = "\x1f".join(turn or "" for side in (asked, chosen, rejected) for turn in side)
    drawn = hashlib.blake2b(f"{_PAIR_SEED}\x1f{text}".encode("utf-8", "surrogatepass"), digest_size=1)
    if drawn.digest()[0] & 1:
        return ReadRow(*paired(asked, rejected, chosen), Outcome.B, loser, winner, language)
    return ReadRow(*paired(asked, chosen, rejected), Outcome.A, winner, loser, language)


def _answered(
    prompt: list[Any] | str | None, answer: list[Any] | str | None, name: str
) -> tuple[Turns, Turns]:
    """Questions and answers of one side: the prompt before it, and the answer that was compared."""
    if not isinstance(answer, list):
        if not isinstance(prompt, list):
            return [prompt], [answer]
        return conversation([*prompt, {"role": "assistant", "content": answer}], name)
    whole = answer
    if answer and isinstance(answer[0], dict) and answer[0].get("role") == "assistant":
        before = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
        whole = [*before, *answer]  # otherwise the prompt is there already, as the first messages
    return conversation(whole, name)


def _described(cells: Cells) -> tuple[str | None, str | None, str | None]:
    model_a, model_b, language = (
        text_or_none(cells.get(name)) for name in ("model_a", "model_b", "language")
    )
    return model_a, model_b, language


_TEXTS: Final = ("prompt", "response_a", "response_b")
_DESCRIBED: Final = ("model_a", "model_b", "language")
_PAIR_SEED: Final = 0
_DRAWN: Final = f"which response is shown first was drawn by a hash of the texts (BLAKE2b, seed {_PAIR_SEED})"
_PAIR_OPTIONS: Final = ("prompt", "chosen_model", "rejected_model", "language")

FORMATS: Final[dict[str, Format]] = {
    form.name: form
    for form in (
        Format("kaggle", "Kaggle LMSYS", _TEXTS, (*WINNERS, *_DESCRIBED), ("id",), 3, _kaggle),
        Format("wsdm", "WSDM Cup", _TEXTS, ("winner", *_DESCRIBED), ("id",), 2, _wsdm),
        Format(
            "arena",
            "Hugging Face arena",
            ("conversation_a", "conversation_b"),
            ("winner", *_DESCRIBED),
            ("id", "question_id"),
            3,
            _arena,
        ),
        Format(
            "pairs",
            "chosen and rejected",
            ("chosen", "rejected"),
            _PAIR_OPTIONS,
            ("id",),
            2,
            _pairs,
            needs_id=False,
            note=_DRAWN,
        ),
        Format(
            "rewardbench",
            "RewardBench",
            ("prompt", "chosen", "rejected", "chosen_model", "rejected_model"),
            _PAIR_OPTIONS,
            ("id",),
            2,
            _pairs,
            needs_id=False,
            note=_DRAWN,
        ),
    )
}
"""Every known format, by the name that ``--format`` takes."""


def detect(columns: Sequence[str], first: Sequence[Any], *, file: str) -> Format:
    """The format of a file, from its columns; where two share them, from the first prompts.

    Parameters
    ----------
    columns
        The file's column names.
    first
        Cells of the column ``prompt`` of the first rows, where there is one: lists of turns mean
        Kaggle's format, plain text means WSDM Cup's.

    Raises
    ------
    InputError
        No format has these columns; the message names what the nearest one lacks.
    """
    present = set(columns)
    marks = {name: present.intersection(form.required) for name, form in FORMATS.items()}
    whole = [name for name, form in FORMATS.items() if len(marks[name]) == len(form.required)]
    if set(_TEXTS) <= present:
        if present.intersection(WINNERS):
            return FORMATS["kaggle"]
        if not shared_columns(columns):
            return FORMATS["wsdm"]
        listed = sum(isinstance(cell, list) or str(cell).lstrip()[:1] == "[" for cell in first)
        return FORMATS["kaggle" if 2 * listed >= max(len(first), 1) else "wsdm"]
    if whole:
        return FORMATS[whole[-1]]
    shown = ", ".join(str(name)[:30] for name in columns[:12])
    near = max(FORMATS, key=lambda name: len(marks[name]) / len(FORMATS[name].required))
    if marks[near]:
        lacks = ", ".join(name for name in FORMATS[near].required if name not in present)
        raise InputError(
            f"{file} lacks the column {lacks} ({FORMATS[near].title} format); its columns are {shown}"
        )
    raise InputError(
        f"{file} has columns that fit no known format: {shown}; expected for instance id, prompt, "
        "response_a, response_b, winner_model_a, winner_model_b, winner_tie"
    )


def shared_columns(columns: Sequence[str]) -> bool:
    """Whether the columns fit both Kaggle's test file and WSDM Cup's, so that cells must decide."""
    return set(_TEXTS) <= set(columns) and not {*WINNERS, "winner", "scored"}.intersection(columns)


def require_columns(form: Format, columns: Sequence[str], *, file: str) -> None:
    """Refuse a file that lacks columns of the given format.

    Raises
    ------
    InputError
        A required column is missing, or some but not all of the winner columns are there.
    """
    lacks = [name for name in form.required if name not in columns]
    if form.needs_id and not any(name in columns for name in form.ids):
        lacks.append(form.ids[0])
    if form.name == "kaggle" and any(name in columns for name in WINNERS):
        lacks += [name for name in WINNERS if name not in columns]
    if lacks:
        shown = ", ".join(str(name)[:30] for name in columns[:12])
        raise InputError(
            f"{file} lacks the column {', '.join(lacks)} ({form.title} format); its columns are {shown}"
        )
