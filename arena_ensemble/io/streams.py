"""Bytes and text of a file, plain or packed by gzip, zstandard or zip, within limits of size.

How a file is packed is read from its first bytes and never from its name.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import polars as pl

from ..errors import InputError
from .zstd import open_zstd

MAX_CELL_CHARS: Final = 1 << 24
"""Longest cell or line that is read, in characters; a longer one is nearly always an unclosed quote."""
SNIFF_BYTES: Final = 1 << 16
_BOMB_BYTES: Final = 1 << 30
_BOMB_RATIO: Final = 250
"""Text compresses 3 to 20 times; past 1 GiB and this ratio a compressed file is taken for a bomb."""
_PACKED: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd", b"PK": "zip"}
_SHOWN_FILES: Final = 6


def packing(magic: bytes) -> str:
    """``gzip``, ``zstd``, ``zip`` or empty, from the first four bytes of a file."""
    found = _PACKED.get(magic[:2], "")
    return "" if found == "zip" and magic[2:4] not in (b"\x03\x04", b"\x05\x06") else found


@contextmanager
def open_binary(path: Path, compression: str) -> Iterator[IO[bytes]]:
    """The unpacked bytes as a stream that refuses to swell past a limit."""
    with path.open("rb") as file:
        if not compression:
            yield file
            return
        limit = max(_BOMB_BYTES, _BOMB_RATIO * path.stat().st_size)
        if compression == "gzip":
            with gzip.GzipFile(fileobj=file) as plain:
                yield io.BufferedReader(_Limited(plain, limit, path), SNIFF_BYTES)
        elif compression == "zstd":
            yield io.BufferedReader(_Limited(open_zstd(file), limit, path), SNIFF_BYTES)
        else:
            with _unzipped(file, path) as inner:
                yield io.BufferedReader(_Limited(inner, limit, path), SNIFF_BYTES)


@contextmanager
def _unzipped(file: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    """The one file of a zip archive."""
    archive = open_zip(file)
    with archive:
        info = _only_file(archive, path)
        try:
            inner = archive.open(info)
        except (NotImplementedError, UnicodeDecodeError, OSError, RuntimeError) as error:
            raise zipfile.BadZipFile(str(error)) from None
        with inner:
            yield inner


def open_zip(file: IO[bytes]) -> zipfile.ZipFile:
    """A zip archive whose directory can be read.

    Raises
    ------
    zipfile.BadZipFile
        It cannot.
    """
    try:
        archive = zipfile.ZipFile(file)
        if any(not info.filename for info in archive.infolist()):
            raise zipfile.BadZipFile("a file without a name")
    except zipfile.BadZipFile:
        raise
    except Exception as error:  # a damaged directory ends in errors of every kind
        raise zipfile.BadZipFile(str(error)) from None
    return archive


def _only_file(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    """The one file of a zip archive; what macOS adds does not count."""
    held = [
        info
        for info in archive.infolist()
        if not info.is_dir()
        and not info.filename.startswith("__MACOSX/")
        and ".DS_Store" not in info.filename
    ]
    if not held:
        raise InputError(f"{path} is a zip archive without a file; fetch it again")
    if any(info.filename.startswith("xl/") for info in held):
        raise InputError(f"{path} is an Excel workbook; save it as CSV (UTF-8)")
    if len(held) > 1:
        names = ", ".join(info.filename[:60] for info in held[:_SHOWN_FILES])
        more = f" and {len(held) - _SHOWN_FILES} more" if len(held) > _SHOWN_FILES else ""
        raise InputError(f"{path} is a zip archive of {len(held)} files: {names}{more}; unpack it, give one")
    if held[0].flag_bits & 1:
        raise InputError(f"{path} is a zip archive with a password; unpack it by hand")
    return held[0]


class _Limited(io.RawIOBase):
    """A stream that refuses to swell past a limit."""

    def __init__(self, inner: IO[bytes] | gzip.GzipFile | io.RawIOBase, limit: int, path: Path) -> None:
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
def open_text(path: Path, compression: str, errors: str = "surrogatepass") -> Iterator[IO[str]]:
    """The unpacked text, UTF-8 with or without a byte-order mark."""
    # surrogatepass: some writers put a lone surrogate into the file as three bytes; the reader of
    # turns replaces and counts it, as it does the escaped kind
    with open_binary(path, compression) as stream:
        yield io.TextIOWrapper(stream, encoding="utf-8-sig", errors=errors, newline="")


def refuse_binary(path: Path, head: bytes) -> None:
    """Stop at the first bytes of anything but text.

    Raises
    ------
    InputError
        UTF-16, UTF-32, a parquet file within another file, or binary data.
    """
    wide = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00": "UTF-32"}.get(head[:2])
    if wide is None and b"\x00" in head and head[1:2] == b"\x00":
        wide = "UTF-16"
    if wide:
        raise InputError(f"{path} looks like {wide} text; save it as UTF-8")
    if head[:4] == b"PAR1":
        raise InputError(f"{path} is a packed parquet file; unpack it by hand (parquet packs its own pages)")
    remedy = "save it as CSV, JSON lines or parquet"
    if b"\x00" in head:
        raise InputError(f"{path} is binary (a NUL byte at {head.index(0)}); {remedy}")
    control = sum(head.count(code) for code in (*range(1, 9), *range(14, 27)))
    if control * 20 > len(head):
        raise InputError(f"{path} is binary; {remedy}")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's and the parsers' errors into one line for the user."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except PermissionError:
        raise InputError(f"{path} may not be read; check its permissions") from None
    except zipfile.BadZipFile as error:
        raise InputError(f"{path} is a broken or cut-off zip archive ({error}); fetch it again") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path} is a broken or cut-off gzip or zip file ({error}); fetch it again"
        ) from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InputError(f"{path} is no whole parquet file ({reason}); fetch it again") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}; copy it to another disk"
        ) from None
