"""One pass over the texts of very many battles: features into a file, prompts into groups, no text kept.

Up to `MANY_ROWS` rows nothing of this is used: texts and features are then in memory, features of 64 bits.
Where few rows of a long file are wanted, its other texts are in files while it is read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ..artifacts.atomic import reraise_os_errors
from ..artifacts.scratch import ScratchFeatures, ScratchPrompts
from ..battles import Battles, align_rows
from ..features import Features, extract
from ..folds import GroupBuilder, group_keys
from ..io import open_chunks, read_battles
from ..io.filed_battles import MANY_ROWS

Ints = npt.NDArray[np.int64]

CHUNK_ROWS: Final = 8192


@dataclass(frozen=True, eq=False)
class TextFacts:
    """What is needed of the texts of n battles, in the order of their ids."""

    features: Features
    groups: Ints | None
    """(n,) the group of each; None where it was not asked for"""


def read_texts(
    path: Path, ids: pl.Series, form: str | None, *, groups: bool, scratch: Path | None = None
) -> TextFacts:
    """Features and groups of the battles with these ids, from a file of battles.

    Past `MANY_ROWS` ids the file is read twice, first its ids and then some rows at a time. In memory are
    about 50 bytes a row, twice that while groups are made. Features of 32 bits lie in a file without a name
    in ``scratch``, 1.1 kB a row, and so do prompts until they are grouped: 200 bytes each, and their text.
    Up to so many ids, texts and features of these alone are in memory, however many rows the file has.
    Without ``scratch`` it is the system's folder for temporary files.

    Raises
    ------
    InputError
        The file cannot be read, or lacks an id.
    """
    folder = Path(tempfile.gettempdir()) if scratch is None else scratch
    if len(ids) <= MANY_ROWS:
        found = read_battles(path, format=form, scratch=folder)
        battles = found.take(_rows_of(path, found.ids, ids)).in_memory()
        del found
        return TextFacts(extract(battles), group_keys(battles) if groups else None)
    chunks = open_chunks(path, format=form, rows=CHUNK_ROWS)
    known = chunks.ids()
    place = np.full(len(known), -1, dtype=np.int64)
    place[_rows_of(path, known, ids)] = np.arange(len(ids))
    del known

    def parts() -> Iterator[tuple[Ints, Battles]]:
        for raw in chunks.raw():
            wanted = place[raw.first_row - 1 : raw.first_row - 1 + raw.rows]
            kept = np.flatnonzero(wanted >= 0)
            if len(kept):
                battles = chunks.battles(raw)
                yield wanted[kept], battles if len(kept) == raw.rows else battles.take(kept)

    with reraise_os_errors(folder):
        table = ScratchFeatures(folder, len(ids))
        if not groups:
            return TextFacts(_filled(table, parts()), None)
        with ScratchPrompts(folder) as prompts:
            builder = GroupBuilder(store=prompts)
            features = _filled(table, _grouped(parts(), builder))
            group = np.empty(len(ids), dtype=np.int64)
            group[place[place >= 0]] = builder.finish().group
    return TextFacts(features, group)


def features_of(battles: Battles, scratch: Path) -> Features:
    """`extract`; past `MANY_ROWS` battles into a file without a name in the folder ``scratch``."""
    if len(battles) <= MANY_ROWS:
        return extract(battles)
    starts = range(0, len(battles), CHUNK_ROWS)
    parts = (
        (np.arange(start, start + len(part)), part)
        for start, part in zip(starts, battles.parts(CHUNK_ROWS), strict=True)
    )
    with reraise_os_errors(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
        return _filled(ScratchFeatures(scratch, len(battles)), parts)


def _rows_of(path: Path, known: pl.Series, ids: pl.Series) -> Ints:
    return align_rows(known, ids, name=str(path), missing="without text")


def _filled(table: ScratchFeatures, parts: Iterable[tuple[Ints, Battles]]) -> Features:
    for rows, battles in parts:
        table.write(rows, extract(battles))
    return table.features()


def _grouped(parts: Iterable[tuple[Ints, Battles]], builder: GroupBuilder) -> Iterator[tuple[Ints, Battles]]:
    for rows, battles in parts:
        builder.add(battles)
        yield rows, battles
