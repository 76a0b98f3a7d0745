"""Battles whose texts are too large for memory: they lie in parquet files, and are read when asked for."""

from __future__ import annotations

import os
import shutil
import socket
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ..artifacts.atomic import reraise_os_errors
from ..battles import TEXTS, Battles

Ints = npt.NDArray[np.int64]

MANY_ROWS: Final = 200_000
"""Up to this many battles texts, and what is computed from them, are in memory; past it, on the disk."""
FILE_ROWS: Final = 1 << 15
_NAME: Final = "texts-{host}-{pid}-{number}"
_numbers = iter(range(1 << 62))


class TextFiles:
    """The three texts of n battles, some rows a file, in a folder that goes with the process."""

    def __init__(self, folder: Path) -> None:
        _remove_left_behind(folder)
        name = _NAME.format(host=socket.gethostname(), pid=os.getpid(), number=next(_numbers))
        self.folder = folder / name
        with reraise_os_errors(self.folder):
            self.folder.mkdir(parents=True)
        self.rows = 0
        self._waiting: list[pl.DataFrame] = []
        self._end = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def add(self, texts: pl.DataFrame) -> None:
        """Append rows; the last come to the disk with :meth:`finish`."""
        self._waiting.append(texts.select(TEXTS))
        self.rows += texts.height
        if sum(part.height for part in self._waiting) >= FILE_ROWS:
            self._write(FILE_ROWS)

    def finish(self) -> None:
        """Nothing more is added."""
        self._write(1)

    def _write(self, least: int) -> None:
        whole = pl.concat(self._waiting) if self._waiting else pl.DataFrame()
        done = self.rows - whole.height
        while whole.height >= least:
            self._write_file(self._file(done // FILE_ROWS), whole.head(FILE_ROWS))
            whole, done = whole.slice(FILE_ROWS), done + FILE_ROWS
        self._waiting = [whole] if whole.height else []

    def _write_file(self, path: Path, texts: pl.DataFrame) -> None:
        with reraise_os_errors(self.folder):
            try:
                texts.write_parquet(path, compression="lz4", statistics=False)
            except pl.exceptions.PolarsError as error:  # a full disk is told as a broken file
                raise OSError(str(error)) from None

    def _file(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.parquet"

    def read(self, rows: Ints) -> pl.DataFrame:
        """The texts of these rows, in their order."""
        in_order = bool((np.diff(rows) >= 0).all())
        order = np.arange(len(rows)) if in_order else np.argsort(rows, kind="stable")
        wanted = rows if in_order else rows[order]
        found = [pl.DataFrame(schema=dict.fromkeys(TEXTS, pl.List(pl.String)))]
        for number in np.unique(wanted // FILE_ROWS).tolist():
            first, last = np.searchsorted(wanted, (number * FILE_ROWS, (number + 1) * FILE_ROWS))
            part = pl.read_parquet(self._file(number), glob=False)
            found.append(part[wanted[first:last] - number * FILE_ROWS])
        whole = pl.concat(found, rechunk=True)
        if in_order:
            return whole
        place = np.empty(len(rows), dtype=np.int64)
        place[order] = np.arange(len(rows))
        return whole[place]

    def __getstate__(self) -> dict[str, Any]:
        # whoever gets a copy reads the same files, and leaves them to their owner
        return {"folder": self.folder, "rows": self.rows, "_waiting": []}


class FiledBattles(Battles):
    """As `Battles`, with the texts in files: ``frame`` reads all of them, `parts` some at a time.

    In memory are ids, outcomes, and names of models and languages.
    """

    def __init__(self, texts: TextFiles, facts: pl.DataFrame, rows: Ints, *, exchanged: bool = False) -> None:
        for name, value in (("_texts", texts), ("_facts", facts), ("_rows", rows), ("_exchanged", exchanged)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_digests", {})

    _texts: TextFiles
    _facts: pl.DataFrame
    _rows: Ints
    _exchanged: bool

    def __repr__(self) -> str:
        return f"FiledBattles({len(self)} rows in {self._texts.folder})"

    @property
    def frame(self) -> pl.DataFrame:
        """All columns of all rows: every text is read."""
        return self._frame(0, len(self))

    @property
    def facts(self) -> pl.DataFrame:
        """See `Battles.facts`."""
        return self._facts

    def parts(self, rows: int = FILE_ROWS) -> Iterator[Battles]:
        """See `Battles.parts`; these are in memory."""
        for start in range(0, max(len(self), 1), rows):
            yield Battles(self._frame(start, start + rows))

    def in_memory(self) -> Battles:
        """See `Battles.in_memory`."""
        return Battles(self.frame)

    def take(self, rows: npt.NDArray[np.integer[Any]] | Sequence[int]) -> Battles:
        """The given rows, in the given order."""
        index = np.asarray(rows, dtype=np.int64)
        return FiledBattles(self._texts, self._facts[index], self._rows[index], exchanged=self._exchanged)

    def without_outcomes(self) -> Battles:
        """See `Battles.without_outcomes`."""
        facts = self._facts.with_columns(pl.lit(None, dtype=pl.Int8).alias("outcome"))
        return FiledBattles(self._texts, facts, self._rows, exchanged=self._exchanged)

    def swapped(self) -> Battles:
        """See `Battles.swapped`."""
        texts = self._facts.with_columns(pl.lit(None, dtype=pl.List(pl.String)).alias(name) for name in TEXTS)
        facts = Battles(texts).swapped().frame.select(self._facts.columns)
        return FiledBattles(self._texts, facts, self._rows, exchanged=not self._exchanged)

    def _frame(self, start: int, stop: int) -> pl.DataFrame:
        texts = self._texts.read(self._rows[start:stop])
        if self._exchanged:
            texts = texts.rename({"response_a": "response_b", "response_b": "response_a"}).select(TEXTS)
        facts = self._facts.slice(start, stop - start)
        rest = [name for name in facts.columns if name != "id"]
        return pl.concat([facts.select("id"), texts, facts.select(rest)], how="horizontal")


def _remove_left_behind(folder: Path) -> None:
    """Remove texts of processes of this machine that were killed."""
    for place in folder.glob(_NAME.format(host=socket.gethostname(), pid="*", number="*")):
        pid = place.name.split("-")[-2]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            with suppress(OSError):
                shutil.rmtree(place)
