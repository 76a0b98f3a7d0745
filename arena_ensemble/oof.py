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
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from . import backbones, member_files, score, store
from .backbones.base import Backbone, Fitted
from .battles import Battles
from .errors import ArtifactError, MemberError
from .folds import Folds
from .predictions import Floats, delta_tau
from .recipes import Recipe

log = logging.getLogger(__name__)

Progress = Callable[[float, float, str], None]
_LIBRARIES: Final = ("torch", "transformers", "peft", "scikit-learn", "lightgbm", "numpy", "polars")


@dataclass(frozen=True)
class Job:
    """What all tasks of one run share."""

    root: Path
    train: Battles
    folds: Folds
    test: Battles | None = None

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
    """The tasks of one member, one per fold, whether done or not."""
    base = {"recipe": recipe.fit_digest(), "data": job.train.digest(), "folds": job.folds.digest}
    test_digest = None if job.test is None else job.test.digest(outcomes=False)
    tasks = []
    for fold in range(job.folds.n_folds):
        key = {**base, "fold": fold}
        read_key = {**key, "read_orders": str(recipe.read_orders)}
        test_key = None if test_digest is None else {**read_key, "test": test_digest}
        tasks.append(FoldTask(member, recipe, fold, key, read_key, test_key))
    return tasks


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


def is_done(workspace: store.Workspace, task: FoldTask) -> bool:
    """Whether this task has nothing left to do."""
    said = workspace.oof / task.member
    whole = store.read_card(said)
    if whole is not None and not store.conflict(whole, {**task.read_key, "fold": None}):
        oof_done = member_files.is_intact(said, "oof.parquet", whole)
        test_done = task.test_key is None or (
            whole.get("test") == task.test_key["test"] and member_files.is_intact(said, "test.parquet", whole)
        )
        if oof_done and test_done:
            return True
    else:
        oof_done = False
    return (oof_done or member_files.shard_done(said / f"fold-{task.fold}.parquet", task.read_key)) and (
        task.test_key is None or member_files.shard_done(said / f"test-{task.fold}.parquet", task.test_key)
    )


def run_fold(job: Job, task: FoldTask, on_progress: Progress | None = None) -> dict[str, Any]:
    """Fit one fold if it is not fitted, read its held-out rows and the test rows; write all of it.

    Returns the facts of the fitted model (device, dtype, seconds, tokens …).

    Raises
    ------
    MemberError
        A group is on both sides of the fold: the fold file is broken.
    """
    workspace, k = job.workspace, task.fold
    backbone = backbones.get(task.recipe.backbone)
    inside = job.folds.fold == k
    if np.intersect1d(job.folds.group[inside], job.folds.group[~inside]).size:
        raise MemberError(f"{task.label}: a group is on both sides of the fold; remove {workspace.oof}")
    valid = job.train.take(np.flatnonzero(inside))
    fitted, card = _fitted(job, task, backbone, valid, on_progress)
    said = workspace.oof / task.member
    if not member_files.shard_done(said / f"fold-{k}.parquet", task.read_key):
        readings = _read(backbone, fitted, valid, task, on_progress)
        member_files.write_shard(said / f"fold-{k}.parquet", _frame(valid, k, readings), task.read_key)
    if job.test is not None and task.test_key is not None:
        path = said / f"test-{k}.parquet"
        if not member_files.shard_done(path, task.test_key):
            readings = _read(backbone, fitted, job.test, task, on_progress)
            member_files.write_shard(path, _frame(job.test, k, readings), task.test_key)
    facts = card.get("facts", {})
    return facts if isinstance(facts, dict) else {}


def _fitted(
    job: Job, task: FoldTask, backbone: Backbone, valid: Battles, on_progress: Progress | None
) -> tuple[Fitted, store.Card]:
    workspace = job.workspace
    final = workspace.models / task.member / f"fold-{task.fold}"
    card = store.read_card(final)
    if card is not None and not store.conflict(card, task.key):
        if not store.is_whole(final, card):
            raise ArtifactError(
                f"{final}: a file is missing or its SHA-256 differs from {store.CARD}; "
                f"remove {final} and run again"
            )
        return backbone.load(final, recipe=task.recipe, cache=workspace.cache), card
    check_not_stale(workspace, task)
    partial = final.with_name(final.name + ".partial")
    resume = _resumable(partial, task.key)
    start = time.monotonic()
    train = job.train.take(np.flatnonzero(job.folds.fold != task.fold))
    fitted = backbone.fit(
        train,
        valid=valid,
        soft_targets=None,
        weights=None,
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
        "versions": versions(),
        "facts": fitted.facts,
    }
    (partial / "resume.json").unlink(missing_ok=True)
    contents = [str(p.relative_to(partial)) for p in partial.rglob("*") if p.is_file()]
    card = store.write_card(partial, facts, contents)
    store.commit_folder(partial, final)
    return backbone.load(final, recipe=task.recipe, cache=workspace.cache), card


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
    backbone: Backbone, fitted: Fitted, battles: Battles, task: FoldTask, on_progress: Progress | None
) -> tuple[Floats, Floats | None]:
    """Log-probabilities of the shown order and, mapped back, of the swapped one. No outcome goes in."""
    unseen = battles.without_outcomes()
    shown = backbone.predict(fitted, unseen, on_progress=on_progress)
    if task.recipe.read_orders == 1:
        return shown, None
    swapped = unseen.swapped()
    if task.recipe.read_orders == 2:
        return shown, backbone.predict(fitted, swapped, on_progress=on_progress)[:, [1, 0, 2]]
    rows = most_uncertain(shown, task.recipe.uncertain_share)
    other = shown.copy()  # rows not read twice stand for both orders: their combination is the shown reading
    other[rows] = backbone.predict(fitted, swapped.take(rows), on_progress=on_progress)[:, [1, 0, 2]]
    return shown, other


