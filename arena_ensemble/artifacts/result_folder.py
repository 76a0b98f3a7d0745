"""A folder that a user names for results and that is replaced as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ..errors import InputError


def check_out(out: Path, written_there: Callable[[Path], Iterable[str]]) -> Path:
    """The folder, absolute: new, empty, or with nothing in it but what the same command wrote before.

    Parameters
    ----------
    written_there
        Names of the files that may be replaced, of a folder that exists.

    Raises
    ------
    InputError
        A file of that name, or a folder with other files, which would be lost.
    """
    folder = out.resolve()
    if not folder.exists():
        return folder
    if not folder.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    ours = set(written_there(folder))
    if others := sorted(path.name for path in folder.iterdir() if path.name not in ours):
        raise InputError(
            f"--out {out} holds other files ({', '.join(others[:3])}{', …' if len(others) > 3 else ''}); "
            "name a new or an empty folder: it is replaced as a whole"
        )
    return folder
