"""A member's files: shards of one fold, the merged tables, and the workspace's one fold file."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ..battles import Battles
from ..errors import ArtifactError, InputError
from ..folds import NEAR_DUPLICATES, Folds, make_folds
from ..predictions import Floats, Predictions
from . import store

log = logging.getLogger(__name__)

FOLDS_FILE: Final = "folds.parquet"
FOLDS_CARD: Final = "folds.json"
OOF: Final = "oof.parquet"
TEST: Final = "test.parquet"
_LOG_COLUMNS: Final = ("logp_a", "logp_b", "logp_tie")
_SWAP_COLUMNS: Final = tuple(f"swap_{name}" for name in _LOG_COLUMNS)


def reading_frame(
    ids: pl.Series, fold: npt.NDArray[np.int64], shown: Floats, other: Floats | None = None
) -> pl.DataFrame:
    """An OOF table: ids, fold, the shown order's log-probabilities and, mapped back, the swapped one's."""
    columns: dict[str, Any] = {"id": ids, "fold": fold}
    columns.update({name: shown[:, i] for i, name in enumerate(_LOG_COLUMNS)})
    if other is not None:
        columns.update({name: other[:, i] for i, name in enumerate(_SWAP_COLUMNS)})
    return pl.DataFrame(columns)


def write_shard(path: Path, frame: pl.DataFrame, key: dict[str, Any], **told: Any) -> None:
    """Write a shard and then, as its card, the key it was made with, what is told of it, and its hash."""
    content = store.parquet_bytes(frame)
    path.with_suffix(".json").unlink(missing_ok=True)
    store.write_bytes(path, content)
    store.write_json(path.with_suffix(".json"), {**key, **told, "sha256": store.digest_bytes(content)})


def is_merged(folder: Path, key: dict[str, Any]) -> bool:
    """Whether a member's OOF table is there, unchanged, and made with this key."""
    card = store.read_card(folder)
    return (
        card is not None and not store.conflict(card, key) and _intact(folder / OOF, card["files"].get(OOF))
    )


def _intact(path: Path, sha256: str | None) -> bool:
    """Whether a table is there with this hash; a damaged one is told of, and is made again."""
    if not path.is_file():
        return False
    if path.is_symlink() or store.digest_file(path) != sha256:
        log.warning("%s: truncated or edited (its SHA-256 differs); it is made again", path)
        return False
    return True


def shard_done(path: Path, key: dict[str, Any]) -> bool:
    """Whether a shard is there, unchanged, and made with this key."""
    note = path.with_suffix(".json")
    if not (path.is_file() and note.is_file()):
        return False
    try:
        found = store.read_json(note)
    except ArtifactError:
        return False
    return not store.conflict(found, key) and _intact(path, found.get("sha256"))


def load_table(folder: Path, name: str, card: store.Card) -> pl.DataFrame:
    """A parquet table, after its hash matched the card."""
    return store.read_table(folder / name, store.verified(folder, name, card))


def to_predictions(frame: pl.DataFrame) -> Predictions:
    """Predictions from the columns of an OOF parquet file.

    Raises
    ------
    ArtifactError
        A column is missing, of another type, or a row is no distribution.
    """
    both = bool(set(_SWAP_COLUMNS) & set(frame.columns))
    needed = ["id", "fold", *_LOG_COLUMNS, *(_SWAP_COLUMNS if both else ())]
    if missing := [name for name in needed if name not in frame.columns]:
        raise ArtifactError(f"an OOF table lacks the columns {', '.join(missing)}")
    whole = frame.schema["fold"].is_integer() and not frame["fold"].null_count()
    if not whole or any(frame.schema[name] != pl.Float64 for name in needed[2:]):
        raise ArtifactError("an OOF table holds columns of another type than it was written with")
    other = frame.select(_SWAP_COLUMNS).to_numpy() if both else None
    try:
        return Predictions(
            frame["id"], frame.select(_LOG_COLUMNS).to_numpy(), frame["fold"].to_numpy(), other
        )
    except InputError as error:
        raise ArtifactError(f"an OOF table is not as written: {error}") from None


