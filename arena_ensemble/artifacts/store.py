"""Where artifacts are, and how they are written: whole or absent, with a card that says what made them.

An artifact is content plus card. Content is written whole or not at all (:mod:`.atomic`); the card,
which holds the SHA-256 of every file and its own, goes last. Whoever reads an artifact checks the hash
first, so a truncated or edited file is an error and never a wrong number.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from ..errors import ArenaError, ArtifactError, InputError, RecipeError, StaleError
from . import atomic

CARD: Final = "card.json"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_MAX_CARD_BYTES: Final = 16 * 1024 * 1024
_MAX_ROWS: Final = 50_000_000
_SELF: Final = "card_sha256"
_RESERVED: Final = frozenset({"ensemble"})

Card = dict[str, Any]

write_bytes = atomic.write_bytes
write_json = atomic.write_json
commit_folder = atomic.commit_folder


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


def write_card(folder: Path, facts: Mapping[str, Any], contents: list[str]) -> Card:
    """Write ``card.json`` with the hashes of ``contents``, as the last step of an artifact.

    The card carries its own hash too: the log-loss that it tells is read by people, so a flipped digit
    must be an error like any other.
    """
    files = {name: digest_file(folder / name) for name in sorted(contents)}
    card: Card = json.loads(json.dumps({**facts, "files": files}))
    card[_SELF] = digest_json(card)
    write_json(folder / CARD, card)
    return card


def read_card(folder: Path) -> Card | None:
    """The card in a folder, or None where there is none.

    Raises
    ------
    ArtifactError
        The card is truncated, edited or absurdly large, lists a file outside its folder, or the
        folder is a symbolic link.
    """
    path = folder / CARD
    if folder.is_symlink() or path.is_symlink():
        link = folder if folder.is_symlink() else path
        raise ArtifactError(
            f"{link} is a symbolic link; artifacts are plain files: put the folder itself here"
        )
    if not path.is_file():
        return None
    card = read_json(path)
    files = card.get("files")
    if not isinstance(files, dict):
        raise ArtifactError(f"{path}: no 'files' table; remove {folder} and make it again")
    for name in files:
        if not all(_NAME.match(part) for part in name.split("/")):
            raise ArtifactError(
                f"{path}: lists the file {name[:80]!r}, which lies outside {folder}; not loaded"
            )
    if card.get(_SELF) != digest_json({key: value for key, value in card.items() if key != _SELF}):
        raise ArtifactError(
            f"{path}: edited or damaged (its own SHA-256 differs); remove {folder} and run again"
        )
    return card


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of ours.

    Raises
    ------
    ArtifactError
        The file is truncated, edited into something else, or absurdly large.
    """
    try:
        if path.stat().st_size > _MAX_CARD_BYTES:
            raise ArtifactError(f"{path}: larger than {_MAX_CARD_BYTES} bytes; not loaded")
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: not valid JSON ({error}); remove it and run again") from None
    if not isinstance(value, dict):
        raise ArtifactError(f"{path}: expected a JSON object; remove it and run again")
    return value


def verified(folder: Path, name: str, card: Card) -> bytes:
    """The content of one file of an artifact, after its hash matched the card.

    Raises
    ------
    ArtifactError
        The file is missing, a link, truncated or edited, or the card does not list it.
    """
    expected = card["files"].get(name)
    path = folder / name
    if expected is None or path.is_symlink() or not path.is_file():
        raise ArtifactError(
            f"{path}: missing, a symbolic link, or not listed in {CARD}; remove {folder} and run again"
        )
    content = read_content(path)
    if digest_bytes(content) != expected:
        raise ArtifactError(
            f"{path}: SHA-256 differs from {CARD} (truncated or edited); remove {folder} and run again"
        )
    return content


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


def is_whole(folder: Path, card: Card) -> bool:
    """Whether every file that the card lists is there, unchanged, and no link."""
    paths = [(folder / name, expected) for name, expected in card["files"].items()]
    return all(
        path.is_file() and not path.is_symlink() and digest_file(path) == expected for path, expected in paths
    )


