"""Judgements of pairs from files of any size: all rows of a pair in one chunk, the pairs in the file's order.

How a file is written is decided from its first rows, as `load_judgements` decides it. Files of several judges
are read side by side: the first names the pairs, the others hold them in the same order and may lack some.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from ..errors import InputError
from ..judgements import First, Judgements
from ..judgements.known import Known
from .answer_rows import answer_columns
from .chunks import BattleChunks, RawChunk
from .column_names import Columns
from .detection import HEAD_ROWS
from .ids import ids_of_part, whole_ids
from .item_rows import is_of_items
from .judgement_layout import check_numbers, id_name, shape_of, with_judge
from .judgement_rows import Words
from .judgement_shapes import LongShape, WideShape
from .result_files import result_format
from .streams import explained
from .tables import Row, Table, open_table
from .unread import Unread

Rows = pl.DataFrame | list[Row]
"""rows of parquet as columns, rows of any other file as cells"""
_SORTED: Final = {
    "csv": "pl.scan_csv({name!r}).sort({id!r}).sink_csv('sorted-{stem}.csv')",
    "parquet": "pl.scan_parquet({name!r}).sort({id!r}).sink_parquet('sorted-{stem}.parquet')",
    "jsonl": "pl.scan_ndjson({name!r}).sort({id!r}).sink_ndjson('sorted-{stem}.jsonl')",
    "json": "pl.read_json({name!r}).sort({id!r}).write_ndjson('sorted-{stem}.jsonl')",
}
_NO_NAME: Final = re.compile(r"[^\w-]+")


@dataclass(frozen=True)
class JudgementChunks:
    """A file of judgements and what was decided from its first rows; small, and can be sent elsewhere."""

    table: Table
    shape: LongShape | WideShape
    whole_ids: bool
    """whether the ids are integers"""
    known: Known
    """names that are surely judges', or what a panel remembers of them"""

    @property
    def sorting(self) -> str:
        """How the file is sorted by its ids, out of core: a line of polars."""
        name, stem = str(self.table.path), _NO_NAME.sub("-", self.table.path.name.partition(".")[0])
        return _SORTED[self.table.kind].format(name=name, id=self.shape.lead[0], stem=stem)

    def pieces(self, rows: int) -> Iterator[Rows]:
        """The file's rows in order, about so many at a time."""
        with explained(self.table.path):
            if self.table.kind == "parquet":
                yield from self.table.frames(self.shape.columns, rows)
                return
            cells = self.table.cells(self.shape.columns)
            while batch := list(islice(cells, rows)):
                yield batch

    def key(self, cell: Any) -> str:
        """An id's text, the same in files of every kind."""
        return _key(cell, self.whole_ids)

    def read(
        self, rows: Rows, first_row: int, words: dict[str, Words], unread: dict[str, Unread]
    ) -> Judgements:
        """The judgements of whole pairs; ``words`` and ``unread`` take what verdicts are written in.

        Raises
        ------
        InputError
            A cell that cannot be read, named by row.
        """
        cells: list[Row] = list(rows.iter_rows()) if isinstance(rows, pl.DataFrame) else rows
        names = [row[0] for row in cells]
        given = list(dict.fromkeys(names)) if self.shape.long else names
        column = self.shape.lead[0]
        ids = ids_of_part(self.table, given, whole=self.whole_ids, first_row=first_row, column=column)
        found = self.shape.read(
            cells, first_row=first_row, known=self.known, unread=unread, words=words, partial=True
        )
        return Judgements(ids, found)


def open_judgements(
    path: Path,
    *,
    numbers: str | None = None,
    first: First = First.A,
    format: str | None = None,
    known: Known = (),
) -> JudgementChunks:
    """Decide how a file of judgements is read; parameters as for `read_judgements`.

    Raises
    ------
    InputError
        The file cannot be read, holds no judgements of pairs, or is a benchmark's result file or one of
        scores of answers, which are read whole.
    """
    table = open_table(Path(path))
    columns = with_judge(table, Columns(table.columns, file=table.name))
    check_numbers(numbers)
    results = format or result_format(table)
    answers = answer_columns(table, columns) or is_of_items(table, columns, known)
    if results is not None or answers is not None:
        what = f"a result file of {results}" if results is not None else "scores of answers"
        raise InputError(
            f"{table.name} holds {what}, which is read whole; leave out --shards and give --out FILE"
        )
    name = id_name(table, columns)
    shape = shape_of(table, columns, name, numbers, first, known)
    return JudgementChunks(table, shape, whole_ids(table, name, HEAD_ROWS), known)


@dataclass(frozen=True)
class Part:
    """A file's rows about the pairs of a chunk."""

    rows: Rows
    first_row: int
    """1 = the first row of the file"""


@dataclass(frozen=True, eq=False)
class RawPairs:
    """Rows of one or more files about the same pairs, and the rows of their texts, as they lie there."""

    number: int
    first_row: int
    """the number of its first pair, from 1 on"""
    parts: tuple[Part | None, ...]
    """for each file; None where it has nothing about these pairs"""
    texts: tuple[RawChunk, ...] = ()


@dataclass(frozen=True)
class PairChunks:
    """Files of judgements, and of texts, about the same pairs in the same order."""

    files: tuple[JudgementChunks, ...]
    text: BattleChunks | None
    rows: int
    """pairs of a chunk"""

    def raw(self) -> Iterator[RawPairs]:
        """All pairs of the first file in its order; a chunk or two of each file are in memory.

        Raises
        ------
        InputError
            Another file holds pairs that the first does not, or not in this order; a pair has no text.
        """
        followers = [_Follower(one) for one in self.files[1:]]
        texts = None if self.text is None else _Texts(self.text)
        pair = 1
        for number, (lead, count) in enumerate(_whole_pairs(self.files[0], self.rows)):
            keys: list[str] = []
            if followers or texts is not None:
                keys = list(dict.fromkeys(map(self.files[0].key, _ids(lead.rows))))
            both = {*keys, *map(exchanged, keys)}
            parts = (lead, *(follower.about(both) for follower in followers))
            found = () if texts is None else tuple(texts.of(keys))
            yield RawPairs(number, pair, parts, found)
            pair += count
        if pair == 1:
            raise InputError(f"{self.files[0].table.path} has a header but no rows; fetch it again")
        for follower in followers:
            follower.check_ended(self.files[0])