def _frame(battles: Battles, fold: int, readings: tuple[Floats, Floats | None]) -> pl.DataFrame:
    return member_files.reading_frame(battles.ids, np.full(len(battles), fold, dtype=np.int64), *readings)


def most_uncertain(log_probs: Floats, share: float) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Rows where a second reading can matter most: the smallest |delta|, ``share`` of all, sorted."""
    delta = np.abs(delta_tau(log_probs)[0])
    count = int(np.ceil(share * len(delta)))
    return np.sort(np.argsort(delta, kind="stable")[:count])


def finish_member(job: Job, member: str, recipe: Recipe) -> store.Card:
    """Merge the folds' shards, in the battles' order, and write the member's card. Idempotent."""
    workspace = job.workspace
    said = workspace.oof / member
    tasks = plan(job, member, recipe)
    first = tasks[0]
    old = store.read_card(said)
    same = old is not None and not store.conflict(old, {**first.read_key, "fold": None})
    if same and old is not None and member_files.is_intact(said, "oof.parquet", old):
        oof = member_files.load_table(said, "oof.parquet", old)
    else:
        oof = pl.concat([pl.read_parquet(said / f"fold-{t.fold}.parquet") for t in tasks])
        oof = pl.DataFrame({"id": job.train.ids}).join(oof, on="id", how="left", maintain_order="left")
    contents = {"oof.parquet": store.parquet_bytes(oof)}
    if job.test is not None and first.test_key is not None:
        if same and old is not None and old.get("test") == first.test_key["test"]:
            current = member_files.is_intact(said, "test.parquet", old)
        else:
            current = False
        if current and old is not None:
            test = member_files.load_table(said, "test.parquet", old)
        else:
            test = pl.concat([pl.read_parquet(said / f"test-{t.fold}.parquet") for t in tasks])
        contents["test.parquet"] = store.parquet_bytes(test)
    for name, content in contents.items():
        store.write_bytes(said / name, content)
    predictions = member_files.to_predictions(oof)
    y = job.train.outcomes()
    losses = score.row_losses(predictions.combined().log_probs, y)
    cards = [store.read_card(workspace.models / member / f"fold-{t.fold}") or {} for t in tasks]
    facts = {
        **first.read_key,
        "fold": None,
        "test": None if first.test_key is None else first.test_key["test"],
        "member": member,
        "backbone": recipe.backbone,
        "folds_verified": True,
        "versions": versions(),
        "rows": len(job.train),
        "log_loss": float(losses.mean()),
        "standard_error": score.standard_error(losses, job.folds.group),
        "seconds": float(sum(card.get("seconds", 0.0) for card in cards)),
        "alarms": alarms(predictions.combined().log_probs, y, job.folds),
        "fold_facts": [card.get("facts", {}) for card in cards],
    }
    card = store.write_card(said, facts, list(contents))
    for task in tasks:  # merged and hashed: the shards have served
        for stem in (f"fold-{task.fold}", f"test-{task.fold}"):
            for suffix in (".json", ".parquet"):
                (said / (stem + suffix)).unlink(missing_ok=True)
    return card


def alarms(log_probs: Floats, y: np.ndarray[Any, np.dtype[np.int64]], folds: Folds) -> list[str]:
    """Signs that a member has learned nothing: one class nearly always, or no better than the prior.

    The comparison with the prior needs enough rows to be sure: a member is named only when its
    log-loss lies above the prior's by more than two clustered standard errors of the difference.
    """
    found = []
    shares = np.bincount(log_probs.argmax(axis=1), minlength=3) / len(y)
    if shares.max() > 0.95:
        name = ("A", "B", "tie")[int(shares.argmax())]
        found.append(
            f"gives the class {name} to {shares.max():.1%} of rows; likely causes: too few steps, a learning "
            "rate too low or too high, a head that was not trained, a verdict cue cut off"
        )
    prior = score.prior_log_probs(y, folds.fold)
    difference = score.row_losses(log_probs, y) - score.row_losses(prior, y)
    if difference.mean() > 2 * score.standard_error(difference, folds.group):
        found.append(
            f"log-loss is {difference.mean():.4f} above the class prior's; likely causes: over-fitting "
            "(fewer epochs, more dropout), a learning rate too high, another template at prediction"
        )
    return found


def prepare(job: Job, recipe: Recipe, on_progress: Progress | None = None) -> None:
    """What a member needs once before its folds: a tiny base, token ids.

    Only the training battles' texts go in, never an outcome, and never the test file: a fold's model
    must not depend on which test file came with it.
    """
    job.workspace.cache.mkdir(parents=True, exist_ok=True)
    backbones.get(recipe.backbone).prepare(
        job.train.without_outcomes(), recipe=recipe, cache=job.workspace.cache, on_progress=on_progress
    )