def read_table(path: Path, content: bytes) -> pl.DataFrame:
    """A parquet table of ours, from bytes whose hash matched.

    Raises
    ------
    ArtifactError
        It is no whole parquet file, or tells of absurdly many rows.
    """
    try:
        rows = pl.scan_parquet(io.BytesIO(content)).select(pl.len()).collect().item()
        if rows > _MAX_ROWS:
            raise ArtifactError(f"{path}: tells of {rows:,} rows; not loaded")
        return pl.read_parquet(io.BytesIO(content))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ArtifactError(f"{path}: no whole parquet file ({reason}); remove it and run again") from None


def conflict(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Names of the keys whose values differ: what changed since an artifact was made."""
    return [key for key, value in wanted.items() if found.get(key) != value]


@dataclass(frozen=True)
class Workspace:
    """A folder with ``models/``, ``oof/`` and ``cache/``; recipes also come from the package."""

    root: Path

    @property
    def models(self) -> Path:
        """Recipes and what was learned."""
        return self.root / "models"

    @property
    def oof(self) -> Path:
        """The fold file and what each member said."""
        return self.root / "oof"

    @property
    def cache(self) -> Path:
        """Tiny bases, token ids, hidden states: can be removed at any time between runs."""
        return self.root / "cache"

    def recipe_path(self, name: str) -> Path:
        """The recipe of a member: this workspace's, else the one that travels with the package.

        Raises
        ------
        RecipeError
            The name is not a plain folder name, or no such recipe exists.
        """
        check_name(name)
        for folder in (self.models, *packaged_models()):
            path = folder / name / "recipe.toml"
            if path.is_file():
                return path
        raise RecipeError(
            f"no recipe {name!r}: looked for {self.models / name / 'recipe.toml'} and among the packaged "
            f"ones ({', '.join(packaged_names())})"
        )

    def member_names(self) -> list[str]:
        """Names of the members with a finished card in ``oof/``, sorted."""
        if not self.oof.is_dir():
            return []
        return sorted(p.parent.name for p in self.oof.glob(f"*/{CARD}") if p.parent.name not in _RESERVED)

    @contextlib.contextmanager
    def locked(self, what: str) -> Iterator[None]:
        """Hold the workspace while writing; a second run is told who holds it.

        The kernel drops the lock when its holder dies, so a stale lock file blocks nobody.
        """
        path = self.root / ".arena-lock"
        with atomic.explained(path):
            self.root.mkdir(parents=True, exist_ok=True)
            stream = path.open("a+")
        try:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.seek(0)
                raise ArenaError(
                    f"workspace {self.root} is in use by {stream.read().strip() or 'another run'}; "
                    "wait for it, or use another --workspace"
                ) from None
            stream.seek(0)
            stream.truncate()
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            stream.write(f"{what}, pid {os.getpid()} on {socket.gethostname()}, since {since}")
            stream.flush()
            atomic.sweep(self.oof, *self.oof.glob("*/"), self.models, *self.models.glob("*/"))
            yield
        finally:
            stream.close()


def check_name(name: str, *, reserved: bool = True) -> str:
    """A member's name, safe as a folder name.

    Raises
    ------
    InputError
        It holds a separator or another odd character, is too long, or is ``ensemble``.
    """
    if not _NAME.match(name) or (reserved and name in _RESERVED):
        raise InputError(
            f"{name!r} is no member name: use letters, digits, '.', '_' and '-' (64 at most), not 'ensemble'"
        )
    return name


def packaged_models() -> list[Path]:
    """Folders of recipes that travel with the package (in a checkout, its own ``models/``)."""
    here = Path(__file__).resolve().parents[1]
    return [folder for folder in (here / "_models", here.parent / "models") if folder.is_dir()]


def packaged_names() -> list[str]:
    """Names of the recipes that travel with the package, sorted."""
    return sorted({p.parent.name for folder in packaged_models() for p in folder.glob("*/recipe.toml")})


def stale(folder: Path, keys: list[str], remedy: str) -> StaleError:
    """The error for an artifact made from something else than what is given now."""
    return StaleError(f"{folder} was made with another {', another '.join(keys)}; {remedy}")
