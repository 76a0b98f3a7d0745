"""All chunks of a file through one pass: handed out ahead, kept in order, each id once, in time."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..artifacts import shard_folder
from ..artifacts.shard_folder import Manifest, Shard, ShardFolder
from ..deadline import Deadline
from ..errors import InputError, OutOfTime
from .chunk_passes import Beside, Done, MemberShard, Pass
from .chunk_pool import Answer, Pool, do
from .seen_ids import SeenIds

OnRows = Callable[[int, str], None]
"""``(rows done, what)``: called after every chunk."""


@dataclass(frozen=True)
class ShardedPrediction:
    """What was left in a folder of shards."""

    folder: Path
    manifest: Manifest
    kept: int
    """shards that were finished by an earlier run"""
    facts: dict[str, Any]
    """``gammas`` of an ensemble; ``absent`` judges and ``threshold`` of a panel"""

    @property
    def gammas(self) -> dict[str, float]:
        """How much averages over folds were sharpened; empty for a panel."""
        return dict(self.facts.get("gammas", {}))

    @property
    def rows(self) -> int:
        """Rows predicted, in all shards."""
        return self.manifest.rows

    @property
    def files(self) -> list[Path]:
        """The shards, in the order of their rows."""
        return [self.folder / shard.file for shard in self.manifest.shards]


def over_chunks(
    pool: Pool,
    given: Pass,
    shards: ShardFolder,
    *,
    gammas: Mapping[str, float] | None = None,
    beside: Callable[[int], Beside] | None = None,
    deadline: Deadline | None = None,
    on_rows: OnRows | None = None,
    on_notes: Callable[[Mapping[str, Any]], None] | None = None,
) -> tuple[list[Shard], int]:
    """Every chunk's shard in order, and how many were there already.

    Parameters
    ----------
    beside
        A chunk's number → what fold models predicted of it before.
    deadline
        No chunk is begun that would not be done by then, if it took as long as the longest before it.
    on_notes
        Is given every chunk's notes, in order; what it raises ends the run.

    Raises
    ------
    InputError
        An id repeats; both rows are named.
    OutOfTime
        Chunks are left; those that were done are kept.
    """
    shards.start()
    seen, finished, kept, rows, longest = SeenIds(), list[Shard](), 0, 0, 0.0
    waiting: deque[tuple[float, Answer[Done]]] = deque()
    clock = time.monotonic if deadline is None else deadline.clock
    begun = clock()
    raws = given.raws()
    try:
        while True:
            late = deadline is not None and deadline.remaining() <= longest
            for raw in itertools.islice(raws, 0 if late else pool.ahead - len(waiting)):
                tables = {} if beside is None else beside(raw.number)
                answer = pool.submit(do, raw, shards.whole(raw.number), gammas or {}, tables)
                waiting.append((clock(), answer))
            if not waiting:
                if late and next(raws, None) is not None:
                    raise OutOfTime(
                        f"{shards.folder}: time is up, {rows:,} rows are predicted; the same command goes on"
                    )
                break
            since, answer = waiting.popleft()
            done = answer.result()
            longest = max(longest, clock() - since)
            repeated = seen.add(done.keys)
            finished.append(done.shard)
            if done.content is not None:
                shards.keep(done.shard, done.content)
            if len(repeated):
                _refuse_repeated(given, shards.folder, finished, repeated)
            if on_notes is not None:
                on_notes(done.notes)
            kept, rows = kept + done.kept, rows + done.shard.rows
            if on_rows is not None:
                on_rows(rows, f"{rows / max(clock() - begun, 1e-9):,.0f} rows/s")
    finally:
        for _, answer in waiting:
            answer.cancel()
    return finished, kept


def _refuse_repeated(given: Pass, folder: Path, finished: list[Shard], places: npt.NDArray[np.int64]) -> None:
    """Name the first row whose id an earlier shard holds; equal keys of other ids are no repetition."""
    last = finished[-1]
    ids = shard_folder.read_shard(folder, last)["id"]
    names = given.names(ids)
    for place in places.tolist():
        for shard in finished[:-1]:
            known = given.names(shard_folder.read_shard(folder, shard)["id"])
            same = (known == names[place]).arg_true()
            if len(same):
                raise given.repeated(ids[place], last.first_row + place, shard.first_row + int(same[0]))


def tables_of(folders: Mapping[str, Sequence[Path]]) -> Callable[[int], Beside]:
    """A chunk's number → what each member's fold models predicted of it, read from their finished folders."""
    known = {
        name: [(folder, shard_folder.read_manifest(folder)) for folder in many]
        for name, many in folders.items()
    }

    def beside(number: int) -> Beside:
        for folder, manifest in itertools.chain.from_iterable(known.values()):
            if number >= len(manifest.shards):
                raise InputError(
                    f"{folder} ends at row {manifest.rows:,} and the file goes on: it grew while it was "
                    "predicted; run the same command again"
                )
        return {
            name: [
                MemberShard(
                    manifest.shards[number].battles, shard_folder.read_bytes(folder, manifest.shards[number])
                )
                for folder, manifest in many
            ]
            for name, many in known.items()
        }

    return beside
