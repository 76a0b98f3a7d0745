"""Files as rows of cells: CSV, JSON and parquet, plain or packed by gzip, zstandard or zip.

What a file is, is read from its first bytes and never from its name. Rows are counted from 1 at the
first row of data; a message names the row and, where it can, the line of the file. CSV goes through
Python's ``csv`` in strict mode rather than a faster parser: it stops at an unclosed quote instead of
guessing, and its count of rows is the one every other tool agrees on.
"""

from __future__ import annotations

import csv
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import polars as pl

from ..errors import InputError
from .json_rows import json_layout, records
from .streams import MAX_CELL_CHARS, SNIFF_BYTES, explained, open_binary, open_text, packing, refuse_binary

BATCH_ROWS: Final = 4096
_SPAN_ROWS: Final = 1 << 15
"""Rows of parquet decoded at once: a row group of a million is decoded thirty times, not three hundred."""
_DELIMITERS: Final = (",", ";", "\t")
_HEADER_RECORDS: Final = 1000
"""JSON rows that are looked at for names of columns"""

Row = Sequence[Any]


@dataclass(frozen=True)
class Table:
    """A readable file: its kind, compression and column names, before any row is read."""

    path: Path
    kind: str
    """``csv``, ``jsonl``, ``json`` (an array, or a table in one object) or ``parquet``"""
    compression: str
    """``gzip``, ``zstd``, ``zip`` or empty"""
    columns: tuple[str, ...]
    delimiter: str = ","
    """between the cells of CSV: comma, semicolon or tab"""
    layout: str = ""
    """how the rows of JSON are laid out, see :func:`json_rows.json_layout`"""
    float32: tuple[str, ...] = ()
    """parquet columns of 32-bit floats, which hold whole numbers only up to 2**24 exactly"""

    @property
    def name(self) -> str:
        """The file's name, as messages show it."""
        return self.path.name

    def head(self, columns: Sequence[str], rows: int) -> list[Row]:
        """The first rows, to decide how a file is written."""
        with explained(self.path):
            if self.kind == "parquet":
                names = list(dict.fromkeys(columns))
                frame = pl.read_parquet(self.path, columns=names, glob=False, n_rows=rows)
                return list(zip(*(frame[name].to_list() for name in columns), strict=True))
            return list(islice(self._text_rows(columns), rows))

    def batches(self, columns: Sequence[str]) -> Iterator[list[Row]]:
        """Rows of the given columns, at most ``BATCH_ROWS`` at a time, in file order.

        Cells of CSV are strings; those of JSON and parquet are Python values, None where absent.

        Raises
        ------
        InputError
            The file is cut off, not UTF-8, or a row has another number of cells than the header.
        """
        with explained(self.path):
            if self.kind == "parquet":
                for part in self.frames(columns, BATCH_ROWS):
                    yield list(zip(*(part[name].to_list() for name in columns), strict=True))
                return
            rows = self._text_rows(columns)
            while batch := list(islice(rows, BATCH_ROWS)):
                yield batch

    def frames(self, columns: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """The given columns of parquet, exactly ``rows`` rows at a time but for the last, in file order.

        At most 32,768 rows and the row group that they lie in are in memory: polars has its own way to hand
        out batches, but runs a hundred of them ahead of a slow reader.
        """
        # glob: a name such as train[1].parquet is a name and no pattern
        scan = pl.scan_parquet(self.path, glob=False)
        total = int(scan.select(pl.len()).collect().item())
        wanted = scan.select(list(dict.fromkeys(columns)))
        span = max(1, _SPAN_ROWS // rows) * rows
        for start in range(0, total, span):
            yield from wanted.slice(start, span).collect().iter_slices(rows)

    def cells(self, columns: Sequence[str]) -> Iterator[Row]:
        """Rows of CSV or JSON one by one, as :meth:`batches` has them."""
        return self._text_rows(columns)

    def _text_rows(self, columns: Sequence[str]) -> Iterator[Row]:
        try:
            yield from self._csv_rows(columns) if self.kind == "csv" else self._json_rows(columns)
        except UnicodeDecodeError as error:
            raise InputError(_where_not_utf8(self.path, self.compression, self.delimiter, error)) from None

    def _csv_rows(self, columns: Sequence[str]) -> Iterator[Row]:
        places = [self.columns.index(name) for name in columns]
        width = len(self.columns)
        with open_text(self.path, self.compression) as text, _wide_cells():
            reader = csv.reader(text, strict=True, delimiter=self.delimiter)
            number = 0
            try:
                filled = (
                    cells for cells in reader if cells
                )  # a blank line is no row, as in every CSV reader
                next(filled)
                for cells in filled:
                    number += 1
                    if len(cells) != width:
                        mark = {",": "comma", ";": "semicolon", "\t": "tab"}[self.delimiter]
                        raise InputError(
                            f"{self.name} row {number}{self._id_of(cells)}: {len(cells)} cells, the header "
                            f"has {width}; put the cell with an unquoted {mark} or a stray quote at line "
                            f"{reader.line_num} in quotes"
                        )
                    yield [cells[place] for place in places]
            except csv.Error as error:
                raise InputError(
                    f"{self.name} row {number + 1} (line {reader.line_num}): {_csv_reason(error)}"
                ) from None

    def _id_of(self, cells: Sequence[str]) -> str:
        place = self.columns.index("id") if "id" in self.columns else len(cells)
        return f" (id {cells[place][:40]})" if place < len(cells) else ""

    def _json_rows(self, columns: Sequence[str]) -> Iterator[Row]:
        for number, record in records(self.path, self.compression, self.layout):
            if not isinstance(record, dict):
                raise InputError(
                    f"{self.name} row {number}: a JSON {type(record).__name__}, expected an object; write "
                    "each "
                    'row as {"column": value, …}'
                )
            yield [record.get(name) for name in columns]


def open_table(path: Path, *, isolated: bool = False) -> Table:
    """Recognise a file and read its column names.

    Parameters
    ----------
    isolated
        Read a parquet file in another process first. polars ends the process on some damaged pages (2 of
        100,000 damaged files); whoever only wants to know whether a file is whole can afford to read it
        twice.

    Raises
    ------
    InputError
        Missing, a folder, not readable, empty, binary, not UTF-8, or without usable column names.
    """
    path = Path(path)
    with explained(path):
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path} is a folder; give the file in it")
        if not stat.S_ISREG(mode):
            raise InputError(f"{path} is not a regular file; save it to disk first")
        with path.open("rb") as file:
            magic = file.read(4)
        if not magic:
            raise InputError(f"{path} is empty; fetch it again")
        if magic == b"PAR1":
            if isolated:
                _try_parquet(path)
            with path.open("rb") as file:
                schema = pl.read_parquet_schema(file)
            float32 = tuple(name for name, dtype in schema.items() if dtype == pl.Float32)
            return Table(path, "parquet", "", _usable(path, list(schema)), float32=float32)
        compression = packing(magic)
        with open_binary(path, compression) as stream:
            head = stream.read(SNIFF_BYTES)
        refuse_binary(path, head)
        first = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        if not first:
            raise InputError(f"{path} is empty; fetch it again")
        try:
            return _text_table(path, compression, first)
        except UnicodeDecodeError as error:
            raise InputError(_where_not_utf8(path, compression, ",", error)) from None


def _text_table(path: Path, compression: str, first: bytes) -> Table:
    if first not in (b"[", b"{"):
        delimiter, header = _csv_header(path, compression)
        return Table(path, "csv", compression, _usable(path, header), delimiter)
    layout = json_layout(path, compression, first)
    names: dict[str, None] = {}
    for _, record in islice(records(path, compression, layout), _HEADER_RECORDS):
        if isinstance(record, dict):
            names.update(dict.fromkeys(record))
    kind = "jsonl" if layout == "lines" else "json"
    return Table(path, kind, compression, _usable(path, list(names)), layout=layout)


def _csv_header(path: Path, compression: str) -> tuple[str, list[str]]:
    """The delimiter that parts the first line into most names, and the names; a comma where two do alike."""
    headers: dict[str, list[str]] = {}
    problem = ""
    for delimiter in _DELIMITERS:
        with open_text(path, compression) as text, _wide_cells():
            try:
                rows = csv.reader(text, strict=True, delimiter=delimiter)
                header = next((cells for cells in rows if cells), [])
                headers[delimiter] = [name.strip() for name in header]
            except csv.Error as error:
                problem = problem or _csv_reason(error)
    if not headers:
        raise InputError(f"{path.name} header: {problem}")
    delimiter = max(headers, key=lambda mark: len(headers[mark]))
    header = headers[delimiter]
    if len(header) == 1 and "|" in header[0]:
        raise InputError(f"{path.name} header: one column {header[0][:60]!r}; separate the columns by commas")
    return delimiter, header


def _usable(path: Path, names: list[str]) -> tuple[str, ...]:
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise InputError(f"{path.name} header: the column {repeated[0]!r} occurs twice; rename or remove one")
    if not any(names):
        raise InputError(f"{path.name} header: no column names; write them in the first line")
    return tuple(names)


def _where_not_utf8(path: Path, compression: str, delimiter: str, error: UnicodeDecodeError) -> str:
    """Name the row of the first byte that is not UTF-8, by a second, tolerant pass."""
    byte = error.object[error.start]
    remedy = "save the file as UTF-8 (bytes like this are common in Latin-1 and Windows-1252)"
    with open_text(path, compression, errors="surrogateescape") as text, _wide_cells():
        reader = csv.reader(text, delimiter=delimiter)
        for number, cells in enumerate(reader):
            if any("\udc80" <= char <= "\udcff" for cell in cells for char in cell if char > "\ud7ff"):
                where = f"row {number}" if number else "header"
                return (
                    f"{path.name} {where} (line {reader.line_num}): byte 0x{byte:02x} is not UTF-8; {remedy}"
                )
    return f"{path.name}: byte 0x{byte:02x} is not UTF-8; {remedy}"


def _csv_reason(error: csv.Error) -> str:
    text = str(error)
    if "field larger" in text:
        return (
            f"a cell of over {MAX_CELL_CHARS:,} characters; a quote is probably not closed: close it, or put "
            "the cell in quotes"
        )
    if "unexpected end of data" in text:
        return (
            "the file ends inside a quoted cell; it is cut off or a quote is not closed: fetch it again or "
            "close the quote"
        )
    return f"{text}; a quote inside a cell must be doubled: write it twice"


def _try_parquet(path: Path) -> None:
    """Read a parquet file in another process first.

    polars ends the process on some damaged pages (it asks for 2**61 bytes, and Rust aborts where that
    fails): seen twice in 100,000 damaged files. No caller can catch that, so the risk is taken elsewhere.
    """
    program = "import sys, polars; polars.read_parquet(sys.argv[1], glob=False)"
    quiet = subprocess.DEVNULL
    command = [sys.executable, "-P", "-c", program, str(path.absolute())]
    if subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, check=False).returncode < 0:
        raise InputError(f"{path} is no whole parquet file (reading it ends the reader); fetch it again")


@contextmanager
def _wide_cells() -> Iterator[None]:
    """Lift csv's limit of 131,072 characters a cell, and put it back."""
    before = csv.field_size_limit(MAX_CELL_CHARS)
    try:
        yield
    finally:
        csv.field_size_limit(before)
