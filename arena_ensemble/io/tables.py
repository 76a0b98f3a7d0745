"""Files as rows of cells: CSV, JSON lines and parquet, plain, gzipped or zstandard.

What a file is, is read from its first bytes and never from its name. Rows are counted from 1 at the
first row of data; a message names the row and, where it can, the line of the file. CSV goes through
Python's ``csv`` in strict mode rather than a faster parser: it stops at an unclosed quote instead of
guessing, and its count of rows is the one every other tool agrees on.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import stat
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import polars as pl

from ..errors import InputError
from .zstd import open_zstd

BATCH_ROWS: Final = 4096
MAX_CELL_CHARS: Final = 1 << 24
"""Longest cell or line that is read, in characters; a longer one is nearly always an unclosed quote."""
_SNIFF_BYTES: Final = 1 << 16
_BOMB_BYTES: Final = 1 << 30
_BOMB_RATIO: Final = 250
"""Text compresses 3 to 20 times; past 1 GiB and this ratio a compressed file is taken for a bomb."""

Row = Sequence[Any]


@dataclass(frozen=True)
class Table:
    """A readable file: its kind, compression and column names, before any row is read."""

    path: Path
    kind: str
    """``csv``, ``jsonl`` or ``parquet``"""
    compression: str
    """``gzip``, ``zstd`` or empty"""
    columns: tuple[str, ...]
    isolated: bool = False
    """whether parquet is read in another process first"""

    @property
    def name(self) -> str:
        """The file's name, as messages show it."""
        return self.path.name

    def batches(self, columns: Sequence[str]) -> Iterator[list[Row]]:
        """Rows of the given columns, at most ``BATCH_ROWS`` at a time, in file order.

        Cells of CSV are strings; those of JSON lines and parquet are Python values, None where absent.

        Raises
        ------
        InputError
            The file is cut off, not UTF-8, or a row has another number of cells than the header.
        """
        with _explained(self.path):
            if self.kind == "parquet":
                if self.isolated:
                    _try_parquet(self.path, columns)
                # glob: a name such as train[1].parquet is a name and no pattern
                frame = pl.read_parquet(self.path, columns=list(dict.fromkeys(columns)), glob=False)
                for part in frame.iter_slices(BATCH_ROWS):
                    yield list(zip(*(part[name].to_list() for name in columns), strict=True))
                return
            rows = self._csv_rows(columns) if self.kind == "csv" else self._json_rows(columns)
            batch: list[Row] = []
            for row in rows:
                batch.append(row)
                if len(batch) == BATCH_ROWS:
                    yield batch
                    batch = []
            if batch:
                yield batch

    def _csv_rows(self, columns: Sequence[str]) -> Iterator[Row]:
        places = [self.columns.index(name) for name in columns]
        width = len(self.columns)
        with _text(self.path, self.compression) as text, _wide_cells():
            reader = csv.reader(text, strict=True)
            number = 0
            try:
                filled = (
                    cells for cells in reader if cells
                )  # a blank line is no row, as in every CSV reader
                next(filled)
                for cells in filled:
                    number += 1
                    if len(cells) != width:
                        raise InputError(
                            f"{self.name} row {number}{self._id_of(cells)}: {len(cells)} cells, the header "
                            f"has {width}; an unquoted comma or a stray quote at line {reader.line_num}"
                        )
                    yield [cells[place] for place in places]
            except csv.Error as error:
                raise InputError(
                    f"{self.name} row {number + 1} (line {reader.line_num}): {_csv_reason(error)}"
                ) from None
            except UnicodeDecodeError as error:
                raise InputError(_where_not_utf8(self.path, self.compression, error)) from None

    def _id_of(self, cells: Sequence[str]) -> str:
        place = self.columns.index("id") if "id" in self.columns else len(cells)
        return f" (id {cells[place][:40]})" if place < len(cells) else ""

    def _json_rows(self, columns: Sequence[str]) -> Iterator[Row]:
        for number, record in _records(self.path, self.compression):
            if not isinstance(record, dict):
                raise InputError(
                    f"{self.name} row {number}: a JSON {type(record).__name__}, expected an object"
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
    with _explained(path):
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path} is a folder; give the file in it")
        if not stat.S_ISREG(mode):
            raise InputError(f"{path} is not a regular file; save it to disk first")
        with path.open("rb") as file:
            magic = file.read(4)
        if not magic:
            raise InputError(f"{path} is empty")
        if magic == b"PAR1":
            with path.open("rb") as file:
                schema = pl.read_parquet_schema(file)
            return Table(path, "parquet", "", _usable(path, list(schema)), isolated)
        compression = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd"}.get(magic[:2], "")
        with _binary(path, compression) as stream:
            head = stream.read(_SNIFF_BYTES)
        _refuse_binary(path, head)
        first = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        if not first:
            raise InputError(f"{path} is empty")
        if first == b"[":
            raise InputError(f"{path} is one JSON array; write one JSON object per line (JSON lines)")
        if first == b"{":
            return Table(path, "jsonl", compression, _usable(path, _json_columns(path, compression)))
        return Table(path, "csv", compression, _usable(path, _csv_columns(path, compression)))


def _csv_columns(path: Path, compression: str) -> list[str]:
    with _text(path, compression) as text, _wide_cells():
        reader = csv.reader(text, strict=True)
        try:
            header = next((cells for cells in reader if cells), [])
        except csv.Error as error:
            raise InputError(f"{path.name} header: {_csv_reason(error)}") from None
        except UnicodeDecodeError as error:
            raise InputError(_where_not_utf8(path, compression, error)) from None
    header = [name.strip() for name in header]
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise InputError(f"{path.name} header: one column {header[0][:60]!r}; separate the columns by commas")
    return header


