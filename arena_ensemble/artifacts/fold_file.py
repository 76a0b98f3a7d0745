"""The workspace's one fold file: made when absent, else checked against its hash and the battles."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Final

import numpy as np

from ..battles import Battles
from ..errors import ArtifactError, StaleError
from ..folds import NEAR_DUPLICATES, Folds, make_folds
from ..io.filed_battles import MANY_ROWS
from . import atomic
from .cards import stale
from .files import digest_bytes, parquet_bytes, read_content, read_json, read_table
from .scratch import ScratchPrompts
from .workspace import FOLDS_CARD, Workspace

log = logging.getLogger(__name__)

FOLDS_FILE: Final = "folds.parquet"


def ensure_folds(
    workspace: Workspace,
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
    if not (workspace.oof / FOLDS_CARD).is_file():
        with _prompts(workspace, battles, near_duplicates) as store:
            folds = make_folds(
                battles, n_folds=n_folds, seed=seed, near_duplicates=near_duplicates, store=store
            )
        write_folds(workspace, folds)
        return folds
    folds = read_folds(workspace, battles)
    if (folds.n_folds, folds.seed, folds.near_duplicates) != (n_folds, seed, near_duplicates):
        kept = "off" if folds.near_duplicates is None else folds.near_duplicates
        raise stale(
            workspace.oof / FOLDS_FILE,
            ["number of folds, seed or near-duplicates"],
            f"it has {folds.n_folds} folds with seed {folds.seed} and --near-duplicates {kept}; pass those, "
            "or use another --workspace",
        )
    return folds


@contextlib.contextmanager
def _prompts(
    workspace: Workspace, battles: Battles, near_duplicates: float | None
) -> Iterator[ScratchPrompts | None]:
    """Room on the disk for the prompts of many battles."""
    if near_duplicates is None or len(battles) <= MANY_ROWS:
        yield None
        return
    with atomic.reraise_os_errors(workspace.cache):
        workspace.cache.mkdir(parents=True, exist_ok=True)
        with ScratchPrompts(workspace.cache, near_duplicates=near_duplicates) as store:
            yield store


def write_folds(workspace: Workspace, folds: Folds) -> None:
    """Keep folds as the workspace's one fold file."""
    sizes = np.bincount(folds.group)
    alike = "equal" if folds.near_duplicates is None else f"{folds.near_duplicates} alike or more"
    log.info("%d groups of prompts (%s), the largest of %d battles", len(sizes), alike, sizes.max())
    content = parquet_bytes(folds.to_frame())
    atomic.write_bytes(workspace.oof / FOLDS_FILE, content)
    atomic.write_json(workspace.oof / FOLDS_CARD, {**folds.meta(), "sha256": digest_bytes(content)})


def keep_folds(workspace: Workspace, folds: Folds, battles: Battles) -> None:
    """Keep folds that the caller made, unless the workspace has other ones.

    Raises
    ------
    StaleError
        The workspace has another fold file, or the folds are of other battles.
    """
    folds.check(battles)
    if not (workspace.oof / FOLDS_CARD).is_file():
        write_folds(workspace, folds)
    elif read_folds(workspace, battles).digest != folds.digest:
        raise stale(
            workspace.oof / FOLDS_FILE, ["set of folds"], "pass those folds, or use another workspace folder"
        )


def read_folds(workspace: Workspace, battles: Battles) -> Folds:
    """The workspace's fold file, checked against its hash and the battles.

    Raises
    ------
    ArtifactError
        It is missing, truncated or edited.
    StaleError
        It belongs to other battles.
    """
    path, note = workspace.oof / FOLDS_FILE, workspace.oof / FOLDS_CARD
    meta = read_json(note)
    content = read_content(path)
    if digest_bytes(content) != meta.get("sha256"):
        raise ArtifactError(
            f"{path}: SHA-256 differs from {note.name}; restore it or use another --workspace"
        )
    folds = Folds.from_frame(read_table(path, content), meta)
    try:
        folds.check(battles)
    except StaleError as error:
        raise StaleError(f"{path}: {error}") from None
    return folds
