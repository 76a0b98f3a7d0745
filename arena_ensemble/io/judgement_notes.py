"""What is told of files of judgements that are read in chunks: the same as of files that are read whole."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from ..errors import InputError
from ..judgements import Judgements
from ..judgements.known import known_judge
from ..judgements.orders import PlaceWords, place_words
from ..judgements.pair_names import Exchanges
from .judgement_chunks import JudgementChunks, PairChunks, Part
from .judgement_rows import Words
from .judgement_shapes import LongShape, coding_of
from .judgements import missing_note
from .unread import Unread, joined_texts, unread_lines

_FEWEST_WORDS: Final = 1000
"""verdicts of a judge by which it is told whether they can be read"""


@dataclass(frozen=True)
class FileNotes:
    """Counts over some rows of a file, which can be added."""

    pairs: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)
    """judge → pairs of the file without a usable answer; every judge that was asked is here"""
    asked: Mapping[str, int] = field(default_factory=dict)
    """judge → pairs of the chunks in which it was asked at all"""
    words: Mapping[str, Words] = field(default_factory=dict)
    unread: Mapping[str, Unread] = field(default_factory=dict)
    places: Mapping[str, PlaceWords] = field(default_factory=dict)
    repeats: int = 0
    exchanges: Exchanges = field(default_factory=Exchanges)
    ids: pl.Series | None = None
    """the chunk's own, until they are held against those of the first file"""

    def joined_with(self, ids: pl.Series) -> FileNotes:
        """The same, held against the pairs that the chunk's files have together."""
        if self.ids is None:
            return self
        return dataclasses.replace(self, ids=None, exchanges=Exchanges.of(ids, self.ids))

    def __add__(self, other: FileNotes) -> FileNotes:
        """Of both."""
        return FileNotes(
            self.pairs + other.pairs,
            _summed(self.missing, other.missing),
            _summed(self.asked, other.asked),
            _added(self.words, other.words),
            {
                name: joined_texts(self.unread.get(name, ()), other.unread.get(name, ()))
                for name in {**self.unread, **other.unread}
            },
            _added(self.places, other.places),
            self.repeats + other.repeats,
            self.exchanges + other.exchanges,
        )

    def notes(self, file: JudgementChunks) -> list[str]:
        """What is told of the file at the end, beside the notes of its shape."""
        # A judge has no column in a chunk that lacks it: all of the chunk's pairs are missing there.
        lost = {name: count + self.pairs - self.asked[name] for name, count in self.missing.items()}
        shape = file.shape
        repeats = shape.repeats_note(self.repeats) if isinstance(shape, LongShape) else []
        return [*missing_note(lost, self.pairs, "pairs"), *unread_lines(self.unread), *repeats]


def read_part(file: JudgementChunks, part: Part) -> tuple[Judgements, FileNotes]:
    """The judgements of some rows of a file, and what is to be told of them."""
    words: dict[str, Words] = {}
    unread: dict[str, Unread] = {}
    table = file.read(part.rows, part.first_row, words, unread)
    shape = file.shape
    repeats = 0
    if isinstance(shape, LongShape) and shape.sample is not None:
        rows: Sequence[Any] = part.rows.rows() if isinstance(part.rows, pl.DataFrame) else part.rows
        repeats = shape.repeats(rows)
    places = {name: place_words(name, column) for name, column in table.columns.items()}
    asked = dict.fromkeys(table.judges, len(table))
    return table, FileNotes(len(table), table.missing, asked, words, unread, places, repeats, ids=table.ids)


def check_words(
    files: Sequence[JudgementChunks], words: Sequence[Mapping[str, Words]], *, last: bool
) -> None:
    """Raise InputError where a judge's verdicts cannot be read: by its first thousand, or by all of them.

    Parameters
    ----------
    words
        For each file, judge → what its verdicts were written in so far.
    last
        Whether these were all.
    """
    for file, judges in zip(files, words, strict=True):
        for name, written in judges.items():
            if last or written.filled >= _FEWEST_WORDS:
                told = known_judge(file.known, name)
                coding = coding_of(name, file.shape.numbers, file.known)
                remembered = told is not None and told.kind == "verdicts"
                written.check(file.table.name, name, coding, known=remembered)


def check_pairs(chunks: PairChunks, pairs: int, ids: pl.Series) -> None:
    """Refuse further files that hold another pair than the first, or both forms of one.

    Parameters
    ----------
    pairs
        Pairs of a chunk in the first file.
    ids
        Those of all files together.

    Raises
    ------
    InputError
        There are more.
    """
    if len(ids) > pairs:
        raise InputError(
            f"{chunks.files[0].table.name} lacks the pair {ids[pairs]}, which another file holds; with "
            "--shards the first file names all pairs: name them alike, or leave out --shards"
        )


def check_names(chunks: PairChunks, exchanges: Sequence[Exchanges]) -> None:
    """Refuse files of which pairs were joined with their answers exchanged, though some id names no pair.

    Read whole, such files are joined by their ids as they stand.

    Parameters
    ----------
    exchanges
        For each file, and for the texts last where there are texts, what was exchanged so far.

    Raises
    ------
    InputError
        There is such an id.
    """
    names = [one.table.name for one in chunks.files] + (
        [] if chunks.text is None else [chunks.text.table.name]
    )
    for place, (name, one) in enumerate(zip(names, exchanges, strict=True)):
        if one.example is None:
            continue
        earlier = [(names[k], exchanges[k].odd) for k in (*range(place), place)]
        for other, odd in earlier:
            if odd is not None:
                raise InputError(
                    f"{name}: {one.example[0]!r} was joined with {one.example[1]!r}, its answers exchanged, "
                    f"but {odd!r} of {other} names no two answers, so that ids do not mean "
                    "item|answer_a|answer_b; write another sign for |, or name all pairs so"
                )


def _summed(one: Mapping[str, int], two: Mapping[str, int]) -> dict[str, int]:
    return dict(Counter(one) + Counter(two)) | {
        name: 0 for name in {**one, **two} if not one.get(name, 0) + two.get(name, 0)
    }


def _added(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(one)
    for name, value in two.items():
        found[name] = found[name] + value if name in found else value
    return found
