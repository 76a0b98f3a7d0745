"""Outcomes without texts: ids and votes → a small table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from ..errors import InputError
from .cells import RowProblem
from .column_names import WINNERS, Columns
from .detection import HEAD_ROWS
from .ids import id_column
from .tables import open_table
from .votes import Votes, vote_columns


def read_labels(path: Path, *, skip_unvoted: bool = False) -> pl.DataFrame:
    """Outcomes without texts: columns ``id`` (Int64 or String) and ``outcome`` (Int8, 0 A, 1 B, 2 tie).

    Reads ``id`` with a vote in any way that :mod:`votes` knows: Kaggle's winner columns, ``winner``
    (model_a, …), or ``label``, ``labels``, ``outcome`` (0, 1, 2, or the words).

    Parameters
    ----------
    skip_unvoted
        Leave out the rows without a vote instead of refusing them.

    Raises
    ------
    InputError
        Unknown columns, a row whose outcome cannot be read, named by row and id, or rows without a vote.
    """
    table = open_table(Path(path))
    columns = Columns(table.columns, file=table.name)
    name = columns.find("id") or columns.find("question_id")
    if name is None:
        raise InputError(f"{table.name} lacks the column id; its columns are {columns.shown}; add it")
    places = vote_columns(columns)
    if not places:
        raise InputError(
            f"{table.name} has no outcome; expected {', '.join(WINNERS)}, or label, or winner; its columns "
            "are "
            f"{columns.shown}; name the column of the vote so"
        )
    names = list(dict.fromkeys(column for place in places for column in place.names))
    head = table.head(names, HEAD_ROWS)
    votes = Votes(
        table.name, places, {column: [cells[k] for cells in head] for k, column in enumerate(names)}
    )
    ids: list[Any] = []
    outcomes: list[int | None] = []
    for batch in table.batches([name, *votes.columns]):
        for row in batch:
            ids.append(row[0])
            try:
                outcomes.append(votes.read(row[1:], len(ids), row[0]))
            except RowProblem as problem:
                raise InputError(f"{table.name} row {len(ids)} (id {row[0]}): {problem}") from None
    if not ids:
        raise InputError(f"{table.path} has a header but no rows; fetch it again")
    votes.check()
    series, _ = id_column(table, ids, column=name)
    frame = pl.DataFrame({"id": series, "outcome": pl.Series(outcomes, dtype=pl.Int8)})
    unvoted = frame["outcome"].is_null()
    if unvoted.all():
        raise InputError(
            f"{table.name}: not one of {len(ids)} rows has a vote; fill in {', '.join(votes.columns)}"
        )
    if unvoted.any() and not skip_unvoted:
        first = int(unvoted.arg_max() or 0)
        raise InputError(
            f"{table.name}: {unvoted.sum()} of {len(ids)} rows without a vote, the first in row {first + 1} "
            f"(id {ids[first]}): {votes.columns[0]} is empty; fill them in, or leave these rows out with "
            "--skip-unvoted (skip_unvoted=True)"
        )
    return frame.filter(~unvoted)
