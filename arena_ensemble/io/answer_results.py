"""Result files of judge benchmarks that score each answer alone, as they are written → scores of answers.

Shapes as the projects' own code writes them: RewardBench 1 (`run_rm.py`: one JSON object of lists, or rows),
RewardBench 2 (`run_v2.py`: ``scores`` are lists, the correct answers first), and the single-answer grades of
FastChat's MT-bench (`gen_judgment.py --mode single`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from ..errors import InputError
from ..judgements import AnswerScores
from .judge_results import CHOSEN, REJECTED, listed, rewardbench_items
from .judgement_rows import folded, number
from .tables import Table

_UNREAD: Final = -1.0
"""what graders write where they found no grade in the judge's answer"""
_GRADES: Final = (1.0, 10.0)


def rewardbench(table: Table) -> AnswerScores:
    """RewardBench 1: the answers ``chosen`` and ``rejected`` of each item."""
    rows, judge = listed(table, ("scores_chosen", "scores_rejected"))
    cells = []
    for item, row in zip(rewardbench_items(table), rows, strict=True):
        cells += [
            (item, name, _score(table, item, one)) for name, one in zip((CHOSEN, REJECTED), row, strict=True)
        ]
    return _answer_scores(judge, cells)


def rewardbench_2(table: Table) -> AnswerScores:
    """RewardBench 2: answers are numbered from 0, the correct ones first, as in the file.

    Rows without scores, those of judges that were shown four answers at once, are missing.
    """
    cells = []
    rows, judge = listed(table, ("id", "scores", "num_correct"))
    for item, (_, scores, _) in zip(_items(table), rows, strict=True):
        given = scores if isinstance(scores, (list, tuple)) else []
        cells += [(item, str(place), _score(table, item, one)) for place, one in enumerate(given)]
    if not cells:
        raise InputError(
            f"{table.name} holds no scores of answers; a judge that only chose among four does not say what "
            "it thought of each: take its ratings"
        )
    return _answer_scores(judge, cells)


def rewardbench_2_best(table: Table) -> dict[str, dict[str, float]]:
    """Item → answer → share of the vote: the correct answers alike."""
    found = {}
    rows = listed(table, ("id", "scores", "num_correct"))[0]
    for item, (_, _, correct) in zip(_items(table), rows, strict=True):
        given = number(correct, f"{table.name} (id {item}): num_correct")
        if not given >= 1:
            raise InputError(
                f"{table.name} (id {item}): num_correct is {correct!r}, expected 1 or more; leave the row out"
            )
        count = int(given)
        found[item] = {str(place): 1 / count for place in range(count)}
    return found


def _items(table: Table) -> list[str]:
    """The ids of RewardBench 2, with the subset before those that several rows have."""
    ids = [str(row[0]) for row in listed(table, ("id",))[0]]
    if "subset" not in table.columns or len(set(ids)) == len(ids):
        return ids
    counts = Counter(ids)
    subsets = listed(table, ("subset",))[0]
    return [f"{row[0]}:{one}" if counts[one] > 1 else one for one, row in zip(ids, subsets, strict=True)]


def mt_bench_single(table: Table) -> AnswerScores:
    """MT-bench's grades from 1 to 10: items are ``question_id|turn``, answers are models."""
    turned = "turn" in table.columns
    names = ("question_id", "model", "judge", "score", *(("turn",) if turned else ()))
    by_judge: dict[str, list[tuple[str, str, float]]] = {}
    for question, model, judge, score, *turn in (row for batch in table.batches(names) for row in batch):
        name = str(judge[0]) if isinstance(judge, (list, tuple)) and judge else str(judge)
        item = f"{question}|{turn[0] if turn else 1}"
        by_judge.setdefault(name, []).append((item, str(model), _score(table, item, score)))
    return _joined({name: _without_unread(cells) for name, cells in by_judge.items()})


def _score(table: Table, item: Any, cell: Any) -> float:
    """A number, or the one number in a list."""
    one = cell[0] if isinstance(cell, (list, tuple)) and len(cell) == 1 else cell
    return number(one, f"{table.name} (id {item}): a score")


def _without_unread(cells: Sequence[tuple[str, str, float]]) -> list[tuple[str, str, float]]:
    """Grades from 1 to 10 with -1 for those that were not found: missing."""
    values = [value for _, _, value in cells if not math.isnan(value)]
    low, high = _GRADES
    if not all(value == _UNREAD or (low <= value <= high) for value in values):
        return list(cells)
    return [(item, name, math.nan if value == _UNREAD else value) for item, name, value in cells]


def _answer_scores(judge: str, cells: Sequence[tuple[str, str, float]]) -> AnswerScores:
    return _joined({judge: _without_unread(cells)})


def _joined(by_judge: dict[str, list[tuple[str, str, float]]]) -> AnswerScores:
    """Judges' scores on the union of their answers; several of one answer are samples."""
    parts = []
    for judge, cells in by_judge.items():
        keys = {
            key: place for place, key in enumerate(dict.fromkeys((item, name) for item, name, _ in cells))
        }
        values = np.array([[value] for _, _, value in cells]).reshape(-1, 1)
        mean, spread = folded([keys[item, name] for item, name, _ in cells], values, len(keys))
        items, answers = (
            pl.Series(name, [key[k] for key in keys], dtype=pl.String)
            for k, name in enumerate(("item", "answer"))
        )
        parts.append(AnswerScores(items, answers, (judge,), mean, spread))
    return AnswerScores.joined(parts)
