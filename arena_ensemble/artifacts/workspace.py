"""Where artifacts lie: a folder with ``models/``, ``oof/`` and ``cache/``, its lock, and its recipes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import ArenaError, InputError, RecipeError, did_you_mean
from ..recipes import packaged_names, packaged_recipe
from . import atomic
from .cards import CARD, NAME

ENSEMBLE: Final = "ensemble"
FOLDS_CARD: Final = "folds.json"
SUBMISSION_NOTE: Final = "submission.json"
"""in ``oof/``: which members the submission on disk was made from"""
_LOCK: Final = ".arena-lock"


@dataclass(frozen=True)
class Workspace:
    """A folder with ``models/``, ``oof/`` and ``cache/``; recipes also come from the package."""

    root: Path

    @classmethod
    def of(cls, place: Workspace | str | Path) -> Workspace:
        """The workspace in a folder, or the one that is given."""
        return place if isinstance(place, Workspace) else cls(Path(place))

    @property
    def models(self) -> Path:
        """Recipes and what was learned."""
        return self.root / "models"

    @property
    def oof(self) -> Path:
        """The fold file and the predictions of each member."""
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
        own = self.models / name / "recipe.toml"
        path = own if own.is_file() else packaged_recipe(name)
        if path is not None:
            return path
        known = [one.parent.name for one in sorted(self.models.glob("*/recipe.toml"))]
        known = list(dict.fromkeys([*known, *packaged_names()]))
        near = did_you_mean(name, known)
        raise RecipeError(f"no recipe {name!r}{near or ':'} there is no {own}; known are {', '.join(known)}")

    def member_names(self) -> list[str]:
        """Names of the members with a finished card in ``oof/``, sorted."""
        if not self.oof.is_dir():
            return []
        return sorted(p.parent.name for p in self.oof.glob(f"*/{CARD}") if p.parent.name != ENSEMBLE)

    def is_held(self) -> bool | None:
        """Whether a run holds the workspace; None where the system does not say. The lock is left alone."""
        try:
            inode = (self.root / _LOCK).stat().st_ino
        except OSError:
            return False
        try:
            locks = Path("/proc/locks").read_text(encoding="ascii")
        except OSError:
            return None
        return any("FLOCK" in line and f":{inode} " in line for line in locks.splitlines())

    @contextlib.contextmanager
    def locked(self, what: str) -> Iterator[None]:
        """Hold the workspace while writing; a second run is told who holds it.

        The kernel drops the lock when its holder dies, so a stale lock file blocks nobody.
        """
        path = self.root / _LOCK
        with atomic.reraise_os_errors(path):
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
    if not NAME.match(name) or (reserved and name == ENSEMBLE):
        raise InputError(
            f"{name!r} is no member name: use letters, digits, '.', '_' and '-' (64 at most), not 'ensemble'"
        )
    return name
