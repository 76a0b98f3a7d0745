"""A folder of parquet shards, filled one by one: a journal while it grows, a manifest when it is whole.

A shard is written under a temporary name and renamed; then its line, with its SHA-256, goes to the journal.
Whoever is killed finds every line's shard whole; a last line that is cut off counts for nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import ArtifactError, InputError, StaleError
from . import atomic
from .files import digest_bytes, digest_file, read_content, read_table

MANIFEST: Final = "manifest.json"
JOURNAL: Final = "journal.jsonl"
_FORMAT: Final = 1


class Shard(BaseModel):
    """One finished shard: some rows of the input, in order."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    file: str
    first_row: int
    """1 = the first row of the input"""
    rows: int
    battles: str
    """digest of the battles' ids and texts"""
    sha256: str


class Manifest(BaseModel):
    """What a whole folder of shards holds; ``key`` is what its numbers depend on beside the battles."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: int = _FORMAT
    key: dict[str, Any]
    rows: int
    columns: list[str]
    shards: list[Shard]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder that is whole.

    Raises
    ------
    ArtifactError
        There is none, or it is not as written.
    """
    try:
        return Manifest.model_validate_json(read_content(folder / MANIFEST))
    except ValidationError:
        raise ArtifactError(f"{folder}: no whole {MANIFEST}; run the command that makes it again") from None


def shard_name(number: int) -> str:
    """``part-00000.parquet`` for the first: sorted by name is sorted by row."""
    return f"part-{number:05d}.parquet"


class ShardFolder:
    """The shards of one prediction.

    Parameters
    ----------
    folder
        Made where it is missing.
    key
        What the numbers depend on beside the battles: plain values.

    Raises
    ------
    StaleError
        The folder holds shards of another key.
    InputError
        It holds parquet files without a journal or a manifest, so somebody else's.
    ArtifactError
        Journal or manifest are not as written.
    """

    def __init__(self, folder: Path, key: dict[str, Any]) -> None:
        self.folder = folder
        self.key: dict[str, Any] = json.loads(json.dumps(key))
        self._known: dict[int, Shard] = {}
        for shard in self._found():
            if shard.file == shard_name(_number(shard.file)):
                self._known[_number(shard.file)] = shard

    @staticmethod
    def key_in(folder: Path) -> dict[str, Any]:
        """What the numbers of the shards in a folder depend on; empty where there are none, or none whole."""
        lines = read_content(folder / MANIFEST) or read_content(folder / JOURNAL).partition(b"\n")[0]
        try:
            found = json.loads(lines)["key"]
        except (ValueError, KeyError, TypeError):
            return {}
        return found if isinstance(found, dict) else {}

    def known(self, number: int) -> Shard | None:
        """What was noted of a shard that was finished earlier."""
        return self._known.get(number)

    def start(self) -> None:
        """Begin (or go on with) the journal; a manifest makes way, since its shards may be made anew."""
        with atomic.reraise_os_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"format": _FORMAT, "key": self.key})]
        lines += [self._known[number].model_dump_json() for number in sorted(self._known)]
        atomic.write_bytes(self.folder / JOURNAL, ("\n".join(lines) + "\n").encode())
        (self.folder / MANIFEST).unlink(missing_ok=True)

    def whole(self, number: int) -> Shard | None:
        """As :meth:`known`, where the file is there as it was written."""
        shard = self.known(number)
        return shard if shard is not None and intact(self.folder, shard) else None

    def keep(self, shard: Shard, content: bytes) -> None:
        """Write a shard's file whole or not at all, then its line."""
        atomic.write_bytes(self.folder / shard.file, content)
        with atomic.reraise_os_errors(self.folder), (self.folder / JOURNAL).open("ab") as stream:
            stream.write((shard.model_dump_json() + "\n").encode())
            stream.flush()
            os.fsync(stream.fileno())

    def finish(self, shards: Sequence[Shard], columns: Sequence[str]) -> Manifest:
        """Write the manifest, and remove the journal and shards of an earlier, longer input."""
        rows = sum(shard.rows for shard in shards)
        manifest = Manifest(key=self.key, rows=rows, columns=list(columns), shards=list(shards))
        atomic.write_json(self.folder / MANIFEST, manifest.model_dump())
        (self.folder / JOURNAL).unlink(missing_ok=True)
        for path in self.folder.glob("part-*.parquet"):
            if path.name not in {shard.file for shard in shards}:
                path.unlink()
        return manifest

    def _found(self) -> list[Shard]:
        lines = read_content(self.folder / JOURNAL).splitlines(keepends=True)
        whole = read_content(self.folder / MANIFEST)
        try:
            if whole:
                manifest = Manifest.model_validate_json(whole)
                self._check(manifest.key)
                return manifest.shards
            if not lines and any(self.folder.glob("*.parquet")):
                raise InputError(
                    f"{self.folder} holds parquet files of something else; give a folder of its own"
                )
            if lines:
                self._check(json.loads(lines[0])["key"])
            # the line that a kill cut off has no end
            return [Shard.model_validate_json(line) for line in lines[1:] if line.endswith(b"\n")]
        except (ValueError, KeyError, TypeError, ValidationError):
            raise ArtifactError(
                f"{self.folder}: journal or manifest are not as written; remove the folder, or give another"
            ) from None

    def _check(self, found: dict[str, Any]) -> None:
        names = sorted(name for name in {*found, *self.key} if found.get(name) != self.key.get(name))
        if names:
            raise StaleError(
                f"{self.folder} holds shards that were made otherwise ({', '.join(names)} differ); give "
                "another folder, or remove it to make all anew"
            )


def _number(file: str) -> int:
    digits = file.removeprefix("part-").removesuffix(".parquet")
    return int(digits) if digits.isdigit() else -1


def intact(folder: Path, shard: Shard) -> bool:
    """Whether a shard is there as it was written."""
    path = folder / shard.file
    return path.is_file() and not path.is_symlink() and digest_file(path) == shard.sha256


def read_bytes(folder: Path, shard: Shard) -> bytes:
    """The content of a shard's file.

    Raises
    ------
    ArtifactError
        It is not as it was written.
    """
    path = folder / shard.file
    content = read_content(path)
    if digest_bytes(content) != shard.sha256:
        raise ArtifactError(f"{path}: truncated or edited (its SHA-256 differs); run the same command again")
    return content


def read_shard(folder: Path, shard: Shard) -> pl.DataFrame:
    """A shard's table; errors as for :func:`read_bytes`."""
    return read_table(folder / shard.file, read_bytes(folder, shard))
