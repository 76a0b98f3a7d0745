"""Tables of predictions that are no artifacts of their own: each has a note of its key and hash."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

import polars as pl

from ..errors import ArtifactError
from . import atomic, cards
from .cards import PredictionKey, ShardCard
from .files import digest_bytes, digest_file, parquet_bytes, read_content, read_table

log = logging.getLogger(__name__)


def note_of(path: Path) -> ShardCard:
    """The note beside a table.

    Raises
    ------
    ArtifactError
        It is missing, truncated, edited or of an older version.
    """
    return cards.read_model(path.with_suffix(".json"), ShardCard)


def has(path: Path, key: PredictionKey) -> bool:
    """Whether a table is there, unchanged, made with this key."""
    if not (path.is_file() and path.with_suffix(".json").is_file()):
        return False
    try:
        found = note_of(path)
    except ArtifactError:
        return False
    return found.key == key and intact(path, found.sha256)


def load(path: Path, key: PredictionKey) -> pl.DataFrame:
    """The table.

    Raises
    ------
    ArtifactError
        It is missing, damaged or of another key.
    """
    if not has(path, key):
        raise ArtifactError(f"{path}: missing, damaged or of another run; run the same command again")
    return read_table(path, read_content(path))


def write(path: Path, frame: pl.DataFrame, card: ShardCard) -> None:
    """Write a table and, last, its note with its hash."""
    content = parquet_bytes(frame)
    note = path.with_suffix(".json")
    note.unlink(missing_ok=True)
    atomic.write_bytes(path, content)
    atomic.write_json(note, card.model_copy(update={"sha256": digest_bytes(content)}).model_dump())


def intact(path: Path, sha256: str) -> bool:
    """Whether a table is there with this hash; a damaged one is named, and is made again."""
    if not path.is_file():
        return False
    found = digest_file(path)
    if path.is_symlink() or found != sha256:
        _name_damaged(path, found)
        return False
    return True


@functools.lru_cache(maxsize=256)
def _name_damaged(path: Path, found: str) -> None:
    """Warn once of a file with this content, however often it is looked at."""
    log.warning("%s: truncated or edited (its SHA-256 differs); it is made again", path)
