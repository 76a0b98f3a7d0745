"""A few columns of any table, as text: groups and other things that a user keeps beside the ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from ..errors import InputError
from .tables import open_table


def read_columns(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    """The named columns as strings, in the file's order; empty cells are null.

    Raises
    ------
    InputError
        A column is missing, or an ``id`` repeats.
    """
    table = open_table(path)
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise InputError(
            f"{table.name} lacks the columns {', '.join(missing)}; it has {', '.join(table.columns[:12])}"
        )
    rows = [row for batch in table.batches(columns) for row in batch]
    text = [[None if cell is None or cell == "" else str(cell) for cell in row] for row in rows]
    frame = pl.DataFrame(text, schema=dict.fromkeys(columns, pl.String), orient="row")
    if "id" in frame.columns and frame["id"].is_duplicated().any():
        repeated = frame["id"].filter(frame["id"].is_duplicated())[0]
        raise InputError(f"{table.name} repeats the id {repeated!r}")
    return frame
