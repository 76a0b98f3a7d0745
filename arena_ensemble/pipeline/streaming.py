"""Prediction of a file of any size: read in chunks, predicted side by side, written as parquet shards.

    predict_shards(Ensemble.load("work"), "battles.parquet", "predicted")

A killed run goes on where it was: shards that are whole, and of the same battles, are not made again, and
the others come out equal to the bit. What is in memory is a few chunks, the models of each process, and 8
bytes for every row's id.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ..artifacts import shard_folder
from ..artifacts.cards import fold_name
from ..artifacts.files import digest_json
from ..artifacts.shard_folder import Manifest, Shard, ShardFolder
from ..artifacts.workspace import Workspace
from ..backbones import head_of
from ..errors import ArtifactError, InputError, StaleError
from ..io import BattleChunks, open_chunks
from . import gammas as kept_gammas
from . import tasks
from .arguments import UseFolds, check_jobs, folds_of
from .chunk_passes import COLUMNS, Done, EnsemblePass, FoldPass, content_digest
from .chunk_pool import Pass, Pool, do, gammas_of, processes
from .ensemble import Ensemble, refuse_external
from .member_recipes import check_bases, recipes_of
from .seen_ids import SeenIds
from .tasks import FoldTask, Job

log = logging.getLogger(__name__)

CHUNK_ROWS: Final = 4096
_MEMBERS: Final = ".members"
_MOST_PROCESSES: Final = 16
OnRows = Callable[[int, str], None]
"""``(rows done, what)``: called after every chunk."""


@dataclass(frozen=True)
class ShardedPrediction:
    """What :func:`predict_shards` left in a folder."""

    folder: Path
    manifest: Manifest
    gammas: dict[str, float]
    kept: int
    """shards that were finished by an earlier run"""

    @property
    def rows(self) -> int:
        """Rows predicted, in all shards."""
        return self.manifest.rows

    @property
    def files(self) -> list[Path]:
        """The shards, in the order of their rows."""
        return [self.folder / shard.file for shard in self.manifest.shards]


def predict_shards(
    ensemble: Ensemble,
    file: str | Path,
    out: str | Path,
    *,
    workspace: str | Path | Workspace | None = None,
    format: str | None = None,
    chunk_rows: int = CHUNK_ROWS,
    jobs: int | None = None,
    offline: bool = False,
    bases: Mapping[str, str | Path] | None = None,
    use_folds: UseFolds = None,
    on_rows: OnRows | None = None,
) -> ShardedPrediction:
    """Predict a battles file of any size into a folder of parquet shards with a manifest.

    Every row of the file is in one shard, in the file's order: ``id`` and Kaggle's three probabilities.
    A row's prediction does not depend on the chunk that it is read in. How much averages over folds are
    sharpened (gamma) is what the ensemble keeps from its first test file, as for `Ensemble.predict_proba`;
    where it keeps none, it is estimated from the first chunk. The manifest notes it.

    Parameters
    ----------
    file
        Parquet, JSON lines or CSV, as `io.open_chunks` reads it. Outcomes are not read.
    out
        The folder, new or left by the same call.
    workspace, offline, bases, use_folds, format
        As in `workflow.predict`.
    chunk_rows
        Rows read, predicted and written at a time.
    jobs
        Processes; default one for each core. Members on a base are predicted by one process, before the
        others, fold after fold.
    on_rows
        Called with the rows that are done.

    Raises
    ------
    InputError
        Rows cannot be read, an id repeats (named by row; the shards before it stay), or a member is external.
    StaleError
        ``out`` holds shards of another ensemble, of chunks of another size, or of another file by whose rows
        gamma was estimated.
    MemberError, ArtifactError
        A member fails, or its models are missing or damaged: there is no prediction without it.
    """
    given = workspace if workspace is not None else ensemble.workspace
    place, folder = Workspace.of("." if given is None else given), Path(out)
    check_jobs(jobs)
    folds, names = folds_of(use_folds), ensemble.members
    refuse_external(place, names)
    ensemble.check_members(place)
    recipes = recipes_of(place, names, offline=offline, bases=bases, partly=True)
    check_bases(recipes, bases)
    chunks = open_chunks(Path(file), format=format, rows=chunk_rows)
    n_classes = ensemble.card.n_classes
    job = Job(place.root, None, None, None, n_classes=n_classes, use_folds=folds)
    plan = {name: tasks.plan(job, name, recipes[name]) for name in names}
    with Workspace(folder).locked("predicting"):
        apart = {
            name: [
                _one_member(FoldPass(chunks, folder, place.root, task, n_classes, _new_run()), on_rows)
                for task in planned
            ]
            for name, planned in plan.items()
            if head_of(recipes[name].backbone).needs_base
        }
        together = {name: planned for name, planned in plan.items() if name not in apart}
        final = EnsemblePass(chunks, folder, place.root, together, apart, _new_run())
        with processes(jobs or min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)) as pool:
            key = _key(ensemble, plan, chunks)
            gammas = _known_gammas(place, folder, plan, key, chunks)
            if gammas is None:
                gammas = pool.submit(gammas_of, final, next(iter(chunks.raw()))).result()
            log.info("gamma of fold averages: %s", ", ".join(f"{k} {v:.3f}" for k, v in gammas.items()))
            shards = ShardFolder(folder, key | {"gammas": gammas})
            done, kept = _over_chunks(pool, final, shards, gammas, on_rows)
        manifest = shards.finish(done, COLUMNS)
    return ShardedPrediction(folder, manifest, gammas, kept)


def _one_member(given: FoldPass, on_rows: OnRows | None) -> Path:
    """One fold model's predictions of the whole file, in shards of their own; returns their folder."""
    task = given.task
    folder = given.folder / _MEMBERS / task.member / fold_name(task.fold)
    key = {"predictions": task.oof_key.model_dump(), **_chunk_key(given.chunks)}
    given = dataclasses.replace(given, folder=folder)
    shards = ShardFolder(folder, key)
    tell = None if on_rows is None else (lambda rows, what: on_rows(rows, f"{task.label}, {what}"))
    with processes(1) as pool:
        done, _ = _over_chunks(pool, given, shards, {}, tell)
    shards.finish(done, ())
    return folder


