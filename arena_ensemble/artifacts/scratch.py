"""Files without a name for what is too large for memory: the disk has them back when the process ends.

They are opened in a given folder and unlinked at once, so that neither a kill nor an error leaves any behind.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Final, Self

import numpy as np
import numpy.typing as npt

from ..features import Features
from ..folds import NEAR_DUPLICATES
from ..folds.near_duplicates import Hashes, count_bands

_BUFFER: Final = 1 << 20


class ScratchFeatures:
    """Features of n rows, filled some rows at a time, as 32-bit floats in a file that is mapped.

    What is read of it lies in memory only as long as the system has room.
    """

    def __init__(self, folder: Path, rows: int) -> None:
        self._folder, self._rows = folder, rows
        self._table: npt.NDArray[Any] | None = None
        self._names: tuple[tuple[str, ...], tuple[str, ...]] = (), ()

    def write(self, rows: npt.NDArray[np.int64], features: Features) -> None:
        """Put features in these rows."""
        width = features.odd.shape[1]
        if self._table is None:
            self._names = features.odd_names, features.even_names
            shape = self._rows, width + features.even.shape[1]
            size = shape[0] * shape[1] * np.dtype(np.float32).itemsize
            with tempfile.TemporaryFile(dir=self._folder) as file:
                # a full disk is an error here; later, in the map, it would kill the process (SIGBUS)
                os.posix_fallocate(file.fileno(), 0, size)
                self._table = np.memmap(file, dtype=np.float32, mode="w+", shape=shape)
        self._table[rows, :width] = features.odd
        self._table[rows, width:] = features.even

    def features(self) -> Features:
        """All rows; those never written are zero.

        Raises
        ------
        ValueError
            Nothing was written at all.
        """
        if self._table is None:
            raise ValueError("no features were written")
        width = len(self._names[0])
        return Features(self._table[:, :width], self._table[:, width:], *self._names)


def _file(folder: Path) -> IO[bytes]:
    return tempfile.TemporaryFile(dir=folder, buffering=_BUFFER)  # closed by whoever asks


class ScratchPrompts:
    """A `folds.groups.PromptStore` on a disk: in memory are 8 bytes a prompt. Closed as a context manager."""

    def __init__(self, folder: Path, *, near_duplicates: float = NEAR_DUPLICATES) -> None:
        self._open = contextlib.ExitStack()
        self._ends = array("q", [0])
        self._texts, *self._bands = [
            self._open.enter_context(_file(folder)) for _ in range(1 + count_bands(near_duplicates))
        ]
        self._whole = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def add(self, texts: Sequence[str], keys: Hashes) -> None:
        """See `PromptStore`."""
        for text in texts:
            content = text.encode("utf-8", "surrogatepass")
            self._texts.write(content)
            self._ends.append(self._ends[-1] + len(content))
        for number, file in enumerate(self._bands):
            file.write(np.ascontiguousarray(keys[:, number]).tobytes())
        self._whole = False

    def text(self, place: int) -> str:
        """See `PromptStore`."""
        self._flush()
        start, end = self._ends[place], self._ends[place + 1]
        return os.pread(self._texts.fileno(), end - start, start).decode("utf-8", "surrogatepass")

    def band(self, number: int) -> Hashes:
        """See `PromptStore`."""
        self._flush()
        file = self._bands[number]
        file.seek(0)
        found = np.fromfile(file, dtype=np.uint64)
        file.seek(0, os.SEEK_END)
        return found

    def _flush(self) -> None:
        if not self._whole:
            for file in (self._texts, *self._bands):
                file.flush()
            self._whole = True