def load_shard(path: Path, key: dict[str, Any]) -> pl.DataFrame:
    """A shard that was made with this key.

    Raises
    ------
    ArtifactError
        It is missing, damaged or of another key.
    """
    if not shard_done(path, key):
        raise ArtifactError(f"{path}: missing, damaged or of another run; run the same command again")
    return store.read_table(path, store.read_content(path))


def load_member(workspace: store.Workspace, member: str) -> tuple[Predictions, store.Card]:
    """A member's OOF predictions and its card.

    Raises
    ------
    InputError
        The member is not finished.
    ArtifactError
        A file is truncated or edited.
    """
    said = workspace.oof / store.check_name(member)
    card = store.read_card(said)
    if card is None:
        raise InputError(f"member {member!r} has no finished predictions in {said}; run `arena-ensemble oof`")
    return to_predictions(load_table(said, OOF, card)), card


def load_test(workspace: store.Workspace, member: str) -> list[Predictions]:
    """What each fold's model of a member said of the test battles.

    Raises
    ------
    InputError
        There are no test predictions.
    ArtifactError
        The file is truncated or edited.
    """
    path = workspace.oof / store.check_name(member) / TEST
    note = path.with_suffix(".json")
    if not note.is_file():
        raise InputError(
            f"member {member!r} has no test predictions in {path}; run `arena-ensemble oof` with --test"
        )
    content = store.read_content(path)
    if store.digest_bytes(content) != store.read_json(note).get("sha256"):
        raise ArtifactError(f"{path}: SHA-256 differs from {note.name}; remove both and run again")
    frame = store.read_table(path, content)
    if "fold" not in frame.columns or frame.is_empty():
        raise ArtifactError(f"{path}: no rows by fold; remove it and run again")
    return [to_predictions(part) for part in frame.partition_by("fold", maintain_order=True)]


def ensure_folds(
    workspace: store.Workspace,
    battles: Battles,
    *,
    n_folds: int,
    seed: int,
    near_duplicates: float | None = NEAR_DUPLICATES,
) -> Folds:
    """The workspace's one fold file, made when absent, checked against the battles when there.

    Raises
    ------
    StaleError
        The fold file belongs to other battles, or to another number of folds, seed or similarity from
        which prompts are one group.
    """
    path, note = workspace.oof / FOLDS_FILE, workspace.oof / FOLDS_CARD
    if not note.is_file():
        folds = make_folds(battles, n_folds=n_folds, seed=seed, near_duplicates=near_duplicates)
        sizes = np.bincount(folds.group)
        alike = "equal" if near_duplicates is None else f"{near_duplicates} alike or more"
        log.info("%d groups of prompts (%s), the largest of %d battles", len(sizes), alike, sizes.max())
        content = store.parquet_bytes(folds.to_frame())
        store.write_bytes(path, content)
        store.write_json(note, {**folds.meta(), "sha256": store.digest_bytes(content)})
        return folds
    folds = read_folds(workspace, battles)
    if (folds.n_folds, folds.seed, folds.near_duplicates) != (n_folds, seed, near_duplicates):
        kept = "off" if folds.near_duplicates is None else folds.near_duplicates
        raise store.stale(
            path,
            ["number of folds, seed or near-duplicates"],
            f"it has {folds.n_folds} folds with seed {folds.seed} and --near-duplicates {kept}; pass those, "
            "or use another --workspace",
        )
    return folds


def read_folds(workspace: store.Workspace, battles: Battles) -> Folds:
    """The workspace's fold file, checked against its hash and the battles.

    Raises
    ------
    ArtifactError
        It is missing, truncated or edited.
    StaleError
        It belongs to other battles.
    """
    path, note = workspace.oof / FOLDS_FILE, workspace.oof / FOLDS_CARD
    meta = store.read_json(note)
    content = store.read_content(path)
    if store.digest_bytes(content) != meta.get("sha256"):
        raise ArtifactError(
            f"{path}: SHA-256 differs from {note.name}; restore it or use another --workspace"
        )
    folds = Folds.from_frame(store.read_table(path, content), meta)
    folds.check(battles)
    return folds


def remake(workspace: store.Workspace, member: str) -> None:
    """Forget what a member learned and said; its recipe stays."""
    store.check_name(member)
    for path in sorted((workspace.models / member).glob("fold-*")):
        shutil.rmtree(path)
    shutil.rmtree(workspace.oof / member, ignore_errors=True)
