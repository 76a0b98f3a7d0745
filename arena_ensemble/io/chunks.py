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
from .ids import check_unique, checked_id, ids_of_part, whole_ids
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
    numbers: tuple[int, ...] = ()
    """the rows' numbers in the file, where they do not follow one another"""


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
            given = [row[0] for row in batch]
            parts.append(ids_of_part(self.table, given, whole=self.whole_ids, first_row=first))
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
        numbers = chunk.numbers or range(chunk.first_row, chunk.first_row + chunk.rows)
        for number, row in zip(numbers, self._cells(chunk), strict=True):
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
            raise InputError(bad_rows(self.table.name, problems, bad, f"{numbers[0]:,} to {numbers[-1]:,}"))
        frame, _ = frame_of(good, [None] * len(good))
        frame = frame.insert_column(
            0, ids_of_part(self.table, ids, whole=self.whole_ids, first_row=chunk.first_row)
        )
        if judged and turns:
            frame, _ = judged_turns(frame, turns)
        return Battles(frame.select("id", "prompt", "response_a", "response_b", "outcome"))

    @property
    def _columns(self) -> list[str]:
        """Columns of the file in the order of a row's cells: id, judged turn, fields."""
        lead = [name for name in (self.found.id_column, self.found.turn_column) if name is not None]
        return [*lead, *self.found.fields.values()]

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
            yield from self._decoded(chunk.content, chunk.numbers or range(chunk.first_row, 1 << 62))
        else:
            yield from chunk.content

    def id_cells(self, chunk: RawChunk) -> list[Any]:
        """The cells of a chunk's ids, as they are written.

        Raises
        ------
        InputError
            A line of JSON that is cut off.
        """
        if self.found.id_column is None:
            return list(range(chunk.first_row, chunk.first_row + chunk.rows))
        if isinstance(chunk.content, pl.DataFrame):
            return chunk.content[self.found.id_column].to_list()
        return [row[0] for row in self._cells(chunk)]

    def picked(self, chunk: RawChunk, places: Sequence[int]) -> RawChunk:
        """Some rows of a chunk, ``places`` from 0 on, in order."""
        numbers = tuple(chunk.first_row + place for place in places)
        content = chunk.content
        if isinstance(content, pl.DataFrame):
            content = content[list(places)]
        elif isinstance(content, bytes):
            lines = io.BytesIO(content).readlines()
            content = b"".join(lines[place] for place in places)
        else:
            content = [content[place] for place in places]
        return RawChunk(chunk.number, numbers[0], len(numbers), content, numbers)

    def _decoded(self, content: bytes, numbers: Sequence[int]) -> Iterator[Row]:
        name, columns = self.table.name, self._columns
        for number, line in zip(numbers, io.BytesIO(content), strict=False):
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
    whole = found.id_column is None or whole_ids(table, found.id_column, HEAD_ROWS)
    return BattleChunks(table, found, rows, whole)
