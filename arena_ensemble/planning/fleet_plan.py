"""A member over many rows on nodes with cards: the planner's seconds a row and load, simulated on a fleet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ..errors import InputError
from ..recipes import Recipe
from . import session
from .fleet import HOUR, Driver, Fleet, Outcome, Stage, Storage
from .gpus import Gpu
from .lengths import BYTES_PER_TOKEN
from .lost_work import best_chunk
from .session import SessionPlan
from .simulation import mean_outcome, simulate
from .workload import Workload

WRITTEN_BYTES: Final = 40.0
"""of a row's prediction in a parquet shard (docs/scale.md: 28 to 80)"""
OBJECT_STORE: Final = Storage(
    latency=0.1, bytes_per_second=100e6, stall_share=1e-3, stall_seconds=5.0, stall_tail=1.5
)
"""assumed: the first byte after 0.1 s, 100 MB/s, one transfer in a thousand stalls, for 15 s on average"""
HAND_OUT_SECONDS: Final = 2e-3
HAND_OUT_ROW_SECONDS: Final = 10e-6
"""of the driver, which reads the file and sends rows to the workers (`benchmarks/cost_model.py`)"""
NOTE_SECONDS: Final = 5e-3
"""of the driver, to write a finished shard's line and flush it to the disk"""
MOST_CHUNKS: Final = 1_000_000
_RUNS: Final = 3


@dataclass(frozen=True)
class FleetPlan:
    """One member on a fleet; everything estimated."""

    plan: SessionPlan
    """of one card: in which precision it fits, its seconds for all rows in one order"""
    stage: Stage
    outcome: Outcome
    best_chunk_rows: int | None
    """rows of a chunk that lose least; None where nothing vanishes, and longer chunks are always better"""

    def facts(self) -> dict[str, Any]:
        """Plain JSON values, marked as an estimate."""
        return {
            "name": self.stage.name,
            "quantise": self.plan.quantise,
            "fits_card": self.plan.fits_card,
            "row_seconds": self.stage.row_seconds,
            "load_seconds": self.stage.load_seconds,
            "chunk_rows": self.stage.chunk_rows,
            "best_chunk_rows": self.best_chunk_rows,
            **self.outcome.facts(),
        }


def driver_of(chunk_rows: int) -> Driver:
    """The engine's driver: it reads the rows that it hands out."""
    return Driver(HAND_OUT_SECONDS + chunk_rows * HAND_OUT_ROW_SECONDS, NOTE_SECONDS)


def member_plan(recipe: Recipe, gpu: Gpu, workload: Workload) -> SessionPlan:
    """How one fold model of a member predicts the workload's rows in one order, on one card.

    In the first precision that fits; where none fits, the last one tried, with ``fits_card`` false.
    """
    plans = session.plan_session(recipe, gpu, 1, workload, hours=1.0)
    return next((one for one in plans if one.fits_card), plans[-1])


def stage_of(plan: SessionPlan, workload: Workload, chunk_rows: int, passes: int = 1) -> Stage:
    """A member's stage.

    Parameters
    ----------
    passes
        Fold models times orders, each a pass over the texts by a model that is in memory already.
    """
    return Stage(
        name=plan.name,
        rows=workload.rows,
        chunk_rows=chunk_rows,
        row_seconds=passes * plan.order_seconds / workload.rows,
        load_seconds=plan.load_seconds,
        read_bytes=BYTES_PER_TOKEN * float(workload.lengths.sum(axis=1).mean()),
        write_bytes=WRITTEN_BYTES,
    )


def plan_fleet(
    recipe: Recipe,
    gpu: Gpu,
    workload: Workload,
    fleet: Fleet,
    chunk_rows: int,
    storage: Storage = OBJECT_STORE,
    *,
    seed: int = 0,
) -> FleetPlan:
    """What one model of a member over all rows, in one order, takes on a fleet: the mean of three runs.

    Raises
    ------
    InputError
        So many chunks that simulating them takes minutes.
    """
    plan = member_plan(recipe, gpu, workload)
    stage = stage_of(plan, workload, chunk_rows)
    if stage.chunks > MOST_CHUNKS:
        least = -(-stage.rows // MOST_CHUNKS)
        raise InputError(f"{stage.chunks:,} chunks: give --chunk-rows {least:,} or more")
    driver = driver_of(chunk_rows)
    runs = [simulate(stage, fleet, storage, driver, seed=seed + k) for k in range(_RUNS)]
    return FleetPlan(plan, stage, mean_outcome(runs), best_chunk_rows(stage, fleet, storage))


def chunk_cost(storage: Storage) -> float:
    """Seconds around a chunk, whatever its rows: both transfers' latency, and the driver."""
    return 2 * storage.latency + HAND_OUT_SECONDS + NOTE_SECONDS


def best_chunk_rows(stage: Stage, fleet: Fleet, storage: Storage) -> int | None:
    """Rows of a chunk that lose least on one worker (`lost_work.best_chunk`); None where nothing vanishes.

    At most so many that each worker has one.
    """
    if not fleet.vanish or not stage.row_seconds:
        return None
    best = round(best_chunk(chunk_cost(storage), HOUR / fleet.vanish) / stage.row_seconds)
    return max(1, min(best, -(-stage.rows // (fleet.nodes * fleet.workers))))