def _key(cell: Any, whole: bool) -> str:
    text = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
    return text.partition(".")[0] if whole else text


def exchanged(key: str) -> str:
    """The name of a pair with its answers exchanged; itself where it names none."""
    parts = key.rsplit("|", 2)
    return "|".join([parts[0], parts[2], parts[1]]) if len(parts) == 3 else key


def _ids(rows: Rows) -> list[Any]:
    return rows.to_series(0).to_list() if isinstance(rows, pl.DataFrame) else [row[0] for row in rows]


def _joined(pieces: Sequence[Rows]) -> Rows:
    frames, cells = list[pl.DataFrame](), list[Row]()
    for one in pieces:
        if isinstance(one, pl.DataFrame):
            frames.append(one)
        else:
            cells += one
    return pl.concat(frames) if frames else cells


def _begins(rows: Rows, before: Any) -> list[int]:
    """Places at which another id stands than in the row before."""
    if isinstance(rows, pl.DataFrame):
        column = rows.to_series(0)
        changed = column.ne_missing(column.shift(1)).to_numpy().copy()
        changed[0] = column[0] != before
        return np.flatnonzero(changed).tolist()
    ids = [before, *(row[0] for row in rows)]
    return [place for place in range(len(rows)) if ids[place] != ids[place + 1]]


def _whole_pairs(file: JudgementChunks, pairs: int) -> Iterator[tuple[Part, int]]:
    """Rows of so many pairs at a time, and how many pairs they are; a pair is never cut."""
    first_row = 1
    if not file.shape.long:
        for rows in file.pieces(pairs):
            yield Part(rows, first_row), len(rows)
            first_row += len(rows)
        return
    held: list[Rows] = []
    count, before = 0, object()
    for piece in file.pieces(pairs):
        start = 0
        for place in _begins(piece, before):
            if count == pairs:
                held.append(piece[start:place])
                rows = _joined(held)
                yield Part(rows, first_row), count
                first_row, held, count, start = first_row + len(rows), [], 0, place
            count += 1
        held.append(piece[start:])
        before = _ids(piece[-1:])[0]
    if count:
        yield Part(_joined(held), first_row), count


class _Follower:
    """A further file: its rows go with the chunk whose pairs they are about."""

    def __init__(self, file: JudgementChunks) -> None:
        self._file = file
        self._pieces = file.pieces(HEAD_ROWS)
        self._held: Rows = []
        self._row = 1

    def about(self, keys: set[str]) -> Part | None:
        """The next rows, as long as they are about these pairs."""
        taken: list[Rows] = []
        first_row = self._row
        while len(self._held) or self._more():
            count = self._leading(keys)
            if count:
                taken.append(self._held[:count])
            self._row, self._held = self._row + count, self._held[count:]
            if len(self._held):
                break
        return Part(_joined(taken), first_row) if taken else None

    def check_ended(self, leader: JudgementChunks) -> None:
        """Raise InputError where rows are left: pairs that the first file lacks, or has before others."""
        if len(self._held) or self._more():
            raise InputError(
                f"{self._file.table.name} row {self._row} (id {_ids(self._held[:1])[0]}): the pair does not "
                f"come here in the order of {leader.table.name}, or not at all; with --shards the first file "
                "names all pairs, and the others hold them in its order: sort each, "
                f"{leader.sorting} and {self._file.sorting}, or leave out --shards"
            )

    def _more(self) -> bool:
        self._held = next(self._pieces, [])
        return len(self._held) > 0

    def _leading(self, keys: set[str]) -> int:
        key = self._file.key
        for place, name in enumerate(_ids(self._held)):
            if name is None or key(name) not in keys:
                return place
        return len(self._held)


@dataclass
class _Texts:
    """Battles in the order of the pairs; there may be more of them."""

    chunks: BattleChunks
    _raws: Iterator[RawChunk] = field(init=False)
    _raw: RawChunk | None = None
    _keys: list[str] = field(default_factory=list)
    _place: int = 0

    def __post_init__(self) -> None:
        self._raws = self.chunks.raw()

    def of(self, keys: Sequence[str]) -> Iterator[RawChunk]:
        """The rows of these pairs, in some parts."""
        picked: list[int] = []
        for wanted in keys:
            other = exchanged(wanted)
            while True:
                if self._place == len(self._keys):
                    if self._raw is not None and picked:
                        yield self.chunks.picked(self._raw, picked)
                        picked = []
                    self._next(wanted)
                found = self._keys[self._place]
                self._place += 1
                if found in (wanted, other):
                    picked.append(self._place - 1)
                    break
        if self._raw is not None and picked:
            yield self.chunks.picked(self._raw, picked)

    def _next(self, wanted: str) -> None:
        raw = next(self._raws, None)
        if raw is None:
            raise InputError(
                f"{self.chunks.table.name}: no text of the pair {wanted}, or not in the order of the "
                "judgements; with --shards texts stand in that order: sort all files by id, or leave out "
                "--shards"
            )
        self._raw, self._place = raw, 0
        self._keys = [_key(name, self.chunks.whole_ids) for name in self.chunks.id_cells(raw)]
