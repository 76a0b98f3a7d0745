"""Reading our own files: hashes, JSON and parquet, each damaged one an error with its remedy."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import ArtifactError

if TYPE_CHECKING:
    import polars as pl

_MAX_JSON_BYTES: Final = 16 * 1024 * 1024
_MAX_ROWS: Final = 50_000_000


def digest_bytes(content: bytes) -> str:
    """SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256 of a JSON value, independent of key order."""
    return digest_bytes(json.dumps(value, sort_keys=True, ensure_ascii=False).encode())


def parquet_bytes(frame: pl.DataFrame) -> bytes:
    """A parquet file's content; the same frame gives the same bytes."""
    stream = io.BytesIO()
    frame.write_parquet(stream, compression="zstd", statistics=False)
    return stream.getvalue()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of ours.

    Raises
    ------
    ArtifactError
        The file is truncated, edited into something else, or absurdly large.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ArtifactError(f"{path}: larger than {_MAX_JSON_BYTES} bytes; not loaded")
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: not valid JSON ({error}); remove it and run again") from None
    if not isinstance(value, dict):
        raise ArtifactError(f"{path}: expected a JSON object; remove it and run again")
    return value


def read_content(path: Path) -> bytes:
    """A file's bytes; nothing where there is no file.

    Raises
    ------
    ArtifactError
        It is there and cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from None


def read_table(path: Path, content: bytes) -> pl.DataFrame:
    """A parquet table of ours, from bytes whose hash matched.

    Raises
    ------
    ArtifactError
        It is no whole parquet file, or claims absurdly many rows.
    """
    import polars as pl  # cards alone, which `status` reads, need none

    try:
        rows = pl.scan_parquet(io.BytesIO(content)).select(pl.len()).collect().item()
        if rows > _MAX_ROWS:
            raise ArtifactError(f"{path}: claims {rows:,} rows; not loaded")
        return pl.read_parquet(io.BytesIO(content))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ArtifactError(f"{path}: no whole parquet file ({reason}); remove it and run again") from None
