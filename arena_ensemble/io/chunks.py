"""A battles file of any size, some rows at a time: what one process hands out and another makes into battles.

Which format a file is in, how its cells are written and of which type its ids are is decided from its
first rows, as `load_battles` decides it; the rest is never in memory at once. Outcomes are not read.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import polars as pl

from ..battles import Battles
from ..errors import InputError
from .battles import bad_rows, frame_of, judged_turns
from .cells import BattleRow, RowProblem
from .detection import HEAD_ROWS, Detected, detect
from .ids import check_unique, checked_id, id_column, replaced_surrogates
from .streams import MAX_CELL_CHARS, explained, open_binary
from .tables import BATCH_ROWS, Row, Table, open_table

_SHOWN_PROBLEMS: Final = 3
_MAX_LINE_BYTES: Final = 4 * MAX_CELL_CHARS


@dataclass(frozen=True, eq=False)
class RawChunk:
    """Some rows as they lie in the file: quick to hand to another process, which makes battles of them."""

    number: int
    first_row: int
    """1 = the first row of the file"""
    rows: int
    content: pl.DataFrame | bytes | list[Row]
    """columns of parquet, lines of JSON, or cells"""


@dataclass(frozen=True)
class BattleChunks:
    """A battles file and what was decided from its first rows; small, and can be sent to other processes."""

    table: Table
    found: Detected
    rows: int
    """rows of a chunk; the last holds what is left"""
    whole_ids: bool
    """whether the ids are integers"""

    def raw(self) -> Iterator[RawChunk]:
        """The file's rows in order, ``rows`` at a time; a chunk or two are in memory.

        Raises
        ------
        InputError
            The file is cut off or changes under the reader, or a line is no text.
        """
        first = 1
        for number, (rows, content) in enumerate(self._contents()):
            yield RawChunk(number, first, rows, content)
            first += rows
        if first == 1:
            raise InputError(f"{self.table.path} has a header but no rows; fetch it again")

    def ids(self) -> pl.Series:
        """The ids of all rows in order, which alone are read: 8 bytes a row where they are integers.

        Raises
        ------
        InputError
            As :meth:`battles`, of ids, or one repeats.
        """
        column = self.found.id_column
        if column is None:
            return pl.Series("id", range(1, 1 + sum(chunk.rows for chunk in self.raw())), dtype=pl.Int64)
        parts: list[pl.Series] = []
        first = 1
        for batch in self.table.batches([column]):
            parts.append(self._ids([row[0] for row in batch], first))
            first += len(batch)
        if not parts:
            raise InputError(f"{self.table.path} has a header but no rows; fetch it again")
        found = pl.concat(parts, rechunk=True)
        if found.n_unique() < len(found):
            check_unique(self.table.name, found.to_list())
        return found

    def battles(self, chunk: RawChunk) -> Battles:
        """The battles of a chunk, without outcomes, in the file's order.

        Raises
        ------
        InputError
            Rows cannot be used, or an id is of another type than those of the first rows; named by row.
        """
        found, columns = self.found, self._columns
        lead = len(columns) - len(found.fields)
        judged = "judge" in (name.lower() for name in self.table.columns)
        good: list[BattleRow] = []
        ids: list[Any] = []
        turns: list[Any] = []
        problems: list[str] = []
        bad = 0
        for number, row in enumerate(self._cells(chunk), start=chunk.first_row):
            name = number if found.id_column is None else row[0]
            try:
                ids.append(checked_id(name))
                good.append(found.form.read(dict(zip(found.fields, row[lead:], strict=True)), found.layout))
            except RowProblem as problem:
                bad += 1
                if len(problems) < _SHOWN_PROBLEMS:
                    problems.append(f"row {number} (id {str(name)[:60]}): {problem}")
            if found.turn_column is not None:
                turns.append(row[lead - 1])
        if bad:
            last = chunk.first_row + chunk.rows - 1
            raise InputError(bad_rows(self.table.name, problems, bad, f"{chunk.first_row:,} to {last:,}"))
        frame, _ = frame_of(good, [None] * len(good))
        frame = frame.insert_column(0, self._ids(ids, chunk.first_row))
        if judged and turns:
            frame, _ = judged_turns(frame, turns)
        return Battles(frame.select("id", "prompt", "response_a", "response_b", "outcome"))

    @property
    def _columns(self) -> list[str]:
        """Columns of the file in the order of a row's cells: id, judged turn, fields."""
        lead = [name for name in (self.found.id_column, self.found.turn_column) if name is not None]
        return [*lead, *self.found.fields.values()]

    def _ids(self, ids: list[Any], first_row: int) -> pl.Series:
        if not self.whole_ids and self.table.kind == "csv":
            check_unique(self.table.name, ids, first_row=first_row)
            return pl.Series("id", [replaced_surrogates(value) for value in ids], dtype=pl.String)
        series, _ = id_column(self.table, ids, first_row=first_row)
        if (series.dtype == pl.Int64) != self.whole_ids:
            expected, found = ("integers", "strings") if self.whole_ids else ("strings", "integers")
            raise InputError(
                f"{self.table.name} rows {first_row:,} to {first_row + len(ids) - 1:,}: ids are {found}, "
                f"those of the first {HEAD_ROWS:,} rows are {expected}; use one type for all ids"
            )
        return series

    def _contents(self) -> Iterator[tuple[int, pl.DataFrame | bytes | list[Row]]]:
        with explained(self.table.path):
            if self.table.kind == "parquet":
                for frame in self.table.frames(self._columns, self.rows):
                    yield frame.height, frame
            elif self.table.kind == "jsonl":
                yield from self._lines()
            else:
                rows = self.table.cells(self._columns)
                while batch := list(islice(rows, self.rows)):
                    yield len(batch), batch

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Lines of JSON, undecoded: decoding is most of the work of reading, and can be done elsewhere."""
        with open_binary(self.table.path, self.table.compression) as stream:
            lines: list[bytes] = []
            row = 0
            while line := stream.readline(_MAX_LINE_BYTES):
                line = line.removeprefix(b"\xef\xbb\xbf") if not row else line
                if line.isspace():
                    continue
                row += 1
                if len(line) == _MAX_LINE_BYTES:
                    raise InputError(
                        f"{self.table.name} row {row}: a line of over {MAX_CELL_CHARS:,} characters; write "
                        "one JSON object a line"
                    )
                lines.append(line if line.endswith(b"\n") else line + b"\n")
                if len(lines) == self.rows:
                    yield len(lines), b"".join(lines)
                    lines = []
            if lines:
                yield len(lines), b"".join(lines)

    def _cells(self, chunk: RawChunk) -> Iterator[Row]:
        columns = self._columns
        if isinstance(chunk.content, pl.DataFrame):
            for part in chunk.content.iter_slices(BATCH_ROWS):
                yield from zip(*(part[name].to_list() for name in columns), strict=True)
        elif isinstance(chunk.content, bytes):
            yield from self._decoded(chunk.content, chunk.first_row)
        else:
            yield from chunk.content

    def _decoded(self, content: bytes, first_row: int) -> Iterator[Row]:
        name, columns = self.table.name, self._columns
        for number, line in enumerate(io.BytesIO(content), start=first_row):
            try:
                record = json.loads(line.decode("utf-8", "surrogatepass"))
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{name} row {number}: not one whole JSON object in UTF-8 ({error}); the file is cut off "
                    "or was edited: fetch it again"
                ) from None
            if not isinstance(record, dict):
                raise InputError(
                    f"{name} row {number}: a JSON {type(record).__name__}, expected an object; write each "
                    'row as {"column": value, …}'
                )
            yield [record.get(column) for column in columns]


def open_chunks(path: Path, *, format: str | None = None, rows: int = 8192) -> BattleChunks:
    """Recognise a battles file and decide how it is read, from its first rows.

    Parameters
    ----------
    path
        CSV, JSON lines or parquet of any size, plain or packed (parquet and plain JSON lines are quickest;
        a JSON array is decoded by the process that hands out the rows).
    format
        A key of ``FORMATS``; by default decided from the columns and the first rows.
    rows
        Rows of a chunk.

    Raises
    ------
    InputError
        The file cannot be read or fits no format, or ``rows`` is under 1.
    """
    if rows < 1:
        raise InputError(f"chunks of {rows} rows: give at least 1")
    table = open_table(Path(path))
    found = detect(table, format)
    return BattleChunks(table, found, rows, _whole_ids(table, found))


def _whole_ids(table: Table, found: Detected) -> bool:
    """Whether the ids are integers: by the column's type in parquet, by the first rows elsewhere."""
    if found.id_column is None:
        return True
    head: Sequence[Row] = table.head([found.id_column], HEAD_ROWS)
    if not head:
        return True
    series, _ = id_column(table, [row[0] for row in head], column=found.id_column, unique=False)
    return series.dtype == pl.Int64
