"""``predict --shards``: a file of any size, read in chunks and predicted into a folder of parquet shards."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from ..errors import InputError
from . import option_texts
from .runner import Result

log = logging.getLogger(__name__)

_EVERY: Final = 30.0
"""seconds between two lines"""
_PANEL: Final = "Files of any size"


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """What ``predict`` takes for a file that need not fit in memory."""

    shards: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="read --test in chunks and write parquet shards and manifest.json here; the same command "
            "goes on after a kill",
            rich_help_panel=_PANEL,
        ),
    ] = None
    chunk_rows: Annotated[
        int, typer.Option(metavar="N", help="rows of a chunk and of a shard", rich_help_panel=_PANEL)
    ] = 4096


def predict_shards(
    given: ShardOptions,
    test: Path,
    workspace: Path,
    *,
    format: str | None,
    jobs: int | None,
    offline: bool,
    base: Sequence[str] | None,
    use_folds: str | None,
) -> Result:
    """Predict a file chunk by chunk."""
    from ..pipeline.ensemble import Ensemble
    from ..pipeline.streaming import predict_shards as predict

    assert given.shards is not None
    if given.shards.exists() and not given.shards.is_dir():
        raise InputError(f"--shards {given.shards} is a file; give a folder")
    if given.chunk_rows < 1:
        raise InputError(f"--chunk-rows {given.chunk_rows}: give at least 1")
    begun = time.monotonic()
    done = predict(
        Ensemble.load(workspace),
        test,
        given.shards,
        workspace=workspace,
        format=format,
        chunk_rows=given.chunk_rows,
        jobs=jobs,
        offline=offline,
        bases=option_texts.bases(list(base) if base else None),
        use_folds=option_texts.fold_numbers(use_folds),
        on_rows=_Lines(),
    )
    seconds = time.monotonic() - begun
    facts = {
        "shards": str(given.shards),
        "files": [str(path) for path in done.files],
        "rows": done.rows,
        "kept": done.kept,
        "gammas": done.gammas,
        "seconds": round(seconds, 3),
    }
    text = f"{given.shards}: {done.rows:,} rows in {len(done.files):,} shards, in the file's order"
    if done.kept:
        text += f"; {done.kept:,} shards were there already"
    return Result(facts, f"{text}\nall in one file: polars.scan_parquet('{given.shards}/*.parquet')")


class _Lines:
    """A line of the log every half minute."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, rows: int, what: str) -> None:
        now = time.monotonic()
        if now - self._last >= _EVERY:
            self._last = now
            log.info("%s rows predicted, %s", f"{rows:,}", what)