def _json_columns(path: Path, compression: str) -> list[str]:
    names: dict[str, None] = {}
    for number, record in _records(path, compression):
        if isinstance(record, dict):
            names.update(dict.fromkeys(record))
        if number >= 100:
            break
    return list(names)


def _records(path: Path, compression: str) -> Iterator[tuple[int, Any]]:
    """Numbered JSON values, one a line; blank lines are skipped."""
    number = 0
    with _text(path, compression) as text:
        try:
            while line := text.readline(MAX_CELL_CHARS * 4):
                if line.isspace():
                    continue
                number += 1
                if len(line) == MAX_CELL_CHARS * 4:
                    raise InputError(
                        f"{path.name} row {number}: a line of over {MAX_CELL_CHARS * 4:,} characters"
                    )
                try:
                    yield number, json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise InputError(
                        f"{path.name} row {number}: not one whole JSON object ({error})"
                    ) from None
        except UnicodeDecodeError as error:
            raise InputError(_where_not_utf8(path, compression, error)) from None


def _usable(path: Path, names: list[str]) -> tuple[str, ...]:
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise InputError(f"{path.name} header: the column {repeated[0]!r} occurs twice")
    if not any(names):
        raise InputError(f"{path.name} header: no column names")
    return tuple(names)


def _refuse_binary(path: Path, head: bytes) -> None:
    wide = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00": "UTF-32"}.get(head[:2])
    if wide is None and b"\x00" in head and head[1:2] == b"\x00":
        wide = "UTF-16"
    if wide:
        raise InputError(f"{path} looks like {wide} text; save it as UTF-8")
    if b"\x00" in head:
        raise InputError(
            f"{path} is binary (a NUL byte at {head.index(0)}); expected CSV, JSON lines or parquet"
        )
    control = sum(head.count(code) for code in (*range(1, 9), *range(14, 27)))
    if control * 20 > len(head):
        raise InputError(f"{path} is binary; expected CSV, JSON lines or parquet")


def _where_not_utf8(path: Path, compression: str, error: UnicodeDecodeError) -> str:
    """Name the row of the first byte that is not UTF-8, by a second, tolerant reading."""
    byte = error.object[error.start]
    remedy = "save the file as UTF-8 (bytes like this are common in Latin-1 and Windows-1252)"
    with _text(path, compression, errors="surrogateescape") as text, _wide_cells():
        reader = csv.reader(text)
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
        return f"a cell of over {MAX_CELL_CHARS:,} characters; a quote is probably not closed"
    if "unexpected end of data" in text:
        return "the file ends inside a quoted cell; it is cut off or a quote is not closed"
    return f"{text}; a quote inside a cell must be doubled"


def _try_parquet(path: Path, columns: Sequence[str]) -> None:
    """Read a parquet file in another process first.

    polars ends the process on some damaged pages (it asks for 2**61 bytes, and Rust aborts where that
    fails): seen twice in 100,000 damaged files. No caller can catch that, so the risk is taken elsewhere.
    """
    program = "import sys, polars; polars.read_parquet(sys.argv[1], columns=sys.argv[2:], glob=False)"
    quiet = subprocess.DEVNULL
    command = [sys.executable, "-P", "-c", program, str(path.absolute()), *dict.fromkeys(columns)]
    if subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, check=False).returncode < 0:
        raise InputError(f"{path} is no whole parquet file (reading it ends the reader); fetch it again")


@contextmanager
def _binary(path: Path, compression: str) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        if compression == "gzip":
            limit = max(_BOMB_BYTES, _BOMB_RATIO * path.stat().st_size)
            with gzip.GzipFile(fileobj=file) as plain:
                yield io.BufferedReader(_Limited(plain, limit, path), _SNIFF_BYTES)
        elif compression == "zstd":
            limit = max(_BOMB_BYTES, _BOMB_RATIO * path.stat().st_size)
            yield io.BufferedReader(_Limited(open_zstd(file), limit, path), _SNIFF_BYTES)
        else:
            yield file


class _Limited(io.RawIOBase):
    """A stream that refuses to swell past a limit."""

    def __init__(self, inner: gzip.GzipFile | io.RawIOBase, limit: int, path: Path) -> None:
        self._inner, self._left, self._path = inner, limit, path

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._inner.read(len(buffer)) or b""
        self._left -= len(data)
        if self._left < 0:
            raise InputError(f"{self._path} swells over {_BOMB_RATIO} times when unpacked; unpack it by hand")
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def _text(path: Path, compression: str, errors: str = "surrogatepass") -> Iterator[IO[str]]:
    # surrogatepass: some writers put a lone surrogate into the file as three bytes; the reader of
    # turns replaces and counts it, as it does the escaped kind
    with _binary(path, compression) as stream:
        yield io.TextIOWrapper(stream, encoding="utf-8-sig", errors=errors, newline="")


@contextmanager
def _wide_cells() -> Iterator[None]:
    """Lift csv's limit of 131,072 characters a cell, and put it back."""
    before = csv.field_size_limit(MAX_CELL_CHARS)
    try:
        yield
    finally:
        csv.field_size_limit(before)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn the operating system's and the parsers' errors into one line for the user."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except PermissionError:
        raise InputError(f"{path} may not be read; check its permissions") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is a broken or cut-off gzip file ({error}); fetch it again") from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InputError(f"{path} is no whole parquet file ({reason}); fetch it again") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
