"""Prediction of a file of any size: read in chunks, predicted side by side, written as parquet shards.

    predict_shards(Ensemble.load("work"), "battles.parquet", "predicted")

A killed run goes on where it was: shards that are whole, and of the same battles, are not made again, and
the others come out equal to the bit. What is in memory is a few chunks, the models of each process, and 8
bytes for every row's id.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import polars as pl

from ..artifacts import shard_folder
from ..artifacts.cards import fold_name
from ..artifacts.files import digest_json
from ..artifacts.shard_folder import ShardFolder
from ..artifacts.workspace import Workspace
from ..backbones import head_of
from ..deadline import Deadline
from ..errors import ArtifactError, StaleError
from ..io import BattleChunks, open_chunks
from ..recipes import Recipe
from . import gammas as kept_gammas
from . import tasks
from .arguments import UseFolds, check_jobs, deadline_of, folds_of
from .chunk_passes import COLUMNS, EnsemblePass, FoldPass, Pass, content_digest
from .chunk_pool import Pool, cards_of, gammas_of, processes
from .chunk_run import OnRows, ShardedPrediction, over_chunks, tables_of
from .chunks_on_ray import on_cluster
from .ensemble import Ensemble, refuse_external
from .executors import OnRay
from .job import FoldTask, Job
from .member_recipes import check_bases, recipes_of

log = logging.getLogger(__name__)

CHUNK_ROWS: Final = 4096
_MEMBERS: Final = ".members"
MOST_PROCESSES: Final = 16


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
    executor: OnRay | None = None,
    hours: float | Deadline | None = None,
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
        Processes; default one for each core. Members on a base are predicted before the others, fold after
        fold, by one process for each card (or for each ``machine.processes`` of them).
    executor
        A Ray cluster; None is this machine. ``jobs`` are then workers, by default as many as the cluster
        holds now. The shards are the same to the bit, and all of them are written here.
    hours
        Stop before so many hours are over: chunks that are done are kept, the same call goes on.
    on_rows
        Called with the rows that are done.

    Raises
    ------
    InputError
        Rows cannot be read, an id repeats (named by row; the shards before it stay), or a member is external.
    StaleError
        ``out`` holds shards of another ensemble, of chunks of another size, or of another file by whose rows
        gamma was estimated.
    OutOfTime
        The hours were over before the last chunk.
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
    deadline = deadline_of(hours)
    chunks = open_chunks(Path(file), format=format, rows=chunk_rows)
    n_classes = ensemble.card.n_classes
    job = Job(place.root, None, None, None, n_classes=n_classes, use_folds=folds)
    plan = {name: tasks.plan(job, name, recipes[name]) for name in names}
    pools = _Pools(jobs, executor)
    with Workspace(folder).locked("predicting"):
        apart = {
            name: [
                _one_member(
                    ensemble,
                    FoldPass(chunks, place.root, new_run(), task, n_classes),
                    folder,
                    pools,
                    deadline,
                    on_rows,
                )
                for task in planned
            ]
            for name, planned in plan.items()
            if head_of(recipes[name].backbone).needs_base
        }
        together = {name: planned for name, planned in plan.items() if name not in apart}
        final = EnsemblePass(chunks, place.root, new_run(), together)
        beside = tables_of(apart)
        with pools.of(final, [recipes[name] for name in together]) as pool:
            key = _key(ensemble, place.root, plan, chunks)
            gammas = _known_gammas(place, folder, plan, key, chunks)
            if gammas is None:
                first = next(iter(chunks.raw()))
                gammas = pool.submit(gammas_of, first, beside(first.number)).result()
            log.info("gamma of fold averages: %s", ", ".join(f"{k} {v:.3f}" for k, v in gammas.items()))
            shards = ShardFolder(folder, key | {"gammas": gammas})
            done, kept = over_chunks(
                pool, final, shards, gammas=gammas, beside=beside, deadline=deadline, on_rows=on_rows
            )
        manifest = shards.finish(done, COLUMNS)
    return ShardedPrediction(folder, manifest, kept, {"gammas": gammas})


def _one_member(
    ensemble: Ensemble,
    given: FoldPass,
    out: Path,
    pools: _Pools,
    deadline: Deadline | None,
    on_rows: OnRows | None,
) -> Path:
    """One fold model's predictions of the whole file, in shards of their own; returns their folder."""
    task = given.task
    folder = out / _MEMBERS / task.member / fold_name(task.fold)
    key = {"predictions": task.oof_key.model_dump(), "model": _model(given.root, task)}
    shards = ShardFolder(folder, key | {"ensemble": ensemble.card.card_sha256} | _chunk_key(given.chunks))
    tell = None if on_rows is None else (lambda rows, what: on_rows(rows, f"{task.label}, {what}"))
    with pools.of(given, [task.recipe]) as pool:
        done, _ = over_chunks(pool, given, shards, deadline=deadline, on_rows=tell)
    shards.finish(done, ())
    return folder


@dataclass(frozen=True)
class _Pools:
    """Where passes run."""

    jobs: int | None
    executor: OnRay | None

    def of(self, given: Pass, recipes: Sequence[Recipe]) -> AbstractContextManager[Pool]:
        """The pool of a pass that holds models of these recipes."""
        if self.executor is not None:
            return on_cluster(given, replace(self.executor, jobs=self.jobs), recipes)
        if isinstance(given, FoldPass):
            cards = cards_of(given.task.recipe, self.jobs)
            return processes(given, max(1, len(cards)), cards)
        return processes(given, self.jobs or min(len(os.sched_getaffinity(0)), MOST_PROCESSES))


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


def new_run() -> str:
    """A name for a pass that no other has."""
    return f"{socket.gethostname()}-{os.getpid()}-{time.monotonic_ns()}"


def _model(root: Path, task: FoldTask) -> str:
    """What a fold learned: a digest over its files. Models of equal keys need not be equal in all bits."""
    card = Job(root, None, None, None).artifacts(task.member).fold_card(task.fold)
    assert card is not None, "planned from the fitted folds"
    return digest_json(card.files)


def _key(
    ensemble: Ensemble, root: Path, plan: Mapping[str, Sequence[FoldTask]], chunks: BattleChunks
) -> dict[str, Any]:
    """What the numbers depend on beside the battles."""
    models = {
        name: digest_json([[task.oof_key.model_dump(), _model(root, task)] for task in planned])
        for name, planned in plan.items()
    }
    return {"ensemble": ensemble.card.card_sha256, "models": models, **_chunk_key(chunks)}


def _chunk_key(chunks: BattleChunks) -> dict[str, Any]:
    return {
        "chunk_rows": chunks.rows,
        "format": chunks.found.form.name,
        "arena_ensemble": tasks.versions()["arena-ensemble"],
    }
