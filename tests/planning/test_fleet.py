"""Laws of a simulated fleet: what is exact without chance, what chance may not change, and Daly's mean."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from arena_ensemble.errors import InputError
from arena_ensemble.planning.fleet import HOUR, PARTS, Driver, Fleet, Outcome, Stage, Storage
from arena_ensemble.planning.lost_work import best_chunk, worker_seconds, young
from arena_ensemble.planning.prices import ON_DEMAND, SPOT, price_of
from arena_ensemble.planning.simulation import mean_outcome, simulate

SECONDS = st.floats(0.0, 50.0)
STAGES = st.builds(
    Stage,
    name=st.just("member"),
    rows=st.integers(1, 400),
    chunk_rows=st.integers(1, 60),
    row_seconds=st.floats(0.01, 3.0),
    load_seconds=SECONDS,
    read_bytes=st.sampled_from([0.0, 3e3]),
    write_bytes=st.sampled_from([0.0, 40.0]),
)
FLEETS = st.builds(
    Fleet,
    nodes=st.integers(1, 6),
    workers=st.integers(1, 3),
    price=st.floats(0.1, 10.0),
    vanish=st.sampled_from([0.0, 5.0, 40.0]),
    start_seconds=SECONDS,
    wait_seconds=SECONDS,
    recheck_seconds=st.sampled_from([0.0, 0.01]),
)
STORES = st.builds(
    Storage,
    latency=st.floats(0.0, 2.0),
    bytes_per_second=st.just(1e6),
    stall_share=st.sampled_from([0.0, 0.2]),
    stall_seconds=st.floats(0.1, 5.0),
    timeout=st.sampled_from([math.inf, 3.0]),
)
DRIVERS = st.builds(Driver, hand_out_seconds=st.floats(0.0, 0.5), note_seconds=st.floats(0.0, 0.5))


def mean(stage: Stage, fleet: Fleet, *others: Any, runs: int = 40) -> Outcome:
    return mean_outcome([simulate(stage, fleet, *others, seed=k) for k in range(runs)])


@given(STAGES, SECONDS, st.floats(0.0, 2.0), DRIVERS)
def test_one_worker_without_chance_is_a_sum(
    stage: Stage, start: float, latency: float, driver: Driver
) -> None:
    store = Storage(latency, bytes_per_second=1e6)
    done = simulate(stage, Fleet(1, price=2.0, start_seconds=start), store, driver)
    moves = (stage.read_bytes > 0) + (stage.write_bytes > 0)
    around = driver.hand_out_seconds + driver.note_seconds + moves * latency
    moved = stage.rows * (stage.read_bytes + stage.write_bytes) / 1e6
    total = start + stage.load_seconds + stage.chunks * around + moved + stage.rows * stage.row_seconds
    assert done.seconds == pytest.approx(total)
    # the last note is the driver's: the node is given back before
    assert done.node_seconds == pytest.approx(total - driver.note_seconds)
    assert done.dollars == pytest.approx(2 * done.node_seconds / HOUR)
    assert (done.attempts, done.vanished) == (stage.chunks, 0)


@given(STAGES, FLEETS, STORES, DRIVERS, st.integers(0, 99))
@settings(max_examples=200)
def test_every_second_paid_is_accounted_for(
    stage: Stage, fleet: Fleet, store: Storage, driver: Driver, seed: int
) -> None:
    # a node must live long enough for a chunk now and then, or a run has no end
    longest = fleet.start_seconds + stage.load_seconds + stage.chunk_rows * stage.row_seconds
    fleet = replace(fleet, vanish=min(fleet.vanish, HOUR / (1 + longest)))
    done = simulate(stage, fleet, store, driver, seed=seed)
    assert tuple(done.parts) == PARTS
    assert sum(done.parts.values()) == pytest.approx(done.node_seconds * fleet.workers)
    assert all(value > -1e-6 for value in done.parts.values())
    # every row once, however often its chunk was begun
    assert done.parts["compute"] == pytest.approx(stage.rows * stage.row_seconds)
    assert done.dollars == pytest.approx(done.node_seconds / HOUR * fleet.price)
    assert done.attempts >= done.chunks == stage.chunks
    assert done.attempts - done.chunks <= done.vanished * fleet.workers
    if not fleet.vanish:
        assert done.attempts == done.chunks
        assert done.parts["lost"] == done.parts["again"] == 0
    # no schedule is shorter than the work shared evenly, or the driver's part of it
    least = stage.rows * stage.row_seconds / (fleet.nodes * fleet.workers)
    serial = stage.chunks * (driver.hand_out_seconds + driver.note_seconds)
    assert done.seconds >= max(least, serial) * (1 - 1e-9)
    assert simulate(stage, fleet, store, driver, seed=seed) == done


def test_another_seed_is_another_run() -> None:
    stage, fleet = Stage("member", 1000, 10, 1.0), Fleet(3, vanish=20.0, start_seconds=10.0)
    assert simulate(stage, fleet, seed=1) != simulate(stage, fleet, seed=2)


def test_the_mean_of_one_worker_is_dalys() -> None:
    stage = Stage("member", 1000, 20, 1.0, load_seconds=5.0, read_bytes=1.0)
    fleet, store = Fleet(1, price=1.0, vanish=30.0, start_seconds=20.0), Storage(latency=2.0)
    runs = [simulate(stage, fleet, store, seed=k).node_seconds for k in range(400)]
    error = np.std(runs) / math.sqrt(len(runs))
    expected = worker_seconds(50, 20.0, 2.0, 25.0, HOUR / 30)
    assert abs(np.mean(runs) - expected) < 4 * error < 0.03 * expected


def test_oftener_vanishing_takes_longer_and_costs_more() -> None:
    stage = Stage("member", 3000, 20, 1.0, load_seconds=10.0)
    outcomes = [mean(stage, Fleet(4, 1, 1.0, rate, 30.0, 20.0)) for rate in (0.0, 2.0, 8.0, 30.0)]
    for before, after in itertools.pairwise(outcomes):
        assert before.seconds < after.seconds
        assert before.dollars < after.dollars
        assert before.parts["lost"] < after.parts["lost"]


def test_workers_of_a_node_go_together() -> None:
    stage = Stage("member", 100, 10, 1.0)
    # both workers have a chunk when their node vanishes: at 15 s, five seconds into the second
    done = simulate(stage, Fleet(1, workers=2), lifetimes=[15.0])
    assert (done.vanished, done.attempts) == (1, 12)
    assert done.parts["lost"] == pytest.approx(10.0)
    # two chunks were done; eight are left for two workers
    assert done.seconds == pytest.approx(15.0 + 40.0)


def test_a_lost_chunk_goes_to_whoever_waits() -> None:
    # two chunks, two nodes; the second vanishes at 8.5 s, the first has its own chunk until 9 s: it is sooner
    # than a new node, which is given back as soon as it has started
    stage = Stage("member", 20, 10, 0.8)
    done = simulate(stage, Fleet(2, start_seconds=1.0), lifetimes=[100.0, 8.5])
    assert done.seconds == pytest.approx(9.0 + 8.0)
    assert done.node_seconds == pytest.approx(17.0 + 8.5 + 1.0)
    # had the first been given back, only a new one can take it
    slow = simulate(Stage("member", 12, 10, 0.8), Fleet(2, start_seconds=1.0), lifetimes=[8.5, 100.0])
    assert slow.seconds == pytest.approx(8.5 + 1.0 + 8.0)
    # a worker that waits beside one that has a chunk takes the first of two lost ones at once
    stage = Stage("member", 25, 10, 0.8)
    done = simulate(stage, Fleet(2, workers=2, start_seconds=1.0), lifetimes=[3.0, 100.0])
    assert done.attempts == 5
    assert done.parts["lost"] == pytest.approx(4.0)
    assert done.seconds == pytest.approx(3.0 + 1.0 + 8.0)
    assert done.node_seconds == pytest.approx(3.0 + 11.0 + 9.0)


def test_a_driver_that_is_too_slow_decides() -> None:
    stage = Stage("member", 10_000, 10, 0.01)
    slow = Driver(hand_out_seconds=0.04, note_seconds=0.01)
    done = simulate(stage, Fleet(64, start_seconds=1.0), driver=slow)
    serial = stage.chunks * 0.05
    assert serial <= done.seconds <= serial + 1.0 + 0.1 + 0.05
    assert done.shares["driver"] > 0.9


def test_a_timeout_cuts_long_stalls() -> None:
    stage = Stage("member", 20_000, 10, 0.1, read_bytes=1.0)
    store = Storage(latency=0.1, stall_share=0.05, stall_seconds=5.0, stall_tail=1.2)
    patient = mean(stage, Fleet(4), store, runs=5).parts["stalls"]
    brisk = mean(stage, Fleet(4), replace(store, timeout=6.0), runs=5).parts["stalls"]
    assert brisk < patient / 2
    # one read a chunk; a stall of 5 s or more, cut at 6 s and drawn again
    assert brisk == pytest.approx(2000 * 0.05 * 5.5, rel=0.2)


@given(st.floats(0.1, 100.0), st.floats(1e3, 1e6))
def test_the_best_chunk_is_the_least_of_dalys_mean(cost: float, between: float) -> None:
    found = minimize_scalar(
        lambda log: worker_seconds(1e6 / math.exp(log), math.exp(log), cost, 60.0, between),
        bounds=(math.log(young(cost, between) / 10), math.log(young(cost, between) * 10)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    assert best_chunk(cost, between) == pytest.approx(math.exp(found.x), rel=1e-3)
    # Young's is the first term
    if cost < between / 1000:
        assert best_chunk(cost, between) == pytest.approx(young(cost, between), rel=0.05)


def test_the_simulated_best_chunk_lies_near_youngs() -> None:
    cost, between, work = 4.0, 1800.0, 200_000
    fleet, store = Fleet(8, price=1.0, vanish=HOUR / between, start_seconds=60.0), Storage(latency=cost)
    best = young(cost, between)
    lengths = [best * 2.0**k for k in range(-3, 4)]
    paid = [
        mean(Stage("member", work, round(one), 1.0, read_bytes=1e-9), fleet, store, runs=12).dollars
        for one in lengths
    ]
    # the bottom is flat: within a factor of two of Young's nothing is lost that can be seen
    assert lengths[int(np.argmin(paid))] in lengths[2:5]
    assert paid[0] > 1.02 * paid[3]
    assert paid[-1] > 1.02 * paid[3]


def test_replaying_lifetimes_ignores_the_rate() -> None:
    stage = Stage("member", 100, 10, 1.0)
    replayed = simulate(stage, Fleet(1, vanish=1000.0, start_seconds=3.0), lifetimes=[28.0])
    # two chunks done in the first life, eight after another start
    assert replayed.seconds == pytest.approx(28.0 + 3.0 + 80.0)
    assert replayed.parts["lost"] == pytest.approx(5.0)
    assert replayed.parts["again"] == pytest.approx(3.0)
    again = simulate(stage, Fleet(1, start_seconds=3.0, recheck_seconds=0.5), lifetimes=[28.0])
    assert again.seconds == pytest.approx(replayed.seconds + 1.0)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Stage, {"name": "x", "rows": 0, "chunk_rows": 1, "row_seconds": 1.0}),
        (Stage, {"name": "x", "rows": 1, "chunk_rows": 1, "row_seconds": -1.0}),
        (Fleet, {"nodes": 0}),
        (Fleet, {"nodes": 1, "vanish": math.inf}),
        (Storage, {"stall_share": 1.0}),
        (Storage, {"bytes_per_second": 0.0}),
        (Driver, {"note_seconds": math.nan}),
    ],
)
def test_what_makes_no_sense_is_refused(kind: Any, values: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="give a"):
        kind(**values)


def test_prices_have_a_source() -> None:
    for table in (ON_DEMAND, SPOT):
        for price in table.values():
            assert price.dollars > 0
            assert price.what
            assert price.source
    assert price_of("L4", spot=True).dollars < price_of("L4", spot=False).dollars
    with pytest.raises(InputError, match="give --price"):
        price_of("P100", spot=True)
