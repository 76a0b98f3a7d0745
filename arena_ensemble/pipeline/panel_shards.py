"""Judged pairs of any number, predicted by a panel chunk by chunk into a folder of parquet shards.

    predict_panel_shards("mine", ["verdicts.parquet"], "predicted")

What holds of `streaming.predict_shards` holds here: a killed run goes on, shards that are whole and of the
same judgements are not made again, and a pair's probabilities are those of `predict_panel` to the bit.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import polars as pl

from ..artifacts.cards import EnsembleCard, read_card
from ..artifacts.files import digest_json
from ..artifacts.shard_folder import ShardFolder
from ..artifacts.workspace import Workspace
from ..battles import Battles
from ..deadline import Deadline
from ..errors import InputError
from ..io import open_chunks
from ..io.column_names import WINNERS
from ..io.judgement_chunks import PairChunks, RawPairs, open_judgements
from ..io.judgement_notes import FileNotes, check_names, check_pairs, check_words, read_part
from ..judgements import First, Judgements
from ..judgements.pair_names import Exchanges, odd_name, pair_names
from ..panels import Panel
from ..panels.folder import folder_threshold
from . import tasks
from .arguments import check_jobs, deadline_of
from .chunk_passes import Beside, Loaded, ReadChunk, content_digest
from .chunk_pool import processes
from .chunk_run import OnRows, ShardedPrediction, over_chunks
from .chunks_on_ray import on_cluster
from .executors import OnRay
from .pair_texts import texts_of
from .panel_prediction import PanelPrediction, check_known, check_texts, predicted, warn_absent, warn_numbers
from .streaming import CHUNK_ROWS, MOST_PROCESSES, new_run

log = logging.getLogger(__name__)

_FILES: Final = "files"


@dataclass(frozen=True)
class PanelPass:
    """A panel over files of judgements."""

    chunks: PairChunks
    root: Path
    """the panel's folder"""
    run: str
    equal_style: bool

    @property
    def shared(self) -> bool:
        """A panel is small, and goes to workers with its chunks."""
        return False

    def raws(self) -> Iterator[RawPairs]:
        """Pairs as they lie in the files."""
        return self.chunks.raw()

    def read(self, raw: RawPairs) -> ReadChunk:
        """The judgements of a chunk's pairs, and their texts."""
        seen, tables = list[FileNotes](), list[Judgements]()
        for file, part in zip(self.chunks.files, raw.parts, strict=True):
            table, notes = (None, FileNotes()) if part is None else read_part(file, part)
            tables += [] if table is None else [table]
            seen.append(notes)
        given = Judgements.joined(tables)
        check_pairs(self.chunks, len(tables[0]), given.ids)
        seen = [one.joined_with(given.ids) for one in seen]
        battles, digest = None, given.digest()
        if self.chunks.text is not None:
            text = self.chunks.text
            parts = [text.battles(part).frame for part in raw.texts]
            whole = Battles(pl.concat(parts))
            exchanges = Exchanges.of(whole.ids, given.ids)
            seen.append(FileNotes(exchanges=dataclasses.replace(exchanges, odd=odd_name(whole.ids))))
            battles = texts_of(whole, given.ids, name=text.table.name)
            digest = digest_json([digest, content_digest(battles)])
        return ReadChunk((given, battles), given.ids, digest, {_FILES: seen})

    def names(self, ids: pl.Series) -> pl.Series:
        """One name for both forms of a pair where files are joined, each id by itself where one is read."""
        joined = len(self.chunks.files) > 1 or self.chunks.text is not None
        return pair_names(ids) if joined else ids

    def loaded(self) -> Loaded:
        """The panel in memory."""
        return _LoadedPanel(Panel.load(self.root), self.equal_style)

    def places(self) -> list[Path]:
        """The panel's folder."""
        return [self.root]

    def at(self, root: Path) -> Self:
        """The same with a panel that lies elsewhere."""
        return dataclasses.replace(self, root=root)

    def repeated(self, id_: Any, row: int, earlier: int) -> InputError:
        """Rows of one pair that do not stand together, or a pair that is there twice."""
        leader = self.chunks.files[0]
        what = f"{leader.table.name} pair {row} (id {id_}): the pair comes again after pair {earlier}"
        if not leader.shape.long:
            return InputError(f"{what}; ids must be unique: remove the doubled rows, or leave out --shards")
        return InputError(
            f"{what}; with --shards all rows of a pair stand together: sort them, {leader.sorting}, or leave "
            "out --shards"
        )


@dataclass(frozen=True)
class _LoadedPanel:
    panel: Panel
    equal_style: bool

    def shard(self, read: ReadChunk, gammas: Mapping[str, float], beside: Beside) -> pl.DataFrame:
        given, battles = read.content
        check_known(self.panel, given.judges)
        found, level = predicted(self.panel, given, battles, equal_style=self.equal_style)
        return PanelPrediction(given.ids, found, equal_style=level).frame(logs=False)


