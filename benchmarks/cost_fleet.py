"""10^8 pairs on spot nodes: what the table rests on, and one simulated run of a member or a cascade."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cost_rates import MEAN_TOKENS, VANISH, recipe, workload

from arena_ensemble.planning import session
from arena_ensemble.planning.fleet import Fleet, Outcome, Stage, Storage
from arena_ensemble.planning.fleet_plan import OBJECT_STORE, best_chunk_rows, driver_of, member_plan, stage_of
from arena_ensemble.planning.gpus import gpu_named
from arena_ensemble.planning.prices import CPU_SPOT, SPOT
from arena_ensemble.planning.session import SessionPlan
from arena_ensemble.planning.simulation import mean_outcome, simulate

PAIRS = 100_000_000
LEXICAL_ROW = 2 * (33.6 - 9.2) / 90_000
"""seconds of one of two processes for a further row of Kaggle's lengths: five folds of the lexical member,
features and the stacker (docs/scale.md, 10^4 to 10^5 rows)"""
LEXICAL_START = 5.0
RECHECK_ROW = 60e-6
"""seconds to look at a finished shard again, a row of Kaggle's lengths (cost_check.py)"""
SMALL, LARGE = "modernbert-large", "gemma-2-9b-classify"
SHARES = (1.0, 0.4, 0.15)
"""of the pairs that each of three members is asked about"""
CORES = 4


@dataclass(frozen=True)
class Assumed:
    """Everything that the table of 10^8 pairs rests on and that may be halved or doubled."""

    card: str = "L4"
    nodes: int = 256
    cards: int = 1
    price: float = SPOT["L4"].dollars
    vanish: float = VANISH
    start: float = session.START_SECONDS
    load_rate: float = 1.0
    compute: float = 1.0
    """times the planner's seconds a row"""
    storage: Storage = OBJECT_STORE
    chunk_rows: int = 0
    """0: what loses least"""
    driver_scale: float = 1.0
    shares: tuple[float, ...] = SHARES
    cpu_nodes: int = 64
    cpu_price: float = CPU_SPOT.dollars
    lexical_row: float = LEXICAL_ROW
    tokens: float = MEAN_TOKENS
    runs: int = 2


CARDS = {
    "L4": Assumed(),
    "A10G": Assumed(card="A10G", price=SPOT["A10G"].dollars),
    "H100": Assumed(card="H100", nodes=4, cards=8, price=8 * SPOT["H100"].dollars),
}


@functools.cache
def planned(name: str, card: str, rows: int, tokens: float) -> SessionPlan:
    return member_plan(recipe(name), gpu_named(card), workload(rows, tokens))


def member_stage(name: str, given: Assumed, share: float, passes: int = 1) -> Stage:
    plan = planned(name, given.card, PAIRS, given.tokens)
    stage = stage_of(plan, workload(PAIRS, given.tokens), 4096, passes)
    stage = replace(
        stage, rows=round(share * PAIRS), row_seconds=given.compute * stage.row_seconds,
        load_seconds=stage.load_seconds / given.load_rate,
    )  # fmt: skip
    return replace(stage, chunk_rows=given.chunk_rows or least_lost(stage, given))


def fleet_of(given: Assumed) -> Fleet:
    return Fleet(given.nodes, given.cards, given.price, given.vanish, given.start)


def least_lost(stage: Stage, given: Assumed) -> int:
    return best_chunk_rows(stage, fleet_of(given), given.storage) or 4096


def ran(stage: Stage, given: Assumed) -> Outcome:
    fleet = fleet_of(given)
    driver = driver_of(stage.chunk_rows)
    driver = replace(
        driver, hand_out_seconds=given.driver_scale * driver.hand_out_seconds,
        note_seconds=given.driver_scale * driver.note_seconds,
    )  # fmt: skip
    return mean_outcome([simulate(stage, fleet, given.storage, driver, seed=k) for k in range(given.runs)])


def in_parts(stage: Stage, given: Assumed) -> tuple[float, float]:
    """Hours until the last part is done, and dollars, where each card has a part of the file and its own run.

    That is what `predict --shards` does today: no part's chunks go to another node, and a run that goes on
    looks at its finished shards again.
    """
    count = given.nodes * given.cards
    part = replace(stage, rows=-(-stage.rows // count))
    fleet = Fleet(1, 1, given.price / given.cards, given.vanish, given.start,
                  recheck_seconds=part.chunk_rows * RECHECK_ROW)  # fmt: skip
    driver = driver_of(part.chunk_rows)
    runs = [simulate(part, fleet, given.storage, driver, seed=k) for k in range(count)]
    return max(one.hours for one in runs), sum(one.dollars for one in runs)


def lexical(given: Assumed) -> Outcome:
    stage = Stage("lexical", round(given.shares[0] * PAIRS), 65_536, given.lexical_row, LEXICAL_START,
                  4 * given.tokens, 40.0)  # fmt: skip
    return ran(stage, replace(given, nodes=given.cpu_nodes, cards=CORES, price=given.cpu_price))


def cascade(given: Assumed) -> list[tuple[str, Outcome]]:
    """Its members one after the other."""
    found = [("lexical", lexical(given))]
    for name, share in zip((SMALL, LARGE), given.shares[1:], strict=True):
        found.append((name, ran(member_stage(name, given, share), given)))
    return found


def total(outcomes: Sequence[Outcome]) -> dict[str, float]:
    return {
        "hours": sum(one.hours for one in outcomes), "dollars": sum(one.dollars for one in outcomes),
    }  # fmt: skip