def _over_chunks(
    pool: Pool, given: Pass, shards: ShardFolder, gammas: Mapping[str, float], on_rows: OnRows | None
) -> tuple[list[Shard], int]:
    """Every chunk's shard in order, and how many were there already.

    Raises
    ------
    InputError
        An id repeats; both rows are named.
    """
    shards.start()
    seen, finished, kept, rows = SeenIds(), list[Shard](), 0, 0
    waiting: deque[Future[Done]] = deque()
    begun = time.monotonic()
    raws = given.chunks.raw()
    try:
        while True:
            for raw in itertools.islice(raws, pool.ahead - len(waiting)):
                waiting.append(pool.submit(do, given, raw, shards.known(raw.number), gammas))
            if not waiting:
                break
            done = waiting.popleft().result()
            repeated = seen.add(done.keys)
            finished.append(done.shard)
            if not done.kept:
                shards.note(done.shard)
            if len(repeated):
                _refuse_repeated(given, finished, repeated)
            kept, rows = kept + done.kept, rows + done.shard.rows
            if on_rows is not None:
                on_rows(rows, f"{rows / max(time.monotonic() - begun, 1e-9):,.0f} rows/s")
    finally:
        for future in waiting:
            future.cancel()
    return finished, kept


def _refuse_repeated(given: Pass, finished: list[Shard], places: npt.NDArray[np.int64]) -> None:
    """Name the first row whose id an earlier shard holds; equal keys of other ids are no repetition."""
    last = finished[-1]
    ids = shard_folder.read_shard(given.folder, last)["id"]
    for place in places.tolist():
        for shard in finished[:-1]:
            same = (shard_folder.read_shard(given.folder, shard)["id"] == ids[place]).arg_true()
            if len(same):
                name = given.chunks.table.name
                raise InputError(
                    f"{name} row {last.first_row + place} (id {ids[place]}): the id repeats row "
                    f"{shard.first_row + same[0]}; ids must be unique: remove the doubled rows, or number "
                    "the rows anew"
                )


def _known_gammas(
    place: Workspace,
    folder: Path,
    plan: Mapping[str, Sequence[FoldTask]],
    key: Mapping[str, Any],
    chunks: BattleChunks,
) -> dict[str, float] | None:
    """Those of the shards that are there already, else those that are kept with the ensemble.

    Raises
    ------
    StaleError
        Those of the shards are not the kept ones, and the shards are of another file.
    """
    note, kept = kept_gammas.kept(place), None
    if note is not None and note.folds == {name: len(planned) for name, planned in plan.items()}:
        kept = dict(note.gammas)
    before = ShardFolder.key_in(folder)
    if isinstance(gammas := before.pop("gammas", None), dict) and before == json.loads(json.dumps(key)):
        if gammas != kept and _of_another_file(ShardFolder(folder, {**key, "gammas": gammas}), chunks):
            raise StaleError(
                f"{folder} holds predictions of another file, from whose rows gamma was estimated; give "
                "another folder, or remove it"
            )
        return gammas
    return kept


def _of_another_file(shards: ShardFolder, chunks: BattleChunks) -> bool:
    """Whether the first shard shares no id with the file's first chunk: edited rows keep theirs."""
    known, raw = shards.known(0), next(iter(chunks.raw()), None)
    if known is None or raw is None:
        return False
    first = chunks.battles(raw)
    if known.battles == content_digest(first):
        return False
    try:
        ids = shard_folder.read_shard(shards.folder, known)["id"]
    except ArtifactError:  # it is made again
        return False
    return set(ids.cast(pl.String)).isdisjoint(first.ids.cast(pl.String))


def _new_run() -> str:
    return f"{os.getpid()}-{time.monotonic_ns()}"


def _key(ensemble: Ensemble, plan: Mapping[str, Sequence[FoldTask]], chunks: BattleChunks) -> dict[str, Any]:
    """What the numbers depend on beside the battles."""
    models = {
        name: digest_json([task.oof_key.model_dump() for task in planned]) for name, planned in plan.items()
    }
    return {"ensemble": ensemble.card.card_sha256, "models": models, **_chunk_key(chunks)}


def _chunk_key(chunks: BattleChunks) -> dict[str, Any]:
    return {
        "chunk_rows": chunks.rows,
        "format": chunks.found.form.name,
        "arena_ensemble": tasks.versions()["arena-ensemble"],
    }
