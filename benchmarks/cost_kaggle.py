"""Hours and dollars of the Kaggle task: five folds of one member and of three, on one card and on eight."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

from cost_rates import FOLDS, MEASURED, VANISH, reached, recipe, workload

from arena_ensemble.pipeline.schedule import Work, lower_bound, makespan
from arena_ensemble.planning import session
from arena_ensemble.planning.estimate import estimate
from arena_ensemble.planning.fleet import HOUR, Fleet, Stage
from arena_ensemble.planning.fleet_plan import member_plan
from arena_ensemble.planning.gpus import gpu_named
from arena_ensemble.planning.prices import ON_DEMAND, SPOT
from arena_ensemble.planning.simulation import mean_outcome, simulate

KAGGLE_ROWS, KAGGLE_TEST = 57_477, 25_000
MEMBERS = ("gemma-2-9b-classify", "llama-3.1-8b-generate", "qwen2.5-7b-classify")


@dataclass(frozen=True)
class FoldCost:
    """Seconds of one fold of a member on one card."""

    load: float
    fit: float
    held: float
    test: float

    @property
    def seconds(self) -> float:
        return self.load + self.fit + self.held + self.test


@functools.cache
def fold_cost(name: str, orders: int, slower: bool = False) -> FoldCost:
    gpu, one = gpu_named("H100"), recipe(name, orders)
    found = estimate(one, gpu, workload(KAGGLE_ROWS, slower=slower))
    test = member_plan(one, gpu, workload(KAGGLE_TEST, slower=slower))
    return FoldCost(test.load_seconds, found.fit_seconds, found.read_seconds, orders * test.order_seconds)


def kaggle() -> dict[str, Any]:
    """Five folds, one member and three, one card and eight."""
    price = ON_DEMAND["H100"]
    train, read = reached()
    print(f"\nKaggle: {KAGGLE_ROWS:,} rows, {KAGGLE_TEST:,} test rows, {FOLDS} folds, both orders everywhere")
    print(
        f"H100 at {price}; {train:.1%} of its dense peak in training and {read:.1%} in prediction "
        f"({MEASURED['train']:,.0f} and {MEASURED['read']:,.0f} tokens a second of an 8B)"
    )
    print(f"{'one fold, h':28}{'load':>8}{'fit':>8}{'held':>8}{'test':>8}{'five':>8}")
    for name in MEMBERS:
        one = fold_cost(name, 2)
        cells = "".join(f"{seconds / HOUR:8.2f}" for seconds in (one.load, one.fit, one.held, one.test))
        print(f"{name:28}{cells}{FOLDS * one.seconds / HOUR:8.1f}", flush=True)
    found: dict[str, Any] = {"price": price.dollars, "train_share": train, "read_share": read, "rows": []}
    for slower in (False, True):
        for members in (MEMBERS[:1], MEMBERS):
            tasks = [
                Work(f"{name} {fold}", name, fold_cost(name, 2, slower).seconds)
                for name in members for fold in range(FOLDS)
            ]  # fmt: skip
            longest = sorted(tasks, key=lambda task: -task.seconds)
            for cards in (1, 8):
                hours = (session.START_SECONDS + makespan(longest, cards)) / HOUR
                best = (session.START_SECONDS + lower_bound([t.seconds for t in tasks], cards)) / HOUR
                row = {
                    "members": len(members), "cards": cards, "slower_machine": slower,
                    "hours": round(hours, 2),
                    "dollars": round(cards * hours * price.dollars, 2), "lower_bound_hours": round(best, 2),
                    "busy": round(sum(t.seconds for t in tasks) / (cards * hours * HOUR), 3),
                }  # fmt: skip
                found["rows"].append(row)
                print(
                    f"{len(members)} member(s), {cards} H100{', slower machine' if slower else ''}: "
                    f"{hours:.1f} h, ${row['dollars']:,.0f}, cards busy {row['busy']:.0%}"
                )
    found["spot"] = spot_training()
    return found


def spot_training() -> list[dict[str, Any]]:
    """15 folds on eight spot cards, each of its own node: a fold lost whole, or from its checkpoint."""
    rows = []
    one = fold_cost(MEMBERS[0], 2)
    for rate in (VANISH, 0.5):
        for minutes in (0, 10):
            steps = 1 if not minutes else math.ceil(one.seconds / (60 * minutes))
            # a fold is a chunk; with checkpoints it is many, each of which is lost alone (and which
            # cards share, as they cannot in truth: the clock is some minutes short)
            stage = Stage("folds", 15 * steps, 1, one.seconds / steps, load_seconds=one.load)
            fleet = Fleet(8, 1, SPOT["H100"].dollars, rate, session.START_SECONDS)
            done = mean_outcome([simulate(stage, fleet, seed=k) for k in range(40)])
            rows.append(
                {"rate": rate, "checkpoint_minutes": minutes, "hours": round(done.hours, 2),
                 "dollars": round(done.dollars, 1), "lost": round(done.shares["lost"], 3)}
            )  # fmt: skip
            kept = f"a checkpoint every {minutes} min" if minutes else "folds lost whole"
            print(
                f"15 folds of {one.seconds / HOUR:.1f} h on 8 spot H100 at {rate:g}/h, {kept}: "
                f"{done.hours:.1f} h, ${done.dollars:,.0f}, {done.shares['lost']:.1%} lost"
            )
    return rows
