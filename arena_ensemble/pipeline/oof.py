"""Cross-fitting: train on the other folds, predict this one, keep what was said. Swap lives here.

One artifact per (member, fold): the fitted model under ``models/<name>/fold-<k>/``, its reading of
the held-out rows under ``oof/<name>/fold-<k>.parquet`` and of the test rows under
``oof/<name>/test-<k>.parquet``. When every fold is there they are merged into ``oof.parquet`` and
``test.parquet`` and the member's card is written. Everything is keyed by digests, so that a rerun
does nothing, a kill loses only the running fold, and a change is named instead of mixed in.
"""

from __future__ import annotations

import importlib.metadata
import logging
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from .. import backbones, metrics
from ..artifacts import members, store
from ..backbones.base import Backbone, Fitted
from ..battles import Battles
from ..diagnostics import collapse
from ..errors import ArtifactError, InputError, MemberError
from ..folds import Folds
from ..predictions import Floats, Predictions
from ..recipes import Recipe
from . import lessons, second_reading

log = logging.getLogger(__name__)

Progress = Callable[[float, float, str], None]
_KEY: Final = ("recipe", "data", "folds", "extra", "teacher", "fold")
_LIBRARIES: Final = ("torch", "transformers", "peft", "scikit-learn", "lightgbm", "numpy", "polars")


@dataclass(frozen=True)
class Job:
    """What all tasks of one run share. Without ``train`` the fitted models only read ``test``."""

    root: Path
    train: Battles | None
    folds: Folds | None
    test: Battles | None = None
    extra: lessons.Extra | None = None
    outcomes: int = 3
    """2 where no tie can be voted: then no member says P(tie)"""
    notes: tuple[str, ...] = ()
    """what the reader said of the training file, such as how an order was drawn; for the cards"""

    @property
    def workspace(self) -> store.Workspace:
        """The workspace that the tasks write to."""
        return store.Workspace(self.root)


@dataclass(frozen=True)
class FoldTask:
    """One member, one fold; ``key`` and ``read_key`` are the digests that its artifacts must carry."""

    member: str
    recipe: Recipe
    fold: int
    key: dict[str, Any]
    read_key: dict[str, Any]
    test_key: dict[str, Any] | None

    @property
    def label(self) -> str:
        """How a person names the task."""
        return f"{self.member} fold {self.fold}"


