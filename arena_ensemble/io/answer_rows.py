"""Scores of single answers, as people write them: a row a score, or a column a judge; or a row an item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from ..errors import InputError
from ..judgements import AnswerScores, Judgements
from ..judgements.known import Known
from .column_names import Columns, canonical
from .judge_columns import (
    ABOUT_PAIRS,
    ANNOTATORS,
    TRUTH,
    facts_note,
    filled_heads,
    is_fact,
    numeric_columns,
)
from .judgement_rows import folded, number_rows
from .tables import Table
from .wide_columns import samples, samples_note, stated

_ITEMS: Final = ("question_id", "id")
_SIDES: Final = ("a", "b")
_ANSWERS: Final = ("answer", "response", "completion", "side")
"""Beside ids of items, these hold the name of an answer where each item has several."""
_SYSTEMS: Final = ("model", "system", "generator", "model_id")
"""So do these beside a column ``item``."""


def answer_columns(table: Table, columns: Columns) -> tuple[str, str] | None:
    """The columns of the item and of the answer's name; None where a file is about pairs.

    A file of ``id`` or ``question_id`` with answers is told by ids that repeat, each time with another
    answer, and by numbers that are not about two sides.
    """
    answer = columns.find("answer")
    item = columns.find("item")
    if item is not None:
        if answer is None and "id" not in columns:
            found = [one for one in map(columns.find, (*_ANSWERS, *_SYSTEMS)) if one is not None]
            answer = next((one for one in found if _several(table, item, one)), None)
        return None if answer is None else (item, answer)
    if "verdict" in columns or stated(table.columns):
        return None
    item = next((one for one in map(columns.find, _ITEMS) if one is not None), None)
    answer = answer or next((one for one in map(columns.find, _ANSWERS) if one is not None), None)
    if item is None or answer is None or ("judge" in columns and "score" not in columns):
        return None
    return (item, answer) if _several(table, item, answer) else None


def _several(table: Table, item: str, answer: str) -> bool:
    """Whether items of the first rows have several answers each."""
    head = [(str(one), str(two)) for one, two in table.head([item, answer], 64)]
    return len({one for one, _ in head}) < len({*head})


def _scores(table: Table, names: Sequence[str], known: Known) -> dict[str, tuple[str, ...]]:
    """Judge → its columns of numbers; an empty column among its samples is one that always failed."""
    heads = filled_heads(table, names)
    found: dict[str, tuple[str, ...]] = {}
    for stem, own in samples(names, known).items():
        filled = [one for one in own if heads[one]]
        if filled and numeric_columns(table, filled):
            found[stem] = own
        elif len(own) > 1:
            found |= {one: (one,) for one in filled if numeric_columns(table, [one])}
    return found


def name_of(cell: Any) -> str:
    """An item's or an answer's name: a whole float is an integer that lost its type."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def answer_rows(
    table: Table, columns: Columns, item: str, answer: str, *, shapes: str, known: Known = ()
) -> tuple[AnswerScores, list[str]]:
    """Rows of answers: of one judge each (``judge, score``), or a column of scores a judge; and notes.

    Columns ``NAME_1 … NAME_8`` are samples of one judge, and so is a cell that is a list.

    Parameters
    ----------
    item, answer
        The columns that name them.
    shapes
        What a file may look like, for the error.
    known
        Names that are surely judges'.

    Raises
    ------
    InputError
        No column of scores, or a score that is no number.
    """
    judge, score = columns.find("judge"), columns.find("score")
    notes: list[str] = []
    groups: dict[str, tuple[str, ...]]
    long = judge is not None and score is not None
    if judge is not None and score is not None:
        groups = {score: (judge, score)}
    else:
        rest = [name for name in table.columns if name not in (item, answer)]
        facts = [name for name in rest if is_fact(name) and name not in known]
        asked = [
            name
            for name in rest
            if name in known
            or not (canonical(name) in ABOUT_PAIRS | TRUTH or ANNOTATORS.match(name) or name in facts)
        ]
        groups = _scores(table, asked, known)
        notes = [*facts_note([one for one in facts if numeric_columns(table, [one])]), *samples_note(groups)]
    if not groups:
        why = "".join(f" ({note})" for note in notes)
        raise InputError(
            f"{table.name} holds no judge's scores{why}; its columns are {columns.shown}; give {shapes}"
        )
    names = [name for own in groups.values() for name in own]
    rows = [row for batch in table.batches([item, answer, *names]) for row in batch]
    if not rows:
        raise InputError(f"{table.path} has a header but no rows; fetch it again")
    named = [(name_of(row[0]), name_of(row[1])) for row in rows]
    keys = {key: place for place, key in enumerate(dict.fromkeys(named))}
    place = [keys[key] for key in named]
    by_judge: dict[str, list[tuple[int, float]]] = {} if long else {one: [] for one in groups}
    at = {name: k for k, name in enumerate(names, start=2)}
    for k, row in enumerate(rows):
        where = f"{table.name} row {k + 1} (item {row[0]})"
        for one, own in [(str(row[2]), (str(score),))] if long else groups.items():
            found = by_judge.setdefault(one, [])
            for name in own:
                cells = [row[3] if long else row[at[name]]]
                found += [(place[k], value[0]) for value in number_rows(cells, [f"{where}: {name}"])]
    return scores_of(list(keys), by_judge), notes


def scores_of(keys: Sequence[tuple[str, str]], by_judge: dict[str, list[tuple[int, float]]]) -> AnswerScores:
    """A table of answers from each judge's (place, score), several of one place folded.

    Parameters
    ----------
    keys
        Item and answer of each place.
    """
    parts = [
        folded([one for one, _ in cells], np.array([[value] for _, value in cells]).reshape(-1, 1), len(keys))
        for cells in by_judge.values()
    ]
    mean, spread = (np.hstack([part[k] for part in parts]) for k in (0, 1))
    items, answers = (
        pl.Series(name, [key[k] for key in keys], dtype=pl.String)
        for k, name in enumerate(("item", "answer"))
    )
    return AnswerScores(items, answers, tuple(by_judge), mean, spread)


def sides_of_pairs(scores: AnswerScores, names: Sequence[str] = _SIDES) -> Judgements | None:
    """Scores of pairs, whose ids are the items, where all answers have the names of A and B; else None."""
    sides = scores.answers.str.to_lowercase().str.strip_prefix("model_").str.strip_prefix("response_")
    if not sides.is_in(names).all():
        return None
    items = scores.items.unique(maintain_order=True)
    whole = items.str.contains(r"\A-?(0|[1-9]\d{0,17})\z").all()
    ids = items.cast(pl.Int64) if whole else items
    plain = AnswerScores(scores.items, sides, scores.judges, scores.mean, scores.spread)
    one, two = (pl.Series("answer", [side] * len(items)) for side in names)
    return plain.pairs(ids.alias("id"), items, one, two)
