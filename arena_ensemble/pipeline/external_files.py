"""Files of predictions that other tools made → members by name, as far as no vote is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..artifacts.workspace import check_name
from ..errors import InputError
from ..io import average_seeds, is_array_file, read_predictions
from ..predictions import Predictions


@dataclass(frozen=True)
class NamedFile:
    """A predictions file, and its member's name; None takes the names that the file itself gives."""

    path: Path
    name: str | None = None


@dataclass(frozen=True)
class ReadingOptions:
    """How the numbers of external predictions are to be taken; nothing of this is guessed from them."""

    logits: bool = False
    """they are logits: their softmax is taken"""
    ids: Path | None = None
    """file whose column ``id`` names the rows of out-of-fold predictions in a NumPy array (.npy, .npz)"""
    test_ids: Path | None = None
    """the same for test predictions"""
    average: bool = False
    """average a member's seeds: rows that repeat an id, members of one file, files of one name"""


AS_WRITTEN: Final = ReadingOptions()


def read_members(
    files: Sequence[NamedFile], reading: ReadingOptions = AS_WRITTEN, *, oof: bool = False
) -> dict[str, Predictions]:
    """The predictions of every member in some files, by name.

    Parameters
    ----------
    reading
        How the numbers are to be taken.
    oof
        The files hold out-of-fold predictions: one row an id.

    Raises
    ------
    InputError
        A file cannot be read, lacks the named member, or a name is given twice.
    """
    found: dict[str, list[Predictions]] = {}
    ids = reading.ids if oof else reading.test_ids
    if ids is not None and not any(is_array_file(file.path) for file in files):
        option = "--ids" if oof else "--test-ids"
        raise InputError(
            f"{option} {ids}: of no use, since no file is a NumPy array (.npy, .npz); tables name their own "
            f"rows: leave out {option}"
        )
    for file in files:
        own_ids = ids if is_array_file(file.path) else None
        held = read_predictions(
            file.path, oof=oof, logits=reading.logits, ids=own_ids, average=reading.average
        )
        name = file.name
        if name is not None and len(held) > 1 and name not in held:
            raise InputError(
                f"{file.path} holds the members {', '.join(held)}, none named {name!r}; "
                f"give {file.path} alone"
            )
        if name is not None:
            held = {name: held[name] if name in held else next(iter(held.values()))}
        for key, predictions in held.items():
            if key in found and not reading.average:
                raise InputError(
                    f"the member {key!r} is given twice (again in {file.path}); name it NAME={file.path}, or "
                    "average several seeds of one member (--average)"
                )
            found.setdefault(check_name(key), []).append(predictions)
    return {name: parts[0] if len(parts) == 1 else average_seeds(parts) for name, parts in found.items()}
