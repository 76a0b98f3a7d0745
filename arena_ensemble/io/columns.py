"""A few columns of any table, as text: groups and other things that a user keeps beside the ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from ..errors import InputError
from .column_names import Columns
from .ids import id_column
from .tables import open_table


def read_columns(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    """The named columns as strings, in the file's order; empty cells are null.

    Raises
    ------
    InputError
        A column is missing, or an ``id`` repeats.
    """
    table = open_table(path)
    known = Columns(table.columns, file=table.name)
    found = {name: name if name in table.columns else known.find(name) for name in columns}
    missing = [name for name, column in found.items() if column is None]
    if missing:
        raise InputError(
            f"{table.name} lacks the columns {', '.join(missing)}; it has {known.shown}; add them or name "
            "others"
        )
    rows = [row for batch in table.batches([str(column) for column in found.values()]) for row in batch]
    text = [[None if cell is None or cell == "" else str(cell) for cell in row] for row in rows]
    frame = pl.DataFrame(text, schema=dict.fromkeys(columns, pl.String), orient="row")
    if "id" not in frame.columns or not rows:
        return frame
    place = [*columns].index("id")
    ids, _ = id_column(table, [row[place] for row in rows], column=str(found["id"]))
    return frame.with_columns(ids.cast(pl.String))
