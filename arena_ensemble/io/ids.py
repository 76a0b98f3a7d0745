"""Ids as they are written, integers or strings; whole floats are integers that lost their type."""

from __future__ import annotations

import math
import re
from typing import Any, Final

import polars as pl

from ..errors import InputError
from .cells import RowProblem
from .tables import Table

_WHOLE_NUMBER: Final = re.compile(r"-?(0|[1-9]\d{0,18})\Z")
_WHOLE_FLOAT: Final = re.compile(r"-?(0|[1-9]\d{0,15})\.0+\Z", re.ASCII)
_FLOAT: Final = re.compile(r"-?\d+(\.\d*([eE][+-]?\d+)?|[eE]\+\d+)\Z")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_INT64: Final = 1 << 63
EXACT_FLOAT: Final = 1 << 53
"""below this every whole number has a float64 of its own"""
EXACT_FLOAT32: Final = 1 << 24
FLOATS_NOTE: Final = "ids written as whole floats (7.0) were read as integers"


def checked_id(value: Any) -> Any:
    """An id as it stands.

    Raises
    ------
    RowProblem
        Empty, or neither an integer, a string nor a whole float.
    """
    if type(value) is str:
        if value:
            return value
        raise RowProblem("the id is empty; give every row an id")
    if type(value) is int:
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise RowProblem("the id is empty; give every row an id")
    if isinstance(value, float):
        if value.is_integer():
            return value
        raise RowProblem("the id is a float, expected an integer or a string; save the ids as integers")
    raise RowProblem(f"the id is a {type(value).__name__}, expected an integer or a string; save it as one")


def id_column(
    table: Table, ids: list[Any], *, column: str = "id", unique: bool = True, first_row: int = 1
) -> tuple[pl.Series, str | None]:
    """Ids as one Series, Int64 or String, and a note where whole floats were read as integers.

    Raises
    ------
    InputError
        An id is empty or of another type than the rest, too large a float, or (``unique``) repeats; named
        by row.
    """
    for row, value in enumerate(ids, start=first_row):
        try:
            checked_id(value)
        except RowProblem as problem:
            raise InputError(f"{table.name} row {row} (id {value}): {problem}") from None
    limit = EXACT_FLOAT32 if column in table.float32 else EXACT_FLOAT
    ids, note = _from_floats(table, ids, limit, first_row)
    whole = all(type(value) is int and -_INT64 <= value < _INT64 for value in ids)
    if not whole and table.kind == "csv":
        ids, whole = _from_text(table.name, ids, first_row)
    if not whole:
        row = next((row for row, value in enumerate(ids) if not isinstance(value, str)), -1)
        if row >= 0:
            kind = (
                "an integer among strings" if any(isinstance(v, str) for v in ids) else "too large an integer"
            )
            raise InputError(
                f"{table.name} row {row + first_row} (id {ids[row]}): the id is {kind}; use one type for all "
                "ids"
            )
    if unique:
        check_unique(table.name, ids, first_row=first_row)
    dtype: Any = pl.Int64 if whole else pl.String
    return pl.Series("id", ids if whole else [replaced_surrogates(value) for value in ids], dtype=dtype), note


def ids_of_part(
    table: Table, ids: list[Any], *, whole: bool, first_row: int, column: str = "id"
) -> pl.Series:
    """As :func:`id_column`, of some rows of a file whose ids are integers, or not, by its first rows.

    Raises
    ------
    InputError
        As there, or ids of the other type.
    """
    if not whole and table.kind == "csv":
        check_unique(table.name, ids, first_row=first_row)
        return pl.Series("id", [replaced_surrogates(value) for value in ids], dtype=pl.String)
    series, _ = id_column(table, ids, column=column, first_row=first_row)
    if (series.dtype == pl.Int64) != whole:
        expected, found = ("integers", "strings") if whole else ("strings", "integers")
        raise InputError(
            f"{table.name} rows {first_row:,} to {first_row + len(ids) - 1:,}: ids are {found}, those of the "
            f"first rows are {expected}; use one type for all ids"
        )
    return series


def whole_ids(table: Table, column: str, rows: int) -> bool:
    """Whether ids are integers, by a file's first rows."""
    head = table.head([column], rows)
    if not head:
        return True
    series, _ = id_column(table, [row[0] for row in head], column=column, unique=False)
    return series.dtype == pl.Int64


def check_unique(file: str, ids: list[Any], *, remedy: str = "", first_row: int = 1) -> None:
    """Stop at the first id that repeats.

    Raises
    ------
    InputError
        Naming both rows and how many repeat.
    """
    if len(set(ids)) == len(ids):
        return
    seen: dict[Any, int] = {}
    repeats = [
        (row, value) for row, value in enumerate(ids, start=first_row) if seen.setdefault(value, row) != row
    ]
    row, value = repeats[0]
    more = f" ({len(repeats)} rows repeat an id)" if len(repeats) > 1 else ""
    remedy = remedy or "remove the doubled rows, or number the rows anew"
    raise InputError(
        f"{file} row {row} (id {value}): the id repeats row {seen[value]}; ids must be unique: {remedy}{more}"
    )


def _from_floats(table: Table, ids: list[Any], limit: int, first_row: int) -> tuple[list[Any], str | None]:
    """Whole floats as integers, where all ids are numbers, or texts of whole numbers with ``.0``."""
    if any(type(value) is float for value in ids):
        for row, value in enumerate(ids, start=first_row):
            if type(value) is float and abs(value) >= limit:
                raise InputError(
                    f"{table.name} row {row} (id {value:.0f}): the id is a float beyond {limit:,}, where "
                    "neighbours fall "
                    "together; save the ids as integers or strings"
                )
        return [int(value) if type(value) is float else value for value in ids], FLOATS_NOTE
    if table.kind != "csv" or not any(_WHOLE_FLOAT.match(value) for value in ids):
        return ids, None  # only in CSV are numbers texts
    if all(_WHOLE_FLOAT.match(value) or _WHOLE_NUMBER.match(value) for value in ids):
        found = [int(value.partition(".")[0]) for value in ids]
        if all(abs(value) < limit for value in found):
            return found, FLOATS_NOTE
    return ids, None


def _from_text(file: str, ids: list[Any], first_row: int) -> tuple[list[Any], bool]:
    """Ids of CSV, which are texts: integers where every one is a plain whole number."""
    if all(_WHOLE_NUMBER.match(value) and -_INT64 <= int(value) < _INT64 and value != "-0" for value in ids):
        return [int(value) for value in ids], True
    floats = [row for row, value in enumerate(ids) if _FLOAT.match(value)]
    if floats and all(_WHOLE_NUMBER.match(value) or _FLOAT.match(value) for value in ids):
        row = floats[0]
        raise InputError(
            f"{file} row {row + first_row} (id {ids[row]}): the id is a float; another tool re-typed "
            "the ids, write them as the integers or strings that they were"
        )
    return ids, False


def replaced_surrogates(text: str) -> str:
    """The text with surrogate pairs joined and every lone surrogate replaced by U+FFFD."""
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