def versions() -> dict[str, str]:
    """Versions of this package and of the libraries whose numbers end up in artifacts."""
    found = {}
    for name in ("arena-ensemble", *_LIBRARIES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def plan(job: Job, member: str, recipe: Recipe) -> list[FoldTask]:
    """The tasks of one member, one per fold, whether done or not.

    Raises
    ------
    InputError
        There is nothing to train on and the member was never trained here, or its teacher is not
        finished.
    """
    if job.train is None or job.folds is None:
        keys = _keys_of_fitted(job.workspace, member)
    else:
        base = {
            "recipe": recipe.fit_digest(),
            "data": job.train.digest(),
            "folds": job.folds.digest,
            "extra": None if job.extra is None else job.extra.digest,
            "teacher": lessons.teacher_digest(job.workspace, recipe),
        }
        keys = [{**base, "fold": fold} for fold in range(job.folds.n_folds)]
    test_digest = None if job.test is None else job.test.digest(outcomes=False)
    tasks = []
    for fold, key in enumerate(keys):
        read_key = {**key, "read_orders": recipe.orders(), "outcomes": job.outcomes}
        test_key = None if test_digest is None else {**read_key, "test": test_digest}
        tasks.append(FoldTask(member, recipe, fold, key, read_key, test_key))
    return tasks


def _keys_of_fitted(workspace: store.Workspace, member: str) -> list[dict[str, Any]]:
    """The keys that the fold models on disk were made with."""
    keys: list[dict[str, Any]] = []
    while (card := store.read_card(workspace.models / member / f"fold-{len(keys)}")) is not None:
        keys.append({name: card.get(name) for name in _KEY})
    if not keys:
        raise InputError(
            f"member {member!r} has no fitted models in {workspace.models / member}; train it first"
        )
    return keys


def check_not_stale(workspace: store.Workspace, task: FoldTask) -> None:
    """Refuse to mix a fold trained on something else into this run.

    Raises
    ------
    StaleError
        Naming which of recipe, data, folds differs and what to do.
    """
    folder = workspace.models / task.member / f"fold-{task.fold}"
    card = store.read_card(folder)
    if card is not None and (differs := store.conflict(card, task.key)):
        raise store.stale(
            folder,
            differs,
            "restore it, use another --workspace, or make the member anew with --remake " + task.member,
        )


def is_done(job: Job, task: FoldTask) -> bool:
    """Whether this task has nothing left to do."""
    said = job.workspace.oof / task.member
    k = task.fold
    if job.train is not None and not (
        members.is_merged(said, _merged(task.read_key))
        or members.shard_done(said / f"fold-{k}.parquet", task.read_key)
    ):
        return False
    return task.test_key is None or (
        members.shard_done(said / members.TEST, _merged(task.test_key))
        or members.shard_done(said / f"test-{k}.parquet", task.test_key)
    )


def _merged(key: dict[str, Any]) -> dict[str, Any]:
    """The key of the table that all folds' shards with this kind of key are merged into."""
    return {**key, "fold": None}


def run_fold(job: Job, task: FoldTask, on_progress: Progress | None = None) -> None:
    """Fit one fold if it is not fitted, read its held-out rows and the test rows; keep all of it.

    Raises
    ------
    MemberError
        A group is on both sides of the fold: the fold file is broken.
    """
    workspace, k = job.workspace, task.fold
    backbone = backbones.get(task.recipe.backbone)
    train = valid = soft = weights = None
    learned: dict[str, Any] = {}
    if job.train is not None and job.folds is not None:
        inside = job.folds.fold == k
        if np.intersect1d(job.folds.group[inside], job.folds.group[~inside]).size:
            raise MemberError(f"{task.label}: a group is on both sides of the fold; remove {workspace.oof}")
        outside = np.flatnonzero(~inside)
        train, valid = job.train.take(outside), job.train.take(np.flatnonzero(inside))
        if store.read_card(workspace.models / task.member / f"fold-{k}") is None:  # still to be trained
            teacher = lessons.teacher_of(workspace, task.recipe, job.train, job.folds)
            if teacher is not None:
                soft, learned["teacher"] = teacher.log_probs[outside], teacher.facts
            if job.extra is not None:
                learned["extra"] = job.extra.facts(k)
            train, weights, soft = lessons.joined(job.extra, train, k, soft)
    fitted = _fitted(workspace, task, backbone, train, valid, soft, weights, learned, on_progress)
    said = workspace.oof / task.member
    for battles, name, key in (
        (valid, f"fold-{k}.parquet", task.read_key),
        (job.test, f"test-{k}.parquet", task.test_key),
    ):
        if battles is None or key is None or members.shard_done(said / name, key):
            continue
        shown, other = _read(backbone, fitted, battles, task.recipe, on_progress)
        fold = np.full(len(battles), k, dtype=np.int64)
        try:
            reading = Predictions(battles.ids, shown, fold, other)
        except InputError as error:
            raise MemberError(
                f"it diverged: {error}; lower its rate and make it anew with --remake {task.member}"
            ) from None
        if job.outcomes == 2:
            reading = reading.without_ties()
        frame = members.reading_frame(battles.ids, fold, reading.log_probs, reading.swap_log_probs)
        members.write_shard(said / name, frame, key)


def told(job: Job, task: FoldTask) -> str:
    """Where a fold was trained and in how long, from its card: `` on cpu, float32, sdpa, fitted in 1 s``."""
    card = store.read_card(job.workspace.models / task.member / f"fold-{task.fold}") or {}
    facts = card.get("facts") or {}
    where = [str(facts[name]) for name in ("device", "dtype", "attention") if facts.get(name)]
    return f" on {', '.join(where)}, fitted in {card['seconds']:.0f} s" if where else ""


def _fitted(
    workspace: store.Workspace,
    task: FoldTask,
    backbone: Backbone,
    train: Battles | None,
    valid: Battles | None,
    soft: Floats | None,
    weights: Floats | None,
    learned: dict[str, Any],
    on_progress: Progress | None,
) -> Fitted:
    """The fold's model: loaded if it is there and whole, else trained, kept and loaded."""
    final = workspace.models / task.member / f"fold-{task.fold}"
    card = store.read_card(final)
    if card is not None and not store.conflict(card, task.key):
        if not store.is_whole(final, card):
            raise ArtifactError(
                f"{final}: a file is missing or its SHA-256 differs from {store.CARD}; "
                f"remove {final} and run again"
            )
        with backbones.reraise_os_errors(final):
            return backbone.load(final, recipe=task.recipe, cache=workspace.cache)
    check_not_stale(workspace, task)
    if train is None:
        raise ArtifactError(f"{final}: no fitted model; copy the folder of the training machine here")
    partial = final.with_name(final.name + ".partial")
    resume = _resumable(partial, task.key)
    start = time.monotonic()
    with backbones.reraise_os_errors(partial):
        fitted = backbone.fit(
            train,
            valid=valid,
            soft_targets=soft,
            weights=weights,
            recipe=task.recipe,
            folder=partial,
            cache=workspace.cache,
            resume=resume,
            on_progress=on_progress,
        )
    facts = {
        **task.key,
        "member": task.member,
        "backbone": task.recipe.backbone,
        "seed": task.recipe.seed,
        "seconds": round(time.monotonic() - start, 3),
        "rows": len(train),
        "learned_from": learned,
        "versions": versions(),
        "facts": fitted.facts,
    }
    del fitted  # what is loaded below needs its memory
    (partial / "resume.json").unlink(missing_ok=True)
    contents = [str(p.relative_to(partial)) for p in partial.rglob("*") if p.is_file()]
    store.write_card(partial, facts, contents)
    store.commit_folder(partial, final)
    # What is read below is what any later run will load, so load it now as well.
    with backbones.reraise_os_errors(final):
        return backbone.load(final, recipe=task.recipe, cache=workspace.cache)


def _resumable(partial: Path, key: dict[str, Any]) -> bool:
    """Keep an interrupted fit only if it was the same fit; else start from an empty folder."""
    note = partial / "resume.json"
    if note.is_file():
        try:
            if not store.conflict(store.read_json(note), key):
                return True
        except ArtifactError:
            log.warning("%s is damaged; this fold starts from its beginning", note)
    if partial.exists():
        shutil.rmtree(partial)
    store.write_json(note, key)
    return False


def _read(
    backbone: Backbone, fitted: Fitted, battles: Battles, recipe: Recipe, on_progress: Progress | None
) -> tuple[Floats, Floats | None]:
    """Log-probabilities of the shown order and, mapped back, of the swapped one. No outcome goes in."""
    unseen = battles.without_outcomes()
    shown = backbone.predict(fitted, unseen, on_progress=on_progress)
    if recipe.read_orders == 1:
        return shown, None
    swapped = unseen.swapped()
    if recipe.read_orders == 2:
        return shown, backbone.predict(fitted, swapped, on_progress=on_progress)[:, [1, 0, 2]]
    other = shown.copy()  # rows not read twice stand for both orders: their combination is the shown reading
    pilot = second_reading.pilot_rows(battles.ids, recipe.uncertain_share)
    rows = pilot
    while len(rows):
        other[rows] = backbone.predict(fitted, swapped.take(rows), on_progress=on_progress)[:, [1, 0, 2]]
        if rows is not pilot:
            break
        rows = second_reading.remaining_rows(shown, other, pilot, recipe.uncertain_share)
    return shown, other


def finish_member(job: Job, member: str, recipe: Recipe) -> store.Card:
    """Merge the folds' shards and write the member's card. Idempotent; returns the card."""
    said = job.workspace.oof / member
    tasks = plan(job, member, recipe)
    first = tasks[0]
    if first.test_key is not None:
        key = _merged(first.test_key)
        if not members.shard_done(said / members.TEST, key):
            parts = [
                members.load_shard(said / f"test-{task.fold}.parquet", task.test_key)
                for task in tasks
                if task.test_key is not None
            ]
            told = {lessons.UNVERIFIED: _learned_unverified(_fold_cards(job.workspace, tasks))}
            members.write_shard(said / members.TEST, pl.concat(parts), key, **told)
    if job.train is not None and job.folds is not None:
        _merge_oof(job.workspace, job.train, job.folds, tasks, job.notes)
    for task in tasks:  # merged and hashed: the shards have served
        for stem in (f"fold-{task.fold}", f"test-{task.fold}"):
            for suffix in (".json", ".parquet"):
                (said / (stem + suffix)).unlink(missing_ok=True)
    return store.read_card(said) or {}


def _fold_cards(workspace: store.Workspace, tasks: list[FoldTask]) -> list[store.Card]:
    return [store.read_card(workspace.models / t.member / f"fold-{t.fold}") or {} for t in tasks]


def _learned_unverified(cards: list[store.Card]) -> bool:
    return any(lessons.unverified(card.get("learned_from", {})) for card in cards)


def _second_reading(said: Predictions, y: metrics.Labels, share: float) -> dict[str, Any]:
    """What reading only a share of the rows twice cost against reading all twice; for the card."""
    assert said.swap_log_probs is not None
    both = metrics.row_losses(said.combined().log_probs, y)
    shown = metrics.row_losses(said.log_probs, y)
    parts = []
    for k in np.unique(said.fold):
        rows = np.flatnonzero(said.fold == k)
        own = said.take(rows)
        other = own.swap_log_probs
        assert other is not None
        cost = second_reading.cost(own.ids, own.log_probs, other, share, (shown[rows], both[rows]))
        parts.append((len(rows), math.ceil(share * len(rows)), cost))
    return second_reading.facts(parts)


def _merge_oof(
    workspace: store.Workspace, train: Battles, folds: Folds, tasks: list[FoldTask], notes: tuple[str, ...]
) -> None:
    """One table of all folds' held-out rows, in the battles' order, and the member's card."""
    first = tasks[0]
    said = workspace.oof / first.member
    if members.is_merged(said, _merged(first.read_key)):
        return
    rows = pl.concat(
        [members.load_shard(said / f"fold-{task.fold}.parquet", task.read_key) for task in tasks]
    )
    table = pl.DataFrame({"id": train.ids}).join(rows, on="id", how="left", maintain_order="left")
    reading = members.to_predictions(table)
    log_probs = reading.combined().log_probs
    y = train.outcomes()
    losses = metrics.row_losses(log_probs, y)
    prior = metrics.prior_log_probs(y, folds.fold)
    found = collapse.collapse_warnings(log_probs, y, prior, folds.group)
    cards = _fold_cards(workspace, tasks)
    facts = {
        **_merged(first.read_key),
        "member": first.member,
        "backbone": first.recipe.backbone,
        "folds_verified": True,
        lessons.UNVERIFIED: _learned_unverified(cards),
        "versions": versions(),
        "rows": len(train),
        "data_notes": list(notes),
        "standard_error": metrics.standard_error(losses, folds.group),
        "seconds": float(sum(card.get("seconds", 0.0) for card in cards)),
        **collapse.prediction_summary(log_probs, y, prior),
        **(
            {"second_reading": _second_reading(reading, y, first.recipe.uncertain_share)}
            if first.recipe.read_orders == "uncertain"
            else {}
        ),
        "alarms": found.alarms,
        "too_few_rows_to_tell": found.notes,
        "learned_from": [card.get("learned_from", {}) for card in cards],
        "fold_facts": [card.get("facts", {}) for card in cards],
    }
    store.write_bytes(said / members.OOF, store.parquet_bytes(table))
    store.write_card(said, facts, [members.OOF])


def prepare(job: Job, recipe: Recipe, on_progress: Progress | None = None) -> None:
    """What a member needs once before its folds: a tiny base, token ids.

    Only the training battles' texts go in, never an outcome, and never the test file: a fold's model
    must not depend on which test file came with it.
    """
    if job.train is None:
        return
    cache = job.workspace.cache
    with backbones.reraise_os_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
        backbones.get(recipe.backbone).prepare(
            job.train.without_outcomes(), recipe=recipe, cache=cache, on_progress=on_progress
        )
