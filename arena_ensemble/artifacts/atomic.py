"""Writes that are whole or absent: temporary name, flush to disk, rename; a signal waits until then.

What lies under a temporary name is never read, and is swept away by the next run that holds the
workspace.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

from ..errors import ArenaError

_DEFERRED: Final = (signal.SIGINT, signal.SIGTERM)
CARD: Final = "card.json"
_OLD: Final = re.compile(r"\.(.+)\.old-\d+\Z")
_LITTER: Final = re.compile(r"\..+\.(tmp|old)-\d+\Z")
_depth = 0


@contextlib.contextmanager
def reraise_os_errors(path: Path) -> Iterator[None]:
    """Turn what the disk says into one clear error."""
    try:
        yield
    except OSError as error:
        raise ArenaError(
            f"cannot write {path}: {error.strerror or error}; nothing written earlier was changed. "
            "Free some space or choose another folder (--workspace, --out), then run the same command again"
        ) from error


@contextlib.contextmanager
def finishing() -> Iterator[None]:
    """Let the write in hand end before an interrupt (SIGINT, SIGTERM) takes effect.

    Signals that arrive inside are sent again on the way out, to whatever handled them before. Outside
    the main thread, where Python runs no handlers, nothing is needed and nothing is done.
    """
    global _depth  # noqa: PLW0603  # one per process: only the outermost write restores the handlers
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if _depth:
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1
        return
    arrived: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        arrived.append(number)

    before = {number: signal.signal(number, note) for number in _DEFERRED}
    _depth = 1
    try:
        yield
    finally:
        _depth = 0
        for handled, handler in before.items():
            signal.signal(handled, signal.SIG_DFL if handler is None else handler)
        for number in arrived[:1]:
            signal.raise_signal(number)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all (temporary name, fsync, rename).

    Raises
    ------
    ArenaError
        The disk is full or the folder cannot be written; an older file at ``path`` is untouched.
    """
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with finishing(), reraise_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, readable by a person, whole or not at all."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


@contextlib.contextmanager
def new_folder(final: Path, *, keep_existing: bool = False) -> Iterator[Path]:
    """A private folder to fill, which is flushed and gets its final name when the block ends well.

    Parameters
    ----------
    keep_existing
        Leave a folder of that name as it is and drop the new one: for caches, where another process may
        have written the same content first.

    Raises
    ------
    ArenaError
        The disk is full or the folder cannot be written; an older folder at ``final`` is untouched.
    """
    partial = final.with_name(f".{final.name}.tmp-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with reraise_os_errors(final):
            partial.mkdir(parents=True)
        yield partial
        if not (keep_existing and final.exists()):
            commit_folder(partial, final, keep_existing=keep_existing)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def commit_folder(partial: Path, final: Path, *, keep_existing: bool = False) -> None:
    """Give a finished folder its final name; an older one there makes way at the last moment, or stays.

    Its files may be read by whoever may read its card (safetensors writes for the owner alone). A kill
    while the older folder makes way leaves it under a name that :func:`sweep` knows, and undoes.
    """
    with finishing(), reraise_os_errors(final):
        readable = (partial / CARD).stat().st_mode & 0o777 if (partial / CARD).is_file() else None
        for path in sorted(partial.rglob("*")):
            if path.is_file():
                if readable is not None and not path.is_symlink():
                    path.chmod(readable)
                with path.open("rb") as stream:
                    os.fsync(stream.fileno())
        _sync_folder(partial)
        if keep_existing:
            _rename_unless_there(partial, final)
            return
        old = final.with_name(f".{final.name}.old-{os.getpid()}")
        if final.exists():
            final.rename(old)
        partial.rename(final)
        _sync_folder(final.parent)
        shutil.rmtree(old, ignore_errors=True)


def _rename_unless_there(partial: Path, final: Path) -> None:
    """Of several writers the first is kept: a folder that holds files is never renamed over."""
    try:
        partial.rename(final)
    except OSError:
        if not final.is_dir():
            raise
    _sync_folder(final.parent)


def sweep(*folders: Path) -> None:
    """Remove what a killed run left under temporary names, directly in these folders.

    A folder that was making way for a new one that never came gets its name back. Only for whoever
    holds the workspace: a running writer's temporary file would go as well.
    """
    for folder in folders:
        with contextlib.suppress(OSError):
            for path in [p for p in folder.iterdir() if _LITTER.match(p.name)]:
                old = _OLD.match(path.name)
                if old and path.is_dir() and not path.is_symlink() and not (folder / old[1]).exists():
                    path.rename(folder / old[1])
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
