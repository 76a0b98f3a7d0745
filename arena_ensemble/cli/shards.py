"""``predict --shards``: a file of any size, read in chunks and predicted into a folder of parquet shards."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ..errors import InputError, OutOfTime
from . import option_texts
from .runner import OUT_OF_TIME, Result

if TYPE_CHECKING:
    from ..pipeline.chunk_run import ShardedPrediction
    from ..pipeline.executors import OnRay

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
            help="read --test (or --judgements) in chunks and write parquet shards and manifest.json here; "
            "the same command goes on after a kill",
            rich_help_panel=_PANEL,
        ),
    ] = None
    chunk_rows: Annotated[
        int, typer.Option(metavar="N", help="rows (pairs) of a chunk and of a shard", rich_help_panel=_PANEL)
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
    executor: OnRay | None,
    hours: float | None,
) -> Result:
    """Predict a file chunk by chunk."""
    from ..pipeline.ensemble import Ensemble
    from ..pipeline.streaming import predict_shards as predict

    out = checked_folder(given)
    return in_time(
        out,
        lambda: predict(
            Ensemble.load(workspace),
            test,
            out,
            workspace=workspace,
            format=format,
            chunk_rows=given.chunk_rows,
            jobs=jobs,
            offline=offline,
            bases=option_texts.bases(list(base) if base else None),
            use_folds=option_texts.fold_numbers(use_folds),
            executor=executor,
            hours=hours,
            on_rows=Lines(),
        ),
    )


def checked_folder(given: ShardOptions) -> Path:
    """The folder for the shards, before the work.

    Raises
    ------
    InputError
        It is a file, or chunks have no rows.
    """
    assert given.shards is not None
    if given.shards.exists() and not given.shards.is_dir():
        raise InputError(f"--shards {given.shards} is a file; give a folder")
    if given.chunk_rows < 1:
        raise InputError(f"--chunk-rows {given.chunk_rows}: give at least 1")
    return given.shards


def in_time(out: Path, work: Callable[[], ShardedPrediction]) -> Result:
    """What a prediction into shards came to, or that its hours were over."""
    begun = time.monotonic()
    try:
        done = work()
    except OutOfTime as late:
        seconds = round(time.monotonic() - begun, 3)
        return Result({"shards": str(out), "late": True, "seconds": seconds}, str(late), OUT_OF_TIME)
    facts = {
        "shards": str(out),
        "files": [str(path) for path in done.files],
        "rows": done.rows,
        "kept": done.kept,
        "late": False,
        **done.facts,
        "seconds": round(time.monotonic() - begun, 3),
    }
    text = f"{out}: {done.rows:,} rows in {len(done.files):,} shards, in the file's order"
    if done.kept:
        text += f"; {done.kept:,} shards were there already"
    return Result(facts, f"{text}\nall in one file: polars.scan_parquet('{out}/*.parquet')")


class Lines:
    """A line of the log every half minute."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, rows: int, what: str) -> None:
        """See `chunk_run.OnRows`."""
        now = time.monotonic()
        if now - self._last >= _EVERY:
            self._last = now
            log.info("%s rows predicted, %s", f"{rows:,}", what)
