"""Judges of several answers, a row an item: scores in a list or in numbered columns, or only who is best."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from ..errors import InputError
from ..judgements import AnswerScores, Scores
from ..judgements.known import Known, known_judge
from .answer_rows import name_of, scores_of
from .cells import is_missing
from .column_names import Columns
from .judge_columns import HEAD_ROWS, holds_verdicts, is_fact, is_no_judge, numeric_columns
from .judgement_layout import own_columns
from .judgement_rows import number
from .tables import Table
from .wide_columns import stated

_SCORES: Final = ("scores", "score", "ratings", "rating", "rewards", "reward", "grades")
_CHOICES: Final = (
    "choice",
    "chosen",
    "best",
    "verdict",
    "pick",
    "selected",
    "preferred",
    "answer_chosen",
    "winner",
)
_NUMBERED: Final = re.compile(
    r"(?P<judge>.+?)(?:[_:.-](?:score|reward|rating|answer|response))?[_:.-](?P<answer>\d+|[A-Z])\Z"
)
_LETTER: Final = re.compile(r"[\[\s]*([A-Za-z])[\]\s.]*\Z")
_INTEGER: Final = re.compile(r"[\[\s]*(\d{1,3})(?:\.0+)?[\]\s]*\Z")
_MOST: Final = 64
"""answers of an item, at most"""

Cells = dict[str, list[tuple[int, float]]]


def item_rows(
    table: Table, columns: Columns, item: str, *, known: Known = ()
) -> tuple[AnswerScores, list[str]]:
    """Scores of each item's answers, and notes; answers have no names here, so they are numbered or lettered.

    Known are ``item, judge, scores`` with a list a cell (numbered from 0; lists within it are samples);
    ``item`` and a column of such lists a judge; ``item`` and columns ``NAME_1, NAME_2 …`` of scores; and
    ``item, judge, choice`` or ``item`` and a column a judge, with the best answer's letter or number: its
    score is the share of a judge's choices.

    Raises
    ------
    InputError
        None of these, a score that is no number, or choices that are not letters or numbers.
    """
    judge = columns.find("judge")
    if judge is not None:
        value = next((one for one in map(columns.find, (*_SCORES, *_CHOICES)) if one is not None), None)
        if value is None:
            raise InputError(
                f"{table.name} has judges of items, but neither scores nor choice; its columns are "
                f"{columns.shown}; name them so, or name {item} id where a row is about a pair"
            )
        rows = [row for batch in table.batches([item, judge, value]) for row in batch]
        if columns.find(value) in map(columns.find, _SCORES) and not any(_list(row[2]) for row in rows):
            raise InputError(
                f"{table.name}: {value} is one number a row, of which answer it does not say; add a column "
                "answer"
            )
        return _lists_or_choices(
            table, [(name_of(one), str(two), cell) for one, two, cell in rows], value, known
        )
    asked = [
        one
        for one in table.columns
        if one != item and (one in known or not (is_no_judge(one) or is_fact(one)))
    ]
    if "id" in columns:  # a file of lists: texts and what else there is are no judges
        asked = [one for one in asked if all(map(_list_or_missing, table.head([one], HEAD_ROWS)))]
    numbered: dict[str, dict[str, str]] = {}
    for name in asked:
        match = _NUMBERED.match(name)
        if match is not None and name not in known and numeric_columns(table, [name]):
            numbered.setdefault(match["judge"], {})[match["answer"]] = name
    if numbered and all(len(own) > 1 for own in numbered.values()):
        return _columns(table, item, numbered)
    if not asked:
        raise InputError(
            f"{table.name} names items but no judge; its columns are {columns.shown}; give item, answer, "
            "judge, score, or item, judge, choice"
        )
    rows = [row for batch in table.batches([item, *asked]) for row in batch]
    cells = [(name_of(row[0]), name, cell) for row in rows for name, cell in zip(asked, row[1:], strict=True)]
    return _lists_or_choices(table, cells, "a judge's cell", known)


def _lists_or_choices(
    table: Table, rows: Sequence[tuple[str, str, Any]], value: str, known: Known
) -> tuple[AnswerScores, list[str]]:
    listed = [_list(cell) for *_, cell in rows]
    filled = [found for (*_, cell), found in zip(rows, listed, strict=True) if not is_missing(cell)]
    if not filled:
        raise InputError(f"{table.name}: {value} is empty throughout; fill it in")
    if all(found is not None for found in filled):
        return _from_lists(table, rows, listed, value)
    return _from_choices(table, rows, value, known)


def _list_or_missing(row: Sequence[Any]) -> bool:
    found = _list(row[0])
    return is_missing(row[0]) or (found is not None and not any(isinstance(one, str) for one in found))


def _list(cell: Any) -> list[Any] | None:
    if isinstance(cell, (list, tuple)):
        return list(cell)
    if isinstance(cell, str) and cell.strip()[:1] == "[":
        try:
            found = json.loads(cell)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, list) else None
    return None


def _from_lists(
    table: Table, rows: Sequence[tuple[str, str, Any]], lists: Sequence[list[Any] | None], value: str
) -> tuple[AnswerScores, list[str]]:
    keys: dict[tuple[str, str], int] = {}
    by_judge: Cells = {}
    counts: dict[str, int] = {}
    for k, ((item, judge, _), found) in enumerate(zip(rows, lists, strict=True), start=1):
        own = by_judge.setdefault(judge, [])
        if found is None:
            continue
        where = f"{table.name} row {k} (item {item}): {value}"
        if counts.setdefault(item, len(found)) != len(found):
            raise InputError(
                f"{where} holds {len(found)} scores, another row of the item {counts[item]}; give each "
                "answer of an item a score, null where it is missing"
            )
        for answer, cell in enumerate(found):
            place = keys.setdefault((item, str(answer)), len(keys))
            samples = cell if isinstance(cell, (list, tuple)) else [cell]
            own += [(place, number(one, where)) for one in samples]
    return scores_of(list(keys), by_judge), ["answers are numbered from 0, by their place in the lists"]


def _columns(table: Table, item: str, numbered: dict[str, dict[str, str]]) -> tuple[AnswerScores, list[str]]:
    names = [name for own in numbered.values() for name in own.values()]
    answers = list(dict.fromkeys(answer for own in numbered.values() for answer in own))
    rows = [row for batch in table.batches([item, *names]) for row in batch]
    at = {name: k for k, name in enumerate(names, start=1)}
    keys = {
        (name_of(row[0]), answer): place
        for place, (row, answer) in enumerate((row, answer) for row in rows for answer in answers)
    }
    by_judge: Cells = {}
    for judge, own in numbered.items():
        by_judge[judge] = [
            (
                keys[name_of(row[0]), answer],
                number(row[at[name]], f"{table.name} row {k} (item {row[0]}): {name}"),
            )
            for k, row in enumerate(rows, start=1)
            for answer, name in own.items()
        ]
    judge, own = next(iter(numbered.items()))
    first, *_, last = own.values()
    return scores_of(list(keys), by_judge), [
        f"{first} … {last} are read as scores of {len(own)} answers by the judge {judge}"
    ]


def _from_choices(
    table: Table, rows: Sequence[tuple[str, str, Any]], value: str, known: Known
) -> tuple[AnswerScores, list[str]]:
    texts = ["" if is_missing(cell) else name_of(cell).strip() for *_, cell in rows]
    filled = [text for text in texts if text]
    letters = [found[1].upper() for text in filled if (found := _LETTER.match(text))]
    numbers = [int(found[1]) for text in filled if (found := _INTEGER.match(text))]
    answers: list[str] = []
    if 2 * len(letters) > len(filled):
        answers = [chr(code) for code in range(ord("A"), ord(max(letters)) + 1)]
    elif 2 * len(numbers) > len(filled) and max(numbers) < _MOST:
        answers = [str(one) for one in range(min(1, *numbers), max(numbers) + 1)]
    told = known_judge(known, rows[0][1])
    if told is not None and set(answers) <= set(told.answers):
        answers = list(told.answers)
    if len(answers) < 2:
        example = next((text for text in filled if not _INTEGER.match(text)), filled[0])
        raise InputError(
            f"{table.name}: {value} is {example[:30]!r}, which does not say what else the judge chose among; "
            "give a row for each answer, item, answer, judge, score, with score 1 for the chosen one and 0 "
            "for the others; where a row is about a pair, name the column of its ids id"
        )
    items = dict.fromkeys(item for item, _, _ in rows)
    keys = {
        (item, answer): place for place, (item, answer) in enumerate((i, a) for i in items for a in answers)
    }
    by_judge: Cells = {}
    lost: dict[str, int] = {}
    for (item, judge, _), text in zip(rows, texts, strict=True):
        own = by_judge.setdefault(judge, [])
        letter, digit = _LETTER.match(text), _INTEGER.match(text)
        chosen = letter[1].upper() if letter else str(int(digit[1])) if digit else ""
        if chosen not in answers:
            lost[judge] = lost.get(judge, 0) + 1
            continue
        own += [(keys[item, answer], float(answer == chosen)) for answer in answers]
    named = ", ".join([*by_judge][:6]) + (" …" if len(by_judge) > 6 else "")
    notes = [
        f"read as choices of the best answer, by {named}; the answers of every item are taken to be "
        f"{answers[0]} to {answers[-1]}"
    ]
    if lost:
        notes.append(
            "choices that cannot be read: " + ", ".join(f"{one} {count}" for one, count in lost.items())
        )
    return scores_of(list(keys), by_judge), notes


def is_of_items(table: Table, columns: Columns, known: Known = ()) -> str | None:
    """The column of items of a file that has a row an item, or a row an item and judge; else None."""
    item = columns.find("item")
    if item is None and "answer" not in columns:
        return _id_of_lists(table, columns, known)
    if item is None or "id" in columns or "pair_id" in columns or "answer" in columns:
        return None
    return item


def _id_of_lists(table: Table, columns: Columns, known: Known) -> str | None:
    """The column ``id`` of a file whose judges give lists of numbers that are no verdicts: those of items.

    1 and 2 are scores where the column is called so, or is that of a judge who is known to give scores.
    """
    item = columns.find("id") or columns.find("question_id")
    if item is None or "verdict" in columns or stated(table.columns):
        return None
    values = [one for one in map(columns.find, _SCORES) if one is not None]
    if "judge" not in columns:
        values = [one for one in table.columns if one != item and not (is_no_judge(one) or is_fact(one))]
        heads = zip(values, zip(*table.head(values, HEAD_ROWS), strict=True), strict=False)
        plain = [one for one, cells in heads if not any(_list(cell) for cell in cells)]
        if len(plain) == len(values):
            return None
        if any(one in known for one in plain) or own_columns(
            table, columns, plain
        ):  # lists beside a column a judge are about something else
            return None
    for name in values:
        cells = [row[0] for row in table.head([name], HEAD_ROWS) if not is_missing(row[0])]
        found = [listed for cell in cells if (listed := _list(cell)) is not None and len(listed) > 1]
        parts = [
            one for listed in found for cell in listed for one in (cell if isinstance(cell, list) else [cell])
        ]
        numbers = bool(parts) and all(is_missing(one) or isinstance(one, (int, float)) for one in parts)
        told = known_judge(known, name)
        scores = "judge" in columns or (told is not None and told.kind == Scores.kind)
        if cells and len(found) == len(cells) and numbers and (scores or not holds_verdicts(parts)):
            return item
    return None
