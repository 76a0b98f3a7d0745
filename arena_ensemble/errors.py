"""The few kinds of expected error, each with the exit code that the command line leaves with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

_MAX_CHARS: Final = 1000


class ArenaError(Exception):
    """A problem that the user can mend; its message says what, where and how. Exit code 1."""

    exit_code = 1

    def __str__(self) -> str:
        """One line of printable text, since messages quote what files hold: newlines, terminal codes."""
        text = super().__str__()
        if len(text) > _MAX_CHARS:
            text = text[: _MAX_CHARS - 1] + "…"
        if text.isprintable():
            return text
        return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class InputError(ArenaError):
    """A file or a table of battles or predictions that cannot be used as given."""


class RecipeError(ArenaError):
    """A recipe with an unknown key, a wrong value, or a base model that is not there."""


class StaleError(ArenaError):
    """An artifact made from other data, folds or recipe than those given now."""


class DependencyError(ArenaError):
    """An optional package or a device that the recipe asks for is missing."""


class MemberError(ArenaError):
    """A member failed while it was trained or read; the other members are whole. Exit code 4."""

    exit_code = 4


class OutOfTime(ArenaError):
    """The time given is up; what is finished is kept, a fold in training as a checkpoint. Exit code 5."""

    exit_code = 5


class ArtifactError(ArenaError):
    """An artifact on disk is truncated, edited or from a hostile source; it was not loaded."""


class VersionError(ArtifactError):
    """An artifact that another version of this package wrote; it was not loaded."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'lexical'?`` where a known name is near, else nothing: the end of a message."""
    by_small = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), by_small, n=1, cutoff=0.6)
    return f"; did you mean {by_small[close[0]]!r}?" if close else ""
