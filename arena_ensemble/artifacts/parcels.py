"""Parts of a workspace as bytes, for machines that share no disk: packed on one, unpacked on another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from ..errors import ArtifactError
from . import atomic
from .cards import CARD, NAME

Parcel = dict[str, bytes]
"""path inside the workspace, with ``/`` → the file's content"""


def pack(root: Path, places: Iterable[Path]) -> Parcel:
    """The files at these places, and below those that are folders; what is not there is left out."""
    found: Parcel = {}
    for place in places:
        for path in [place, *sorted(place.rglob("*"))]:
            if path.is_file() and not path.is_symlink():
                found[path.relative_to(root).as_posix()] = path.read_bytes()
    return found


def unpack(root: Path, parcel: Mapping[str, bytes]) -> None:
    """Write a parcel's files, each folder that has a card whole or not at all, notes after their tables.

    Raises
    ------
    ArtifactError
        A name lies outside the workspace.
    ArenaError
        The disk is full or the folder cannot be written.
    """
    for name in parcel:
        if not all(NAME.match(part) for part in PurePosixPath(name).parts):
            raise ArtifactError(
                f"a parcel holds {name[:80]!r}, which lies outside the workspace; not unpacked"
            )
    folders = [PurePosixPath(name).parent for name in parcel if PurePosixPath(name).name == CARD]
    rest = dict(parcel)
    for folder in folders:
        inside = {name: rest.pop(name) for name in [*rest] if PurePosixPath(name).is_relative_to(folder)}
        with atomic.new_folder(root / folder) as partial, atomic.reraise_os_errors(root / folder):
            for name, content in inside.items():
                path = partial / PurePosixPath(name).relative_to(folder)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    for name in sorted(rest, key=lambda name: (name.endswith(".json"), name)):
        atomic.write_bytes(root / name, rest[name])
