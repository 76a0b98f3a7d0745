"""What is done with each chunk of a file: one fold model's predictions, or the whole ensemble's.

A pass is a small description that a worker process turns into loaded models. Members that need no base are
predicted fold by fold in one pass, each chunk's texts cut into words once; of a language model one fold is
loaded at a time, and its predictions lie in shards of their own until they are combined.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import polars as pl

from .. import backbones
from ..artifacts import shard_folder
from ..artifacts.shard_folder import Shard
from ..artifacts.tables import predictions_frame, to_predictions
from ..artifacts.workspace import Workspace
from ..battles import TEXTS, Battles
from ..features import Features, extract
from ..io import BattleChunks, RawChunk
from ..predictions import Floats, Predictions
from . import averaging, equivalence, orders
from .combining import ByFold
from .ensemble import Ensemble
from .seen_ids import Keys, id_keys
from .tasks import FoldTask, Job

COLUMNS: Final = ("id", "winner_model_a", "winner_model_b", "winner_tie")
GAMMA_ROWS: Final = 2048
"""Rows that gamma is estimated from: a ratio of two variances, which so many rows fix to 3 %."""


@dataclass(frozen=True)
class Done:
    """A chunk whose shard is written."""

    shard: Shard
    keys: Keys
    """of its ids, in row order"""
    kept: bool
    """whether the shard was finished earlier"""


class Loaded(Protocol):
    """A pass whose models are in memory."""

    def shard(self, battles: Battles, number: int, gammas: Mapping[str, float]) -> pl.DataFrame:
        """What is written of the chunk with this number."""
        ...


@dataclass(frozen=True)
class FoldPass:
    """One fold model of a member that stands on a base."""

    chunks: BattleChunks
    folder: Path
    root: Path
    task: FoldTask
    n_classes: int
    run: str
    """tells this pass from every other: for how long a process keeps its models"""

    def loaded(self) -> Loaded:
        """The model in memory."""
        return _OneFold(_FoldModels(Workspace(self.root), [self.task], self.n_classes))


@dataclass(frozen=True)
class EnsemblePass:
    """All members, and the stacker on top of them."""

    chunks: BattleChunks
    folder: Path
    root: Path
    together: Mapping[str, Sequence[FoldTask]]
    """members whose fold models are all held in memory → their folds"""
    apart: Mapping[str, Sequence[Path]]
    """members that were predicted by a `FoldPass` for each fold → where the shards lie"""
    run: str

    def loaded(self) -> Combined:
        """The models in memory."""
        return Combined(self)


class _FoldModels:
    """Fold models of one member."""

    def __init__(self, workspace: Workspace, planned: Sequence[FoldTask], n_classes: int) -> None:
        self.recipe, self.n_classes = planned[0].recipe, n_classes
        self.folds = [task.fold for task in planned]
        self.backbone = backbones.get(self.recipe.backbone)
        self.fits: list[Any] = []
        job = Job(workspace.root, None, None, None, n_classes=n_classes)
        for task in planned:
            member = job.artifacts(task.member)
            recipe = averaging.to_load(member, self.recipe, task.fold)
            folder = member.fitted_folder(task.fit_key)
            assert folder is not None, "planned from the fitted folds"
            card = member.fold_card(task.fold)
            fitted, _ = equivalence.load(folder, card, self.backbone, recipe, cache=workspace.cache)
            self.fits.append(fitted)

    def predict(self, battles: Battles, features: Features | None) -> list[Predictions]:
        side_by_side = getattr(self.backbone, "predict_together", None)
        shown: Sequence[Floats | None] = [None] * len(self.fits)
        if side_by_side is not None:
            shown = side_by_side(self.fits, battles, features=features)
        return [
            orders.predict_fold(
                self.backbone,
                fitted,
                battles,
                recipe=self.recipe,
                fold=fold,
                n_classes=self.n_classes,
                first_order=first,
            )
            for fold, fitted, first in zip(self.folds, self.fits, shown, strict=True)
        ]


@dataclass(frozen=True)
class _OneFold:
    models: _FoldModels

    def shard(self, battles: Battles, number: int, gammas: Mapping[str, float]) -> pl.DataFrame:
        return predictions_frame(self.models.predict(battles, None)[0])


class Combined:
    """A loaded `EnsemblePass`."""

    def __init__(self, given: EnsemblePass) -> None:
        workspace = Workspace(given.root)
        self._ensemble = Ensemble.load(workspace)
        self._n_classes = self._ensemble.card.n_classes
        self._models = {
            name: _FoldModels(workspace, tasks, self._n_classes) for name, tasks in given.together.items()
        }
        self._tables = {
            name: [(folder, shard_folder.read_manifest(folder)) for folder in folders]
            for name, folders in given.apart.items()
        }

    def gammas_of(self, battles: Battles, number: int) -> dict[str, float]:
        """How much averages over folds are to be sharpened, estimated from a chunk's first rows."""
        some = battles.take(np.arange(min(len(battles), GAMMA_ROWS)))
        return self._ensemble.combine(*self._members(some, number)).gammas

    def shard(self, battles: Battles, number: int, gammas: Mapping[str, float]) -> pl.DataFrame:
        """Ids and the ensemble's probabilities; a name that ``gammas`` lacks counts as 1."""
        by_fold, features = self._members(battles, number)
        log_probs = self._ensemble.combine(by_fold, features, gammas).log_probs
        probs = np.exp(log_probs)
        return pl.DataFrame({"id": battles.ids, **{name: probs[:, k] for k, name in enumerate(COLUMNS[1:])}})

    def _members(self, battles: Battles, number: int) -> tuple[ByFold, Features]:
        features = extract(battles)
        by_fold: dict[str, Sequence[Predictions]] = {}
        for name in self._ensemble.members:
            if name in self._models:
                by_fold[name] = self._models[name].predict(battles, features)
            else:
                tables = [
                    shard_folder.read_shard(folder, known.shards[number])
                    for folder, known in self._tables[name]
                ]
                by_fold[name] = [to_predictions(table).aligned_to(battles.ids) for table in tables]
        return by_fold, features


def content_digest(battles: Battles) -> str:
    """SHA-256 over ids and texts; tells battles apart as `Battles.digest` does, several times faster."""
    state = hashlib.sha256(str(battles.ids.dtype).encode())
    for name in ("id", *TEXTS):
        column = battles.frame[name]
        if name == "id":
            column = column.cast(pl.String)
        else:
            state.update(column.list.len().fill_null(0).cast(pl.Int64).to_numpy().tobytes())
            column = column.explode()
        sizes = column.str.len_bytes().cast(pl.Int64).fill_null(-1)
        state.update(sizes.to_numpy().tobytes())
        state.update("".join(column.drop_nulls().to_list()).encode())
    return state.hexdigest()


def work(
    given: FoldPass | EnsemblePass,
    loaded: Callable[[], Loaded],
    raw: RawChunk,
    known: Shard | None,
    gammas: Mapping[str, float],
) -> Done:
    """Write a chunk's shard, unless it is there, unchanged and of these battles."""
    battles = given.chunks.battles(raw)
    digest, keys = content_digest(battles), id_keys(battles.ids)
    if known is not None and known.battles == digest and shard_folder.intact(given.folder, known):
        return Done(known, keys, kept=True)
    frame = loaded().shard(battles, raw.number, gammas)
    shard = Shard(
        file=shard_folder.shard_name(raw.number),
        first_row=raw.first_row,
        rows=raw.rows,
        battles=digest,
        sha256=shard_folder.write_shard(given.folder, raw.number, frame),
    )
    return Done(shard, keys, kept=False)
