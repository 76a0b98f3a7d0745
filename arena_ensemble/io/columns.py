"""A few columns of any table, as text: groups and other things that a user keeps beside the ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    parts: list[pl.DataFrame] = []
    ids: list[Any] = []
    place = [*columns].index("id") if "id" in columns else None
    for batch in table.batches([str(column) for column in found.values()]):
        text = [[None if cell is None or cell == "" else str(cell) for cell in row] for row in batch]
        parts.append(pl.DataFrame(text, schema=dict.fromkeys(columns, pl.String), orient="row"))
        if place is not None:
            ids += [row[place] for row in batch]
    if not parts:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    frame = pl.concat(parts, rechunk=True)
    if place is None:
        return frame
    series, _ = id_column(table, ids, column=str(found["id"]))
    return frame.with_columns(series.cast(pl.String))
