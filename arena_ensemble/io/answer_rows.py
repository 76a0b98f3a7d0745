"""Scores of single answers, as people write them: a row a score, or a column a judge."""

from __future__ import annotations

import numpy as np
import polars as pl

from ..errors import InputError
from ..judgements import AnswerScores
from .column_names import Columns, canonical
from .judge_columns import ABOUT_ANSWERS, ABOUT_PAIRS, ANNOTATORS, TRUTH, numeric_columns
from .judgement_rows import folded, number
from .tables import Table


def answer_rows(table: Table, columns: Columns, *, shapes: str) -> AnswerScores:
    """Rows of answers: of one judge each (``judge, score``), or a column of scores a judge.

    Parameters
    ----------
    shapes
        What a file may look like, for the error.

    Raises
    ------
    InputError
        No column of scores, or a score that is no number.
    """
    item, answer = str(columns.find("item")), str(columns.find("answer"))
    judge, score = columns.find("judge"), columns.find("score")
    long = judge is not None and score is not None
    if judge is not None and score is not None:
        names = [judge, score]
    else:
        rest = [
            name
            for name in table.columns
            if name not in (item, answer)
            and canonical(name) not in ABOUT_PAIRS | ABOUT_ANSWERS | TRUTH
            and not ANNOTATORS.match(name)
        ]
        names = [name for name in rest if numeric_columns(table, [name])]
    if not names:
        raise InputError(
            f"{table.name} holds no judge's scores; its columns are {columns.shown}; give {shapes}"
        )
    rows = [row for batch in table.batches([item, answer, *names]) for row in batch]
    keys = {key: place for place, key in enumerate(dict.fromkeys((row[0], str(row[1])) for row in rows))}
    items = pl.Series("item", [str(key[0]) for key in keys])
    answers = pl.Series("answer", [key[1] for key in keys])
    place = [keys[row[0], str(row[1])] for row in rows]

    def where(k: int, name: str) -> str:
        return f"{table.name} row {k + 1} (item {rows[k][0]}): {name}"

    if not long:
        values = np.array(
            [[number(cell, where(k, name)) for cell, name in zip(row[2:], names, strict=True)]
             for k, row in enumerate(rows)]
        )  # fmt: skip
        mean, spread = folded(place, values, len(keys))
        return AnswerScores(items, answers, tuple(names), mean, spread)
    judges = list(dict.fromkeys(str(row[2]) for row in rows))
    parts = []
    for one in judges:
        mine = [k for k, row in enumerate(rows) if str(row[2]) == one]
        values = np.array([[number(rows[k][3], where(k, "score"))] for k in mine])
        parts.append(folded([place[k] for k in mine], values, len(keys)))
    mean, spread = (np.hstack([part[k] for part in parts]) for k in (0, 1))
    return AnswerScores(items, answers, tuple(judges), mean, spread)
