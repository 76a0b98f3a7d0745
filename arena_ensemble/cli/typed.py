"""The command as it was typed, so that whatever is printed as the next one can be copied as it stands."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

NAME: Final = "arena-ensemble"
_argv: list[str] = []
"""of the command that runs: a process runs one"""


def remember(argv: Sequence[str]) -> None:
    """Keep the arguments of the command that begins."""
    _argv[:] = argv


def program() -> str:
    """How a shell finds this program: its name, else its path, or Python's module."""
    called = Path(sys.argv[0])
    if called.parts[-2:] == ("arena_ensemble", "__main__.py"):
        return f"{shlex.quote(_on_path('python', sys.executable))} -m arena_ensemble"
    return shlex.quote(_on_path(NAME, sys.argv[0])) if called.name == NAME else NAME


def _on_path(name: str, file: str) -> str:
    found = shutil.which(name)
    same = found is not None and Path(found).resolve() == Path(file).resolve()
    return name if same else file


def command(*words: str) -> str:
    """A command of this program, for a shell."""
    return f"{program()} {shlex.join(words)}"


def again(option: str = "", value: str = "") -> str:
    """The command that runs now, for a shell; ``option`` with another value where one is given."""
    words, left = list[str](), list(_argv)
    while left:
        word = left.pop(0)
        if option and word.partition("=")[0] == option:
            left = left if "=" in word else left[1:]
        else:
            words.append(word)
    return command(*words, *([option, value] if option else []))
