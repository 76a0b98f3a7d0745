"""What is done with each chunk of a file: one fold model's predictions, or the whole ensemble's.

A pass is a small description that a worker turns into loaded models. Members that need no base are
predicted fold by fold in one pass, each chunk's texts cut into words once; of a language model one fold is
loaded at a time, and its predictions lie in shards of their own until they are combined. A worker writes
nothing: it returns what a shard holds, so that it may be on a machine that shares no disk.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, Self

import numpy as np
import polars as pl

from .. import backbones
from ..artifacts.files import digest_bytes, parquet_bytes, read_table
from ..artifacts.shard_folder import Shard, shard_name
from ..artifacts.tables import predictions_frame, to_predictions
from ..artifacts.workspace import ENSEMBLE, Workspace
from ..battles import TEXTS, Battles
from ..errors import InputError
from ..features import Features, extract
from ..io import BattleChunks, RawChunk
from ..predictions import Floats, Predictions
from . import averaging, equivalence, orders
from .combining import ByFold
from .ensemble import Ensemble
from .job import FoldTask, Job
from .seen_ids import Keys, id_keys

COLUMNS: Final = ("id", "winner_model_a", "winner_model_b", "winner_tie")
GAMMA_ROWS: Final = 2048
"""Rows that gamma is estimated from: a ratio of two variances, which so many rows fix to 3 %."""


class Raw(Protocol):
    """Rows as they lie in a file, quick to hand out."""

    @property
    def number(self) -> int:
        """0 = the first chunk."""
        ...

    @property
    def first_row(self) -> int:
        """The number of its first row, from 1 on."""
        ...


@dataclass(frozen=True)
class ReadChunk:
    """A chunk whose cells were read."""

    content: Any
    """what the pass predicts: battles, or judged pairs"""
    ids: pl.Series
    digest: str
    """tells it from every other content"""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """what only all chunks together can tell, for the process that hands them out"""


class MemberShard(NamedTuple):
    """One fold model's predictions of a chunk, made before."""

    battles: str
    """digest of the battles that they are of"""
    content: bytes
    """parquet whose hash matched"""


Beside = Mapping[str, Sequence[MemberShard]]
"""member → the predictions of its fold models, of those that were predicted before"""


@dataclass(frozen=True)
class Done:
    """A chunk that was predicted, or found as it was predicted earlier."""

    shard: Shard
    keys: Keys
    """of its ids, in row order"""
    content: bytes | None
    """of the shard's file; None where the shard was finished earlier"""
    notes: Mapping[str, Any]

    @property
    def kept(self) -> bool:
        """Whether the shard was finished earlier."""
        return self.content is None


class Loaded(Protocol):
    """A pass whose models are in memory."""

    def shard(self, read: ReadChunk, gammas: Mapping[str, float], beside: Beside) -> pl.DataFrame:
        """What is written of a chunk."""
        ...


class Pass(Protocol):
    """What is done with every chunk of a file; small, and may be sent to other machines."""

    @property
    def run(self) -> str:
        """Tells this pass from every other: for how long a process keeps its models."""
        ...

    @property
    def root(self) -> Path:
        """The folder that the models lie in."""
        ...

    @property
    def shared(self) -> bool:
        """Whether a worker reads the models from a disk that it shares with us, where it does."""
        ...

    def raws(self) -> Iterator[Any]:
        """The file's chunks in order."""
        ...

    def read(self, raw: Any) -> ReadChunk:
        """A chunk's cells, read and checked."""
        ...

    def loaded(self) -> Loaded:
        """The models in memory."""
        ...

    def places(self) -> list[Path]:
        """Files and folders below the root that loading reads."""
        ...

    def at(self, root: Path) -> Self:
        """The same pass where its models lie elsewhere."""
        ...

    def names(self, ids: pl.Series) -> pl.Series:
        """What must not come again of ids: they themselves, as a rule."""
        ...

    def repeated(self, id_: Any, row: int, earlier: int) -> InputError:
        """The error of an id that a chunk before this one holds already."""
        ...


@dataclass(frozen=True)
class _BattlesPass:
    chunks: BattleChunks
    root: Path
    run: str

    @property
    def shared(self) -> bool:
        return True

    def raws(self) -> Iterator[RawChunk]:
        return self.chunks.raw()

    def read(self, raw: RawChunk) -> ReadChunk:
        battles = self.chunks.battles(raw)
        return ReadChunk(battles, battles.ids, content_digest(battles))

    def at(self, root: Path) -> Self:
        return dataclasses.replace(self, root=root)

    def names(self, ids: pl.Series) -> pl.Series:
        return ids

    def repeated(self, id_: Any, row: int, earlier: int) -> InputError:
        return InputError(
            f"{self.chunks.table.name} row {row} (id {id_}): the id repeats row {earlier}; ids must be "
            "unique: remove the doubled rows, or number the rows anew"
        )