@dataclass
class _Seen:
    """What only all chunks together tell of every file, and of the texts last."""

    chunks: PairChunks
    files: list[FileNotes] = field(default_factory=list)

    @property
    def judges(self) -> set[str]:
        """Those that were asked."""
        return {name for one in self.files for name in one.missing}

    def add(self, notes: Mapping[str, Any]) -> None:
        new: list[FileNotes] = notes[_FILES]
        self.files = [one + two for one, two in zip(self.files, new, strict=True)] if self.files else new
        self._check(last=False)

    def check(self) -> None:
        """Refuse and tell what only the end shows, as it is told of files that are read whole."""
        self._check(last=True)
        named = [one.table.name for one in self.chunks.files]
        for name, file, one in zip(named, self.chunks.files, self.files, strict=False):
            for line in one.notes(file):
                log.warning("%s: %s", name, line)
        for one in self.files[1 : len(named)]:
            if one.exchanges.note:
                log.warning("judgements: %s", one.exchanges.note)
        if self.chunks.text is not None and (note := self.files[-1].exchanges.note):
            log.warning("%s: %s", self.chunks.text.table.path, note)

    def _check(self, *, last: bool) -> None:
        check_words(self.chunks.files, [one.words for one in self.files[: len(self.chunks.files)]], last=last)
        check_names(self.chunks, [one.exchanges for one in self.files])
        for file, one in zip(self.chunks.files, self.files, strict=False):
            for words in one.places.values():
                words.check(file.table.name)


def predict_panel_shards(
    folder: str | Path,
    judgements: Sequence[str | Path],
    out: str | Path,
    *,
    text: str | Path | None = None,
    text_format: str | None = None,
    numbers: str | None = None,
    first: First = First.A,
    format: str | None = None,
    equal_style: bool = False,
    chunk_rows: int = CHUNK_ROWS,
    jobs: int | None = None,
    executor: OnRay | None = None,
    hours: float | Deadline | None = None,
    on_rows: OnRows | None = None,
) -> ShardedPrediction:
    """Predict judged pairs of any number into a folder of parquet shards with a manifest.

    Every pair is in one shard, in the order of the first file: ``id`` and Kaggle's three probabilities (and
    ``equal_a, equal_b, equal_tie`` at equal style). All rows of a pair stand together; further files, and
    the texts, hold the pairs in the same order.

    Parameters
    ----------
    folder, judgements, text, text_format, numbers, first, format, equal_style
        As for `predict_panel`.
    out, chunk_rows, jobs, executor, hours, on_rows
        As for `streaming.predict_shards`; ``chunk_rows`` are pairs.

    Raises
    ------
    InputError
        As for `predict_panel`; a file that is read whole (a benchmark's results, scores of answers); pairs
        that stand in another order, or apart.
    StaleError
        ``out`` holds shards of another panel, or chunks of another size.
    OutOfTime
        The hours were over before the last chunk.
    """
    check_jobs(jobs)
    place, target = Path(folder), Path(out)
    panel = Panel.load(place)
    check_texts(panel, None if text is None else Path(text), equal_style=equal_style)
    deadline = deadline_of(hours)
    if chunk_rows < 1:
        raise InputError(f"chunks of {chunk_rows} pairs: give at least 1")
    warn_numbers(panel, numbers)
    files = tuple(
        open_judgements(Path(one), numbers=numbers, first=first, format=format, known=panel.known_)
        for one in judgements
    )
    if not files:
        raise InputError("no judgements; give at least one file")
    for one in files:
        for note in one.shape.notes:
            log.warning("%s: %s", one.table.name, note)
    texts = None if text is None else open_chunks(Path(text), format=text_format, rows=chunk_rows)
    kinds = {one.whole_ids for one in files} | (set() if texts is None else {texts.whole_ids})
    if len(kinds) > 1:
        raise InputError("judgements: ids are integers in one file and strings in another; write them alike")
    chunks = PairChunks(files, texts, chunk_rows)
    given = PanelPass(chunks, place.resolve(), new_run(), equal_style)
    card = read_card(place, EnsembleCard)
    assert card is not None, "loaded above"
    key = {
        "panel": card.card_sha256,
        "chunk_rows": chunk_rows,
        "reading": digest_json([numbers, int(first), [one.shape.columns for one in files], equal_style]),
        "arena_ensemble": tasks.versions()["arena-ensemble"],
    }
    seen = _Seen(chunks)
    with Workspace(target).locked("predicting"):
        shards = ShardFolder(target, key)
        workers = jobs or min(len(os.sched_getaffinity(0)), MOST_PROCESSES)
        with (
            processes(given, workers)
            if executor is None
            else on_cluster(given, dataclasses.replace(executor, jobs=jobs), [])
        ) as pool:
            done, kept = over_chunks(
                pool, given, shards, deadline=deadline, on_rows=on_rows, on_notes=seen.add
            )
        seen.check()
        equal = [name for name in ("equal_a", "equal_b", "equal_tie") if equal_style]
        manifest = shards.finish(done, ["id", *WINNERS, *equal])
    absent = [name for name in panel.judge_names_ if name not in seen.judges]
    warn_absent(absent, manifest.rows)
    return ShardedPrediction(target, manifest, kept, {"absent": absent, "threshold": folder_threshold(place)})
