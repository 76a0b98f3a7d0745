"""What the columns of each known file mean: a row of cells becomes one battle.

The only room that knows column names of battles. A format is told by its columns; to add one, write
a function of a row and a line in ``FORMATS``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ..battles import Outcome
from ..errors import InputError

Turns = list[str | None]
Cells = Mapping[str, Any]

WINNERS: Final = ("winner_model_a", "winner_model_b", "winner_tie")
_ONE_HOT: Final = {
    hot: outcome
    for outcome, hots in {
        Outcome.A: [("1", "0", "0"), (1, 0, 0)],
        Outcome.B: [("0", "1", "0"), (0, 1, 0)],
        Outcome.TIE: [("0", "0", "1"), (0, 0, 1)],
    }.items()
    for hot in hots
}
_VERDICTS: Final = {
    "model_a": Outcome.A,
    "model_b": Outcome.B,
    "a": Outcome.A,
    "b": Outcome.B,
    "tie": Outcome.TIE,
    "tie (bothbad)": Outcome.TIE,
    "tie (both bad)": Outcome.TIE,
    "bothbad": Outcome.TIE,
    "both_bad": Outcome.TIE,
    "both bad": Outcome.TIE,
}


class RowProblem(Exception):
    """One row that cannot be used; the reader adds the file, the row number and the id."""


class ReadRow(NamedTuple):
    """One battle, before it is put into columns."""

    prompt: Turns
    response_a: Turns
    response_b: Turns
    outcome: int | None = None
    model_a: str | None = None
    model_b: str | None = None
    language: str | None = None


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


def turns(value: Any, name: str) -> Turns | None:
    """A cell holding a list of turns, as JSON text or as a list; None for a JSON null.

    Raises
    ------
    RowProblem
        Empty, cut off, or not a list of strings and nulls.
    """
    if isinstance(value, str):
        if not value.strip():
            raise RowProblem(f"{name} is empty, expected a JSON list of turns")
        try:
            value = json.loads(value)
        except RecursionError:
            raise RowProblem(f"{name} is JSON nested too deeply, expected a list of turns") from None
        except ValueError as error:
            reason = (
                f"{error.msg} at character {error.pos + 1}"
                if isinstance(error, json.JSONDecodeError)
                else "number"
            )
            raise RowProblem(
                f"{name} is not whole JSON ({reason}); the cell is cut off or was edited"
            ) from None
    if value is None:
        return None
    if not isinstance(value, list):
        raise RowProblem(f"{name} is JSON but no list of turns (a {_json_kind(value)})")
    for place, turn in enumerate(value, start=1):
        if not (turn is None or isinstance(turn, str)):
            raise RowProblem(f"{name} is no list of strings and nulls (turn {place} is a {_json_kind(turn)})")
    return value


def plain(value: Any, name: str) -> Turns:
    """A cell holding one turn as plain text; an absent cell is one null turn."""
    if value is None or isinstance(value, str):
        if value and "\0" in value:
            raise RowProblem(f"{name} holds a NUL byte; the file is damaged")
        return [value or None]
    raise RowProblem(f"{name} is a {_json_kind(value)}, expected text")


def paired(
    prompt: Turns | None, response_a: Turns | None, response_b: Turns | None
) -> tuple[Turns, Turns, Turns]:
    """The three lists with as many turns each; a null response is as many null turns.

    An empty conversation becomes one null turn, so that every battle has at least one turn.
    """
    asked: Turns = prompt or [None]
    answers: list[Turns] = [side or [None] * len(asked) for side in (response_a, response_b)]
    for name, side in zip(("response_a", "response_b"), answers, strict=True):
        if len(side) != len(asked):
            raise RowProblem(f"prompt has {len(asked)} turns, {name} has {len(side)}; they must be as many")
    return asked, answers[0], answers[1]


def one_hot_outcome(cells: Sequence[Any]) -> int:
    """The outcome of Kaggle's three winner columns.

    Raises
    ------
    RowProblem
        A cell is empty, not a number, neither 0 nor 1, or the three do not sum to 1.
    """
    try:
        known = _ONE_HOT.get(tuple(cells))
    except TypeError:
        known = None
    if known is not None:
        return known
    values = []
    for name, cell in zip(WINNERS, cells, strict=True):
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            raise RowProblem(f"{name} is empty, expected 0 or 1")
        try:
            value = float({"true": 1, "false": 0}.get(str(cell).strip().lower(), cell))
        except (TypeError, ValueError):
            raise RowProblem(f"{name} is {str(cell)[:30]!r}, expected 0 or 1") from None
        if value not in (0, 1):
            raise RowProblem(f"{name} is {cell}, expected 0 or 1")
        values.append(int(value))
    if sum(values) != 1:
        raise RowProblem(f"winner columns sum to {sum(values)}, expected 1")
    return values.index(1)


def verdict_outcome(cell: Any) -> int | None:
    """The outcome of one ``winner`` column; None where the column is absent or null."""
    if cell is None:
        return None
    known = _VERDICTS.get(cell.strip().lower()) if isinstance(cell, str) else None
    if known is None:
        raise RowProblem(f"winner is {str(cell)[:40]!r}, expected model_a, model_b or a kind of tie")
    return int(known)


def _json_kind(value: Any) -> str:
    kinds = {
        dict: "JSON object",
        list: "list",
        bool: "boolean",
        int: "number",
        float: "number",
        str: "string",
    }
    return "null" if value is None else kinds.get(type(value), type(value).__name__)


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _kaggle(cells: Cells) -> ReadRow:
    battle = paired(*(turns(cells[name], name) for name in ("prompt", "response_a", "response_b")))
    outcome = one_hot_outcome([cells[name] for name in WINNERS]) if WINNERS[0] in cells else None
    return ReadRow(*battle, outcome, *_described(cells))


def _wsdm(cells: Cells) -> ReadRow:
    battle = paired(*(plain(cells[name], name) for name in ("prompt", "response_a", "response_b")))
    return ReadRow(*battle, verdict_outcome(cells.get("winner")), *_described(cells))


def _described(cells: Cells) -> tuple[str | None, str | None, str | None]:
    model_a, model_b, language = (
        _text_or_none(cells.get(name)) for name in ("model_a", "model_b", "language")
    )
    return model_a, model_b, language


_TEXTS: Final = ("prompt", "response_a", "response_b")
_DESCRIBED: Final = ("model_a", "model_b", "language")

FORMATS: Final[dict[str, Format]] = {
    "kaggle": Format("kaggle", "Kaggle LMSYS", _TEXTS, (*WINNERS, *_DESCRIBED), ("id",), 3, _kaggle),
    "wsdm": Format("wsdm", "WSDM Cup", _TEXTS, ("winner", *_DESCRIBED), ("id",), 2, _wsdm),
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
        if "winner" in present or "scored" in present:
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