@dataclass(frozen=True)
class FoldPass(_BattlesPass):
    """One fold model of a member that stands on a base."""

    task: FoldTask
    n_classes: int

    def loaded(self) -> Loaded:
        """The model in memory."""
        return _OneFold(_FoldModels(Workspace(self.root), [self.task], self.n_classes))

    def places(self) -> list[Path]:
        """The folder of the fold's model."""
        return _fold_folders(self.root, [self.task])


@dataclass(frozen=True)
class EnsemblePass(_BattlesPass):
    """All members, and the stacker on top of them."""

    together: Mapping[str, Sequence[FoldTask]]
    """members whose fold models are all held in memory → their folds; the others were predicted before"""

    def loaded(self) -> Combined:
        """The models in memory."""
        return Combined(self)

    def places(self) -> list[Path]:
        """The folders of the ensemble and of its folds' models."""
        folds = [path for planned in self.together.values() for path in _fold_folders(self.root, planned)]
        return [Workspace(self.root).oof / ENSEMBLE, *folds]


def _fold_folders(root: Path, planned: Sequence[FoldTask]) -> list[Path]:
    job = Job(root, None, None, None)
    return [job.artifacts(task.member).fold_folder(task.fold) for task in planned]


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
        held = getattr(self.backbone, "held", None)
        self._held: Callable[..., list[Floats]] | None = None if held is None else held(self.fits)

    def predict(self, battles: Battles, features: Features | None) -> list[Predictions]:
        shown: Sequence[Floats | None] = [None] * len(self.fits)
        if self._held is not None:
            shown = self._held(battles, extract(battles) if features is None else features)
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

    def shard(self, read: ReadChunk, gammas: Mapping[str, float], beside: Beside) -> pl.DataFrame:
        return predictions_frame(self.models.predict(read.content, None)[0])


class Combined:
    """A loaded `EnsemblePass`."""

    def __init__(self, given: EnsemblePass) -> None:
        workspace = Workspace(given.root)
        self._name = given.chunks.table.name
        self._ensemble = Ensemble.load(workspace)
        self._n_classes = self._ensemble.card.n_classes
        self._models = {
            name: _FoldModels(workspace, tasks, self._n_classes) for name, tasks in given.together.items()
        }

    def gammas_of(self, read: ReadChunk, beside: Beside) -> dict[str, float]:
        """How much averages over folds are to be sharpened, estimated from a chunk's first rows."""
        some = np.arange(min(len(read.ids), GAMMA_ROWS))
        by_fold, features = self._members(read, beside, some)
        return self._ensemble.combine(by_fold, features).gammas

    def shard(self, read: ReadChunk, gammas: Mapping[str, float], beside: Beside) -> pl.DataFrame:
        """Ids and the ensemble's probabilities; a name that ``gammas`` lacks counts as 1."""
        by_fold, features = self._members(read, beside)
        log_probs = self._ensemble.combine(by_fold, features, gammas).log_probs
        probs = np.exp(log_probs)
        return pl.DataFrame({"id": read.ids, **{name: probs[:, k] for k, name in enumerate(COLUMNS[1:])}})

    def _members(self, read: ReadChunk, beside: Beside, rows: Any = None) -> tuple[ByFold, Features]:
        battles: Battles = read.content if rows is None else read.content.take(rows)
        features = extract(battles)
        by_fold: dict[str, Sequence[Predictions]] = {}
        for name in self._ensemble.members:
            if name in self._models:
                by_fold[name] = self._models[name].predict(battles, features)
                continue
            for one in beside[name]:
                if one.battles != read.digest:  # the same ids may name other texts by now
                    raise InputError(
                        f"{self._name} changed while it was predicted: member {name!r} saw other texts of "
                        f"id {read.ids[0]!r} and the rows after it; run the same command again"
                    )
            tables = [read_table(Path(name), one.content) for one in beside[name]]
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
        state.update(b"".join(column.drop_nulls().cast(pl.Binary).to_list()))
    return state.hexdigest()


def work(
    given: Pass,
    loaded: Callable[[], Loaded],
    raw: Raw,
    known: Shard | None,
    gammas: Mapping[str, float],
    beside: Beside,
) -> Done:
    """What a chunk's shard holds, unless that which is on disk, ``known``, is of the same rows."""
    read = given.read(raw)
    keys = id_keys(given.names(read.ids))
    if known is not None and known.battles == read.digest:
        return Done(known, keys, None, read.notes)
    content = parquet_bytes(loaded().shard(read, gammas, beside))
    shard = Shard(
        file=shard_name(raw.number),
        first_row=raw.first_row,
        rows=len(read.ids),
        battles=read.digest,
        sha256=digest_bytes(content),
    )
    return Done(shard, keys, content, read.notes)
