"""The event log of a workspace, ``oof/events.jsonl``: a JSON object per line, written as things happen.

Whoever holds the workspace appends; anybody may read at any time. A kill can tear the last line: it is
passed over, and the next run starts a new line after it. A log never ends a run: where it cannot be written,
a warning says so once.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from ..errors import ArenaError
from . import atomic
from .workspace import Workspace

log = logging.getLogger(__name__)

LOG: Final = "events.jsonl"
MOST_BYTES: Final = 4_000_000
"""of the file; past it, lines of progress go, then the oldest lines"""
PROGRESS: Final = "progress"
"""the ``kind`` of the lines that may be thinned out"""


def log_path(workspace: Workspace) -> Path:
    """Where a workspace's log lies."""
    return workspace.oof / LOG


class RunLog:
    """Appends to a log. Safe to call from several threads of one process.

    Parameters
    ----------
    path
        The file; its folder is made with the first line.
    most_bytes
        When the file is longer, it is thinned out to at most half of that.
    """

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self._path, self._most = path, most_bytes
        self._stream: IO[bytes] | None = None
        self._size = 0
        self._works = True
        self._lock = threading.Lock()

    def write(self, record: Mapping[str, Any]) -> None:
        """One line: the time in UTC, and of ``record`` what is not None."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        known = {name: value for name, value in record.items() if value is not None}
        line = json.dumps({"time": time, **known}).encode() + b"\n"
        with self._lock:
            try:
                self._append(line)
            except (OSError, ArenaError) as error:
                if self._works:
                    log.warning("%s is not written: %s", self._path, error)
                self._works = False

    def close(self) -> None:
        """Close the file; a later line opens it again."""
        with self._lock:
            if self._stream is not None:
                self._stream.close()
                self._stream = None

    def _append(self, line: bytes) -> None:
        if self._stream is None:
            self._open()
        assert self._stream is not None
        self._stream.write(line)
        self._size += len(line)
        if self._size > self._most:
            self._stream.close()
            self._stream = None
            atomic.write_bytes(self._path, thinned(self._path.read_bytes(), self._most // 2))

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self._path.open("ab", buffering=0)
        self._size = self._stream.tell()
        with self._path.open("rb") as held:
            if self._size:
                held.seek(-1, 2)
            if held.read(1) not in (b"", b"\n"):  # torn by a kill
                self._size += self._stream.write(b"\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """The log's records, oldest first; lines that are no JSON object are passed over. Empty without a file.

    Raises
    ------
    ArenaError
        The file cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ArenaError(
            f"cannot read {path}: {error.strerror or error}; remove it, or mend its rights"
        ) from None
    records = (_record(line) for line in content.splitlines())
    return [record for record in records if record is not None]


def thinned(content: bytes, most_bytes: int) -> bytes:
    """A log of at most so many bytes: first every second line of progress goes, in the end the oldest."""
    lines = [(line, record) for line in content.splitlines(keepends=True) if (record := _record(line))]
    kept = [(line, record.get("kind") == PROGRESS) for line, record in lines]
    while sum(len(line) for line, _ in kept) > most_bytes and any(thin for _, thin in kept):
        places = [k for k, (_, thin) in enumerate(kept) if thin]
        gone = set(places[::2])
        kept = [one for k, one in enumerate(kept) if k not in gone]
    size, first = sum(len(line) for line, _ in kept), 0
    while size > most_bytes:
        size -= len(kept[first][0])
        first += 1
    return b"".join(line for line, _ in kept[first:])


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
