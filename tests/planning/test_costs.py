"""What tasks are planned with: figures for every kind of member, on a card and on none."""

from __future__ import annotations

import numpy as np
import pytest

from arena_ensemble.planning.costs import Texts, member_cost, member_costs
from arena_ensemble.planning.gpus import gpu_named
from arena_ensemble.planning.here import Machine, card_of, this_machine
from arena_ensemble.planning.lengths import lengths_of, sampled_lengths
from arena_ensemble.planning.workload import Workload, batch_totals, typical_lengths
from arena_ensemble.recipes import Recipe, load_recipe, packaged_recipe
from arena_ensemble.sample import make_arena

CPU = Machine(cores=2, memory=16 * 2**30)
CARD = Machine(cores=8, memory=64 * 2**30, gpu=gpu_named("H100"), gpus=1)


def recipe(name: str) -> Recipe:
    path = packaged_recipe(name)
    assert path is not None
    return load_recipe(path)


def texts(rows: int, test_rows: int = 0) -> Texts:
    return Texts(typical_lengths(830.0, 400), rows, test_rows, 5)


@pytest.mark.parametrize("name", ["lexical", "tiny-classify", "tiny-generate"])
def test_twice_the_battles_take_twice_the_tokens(name: str) -> None:
    few, many = (member_cost(recipe(name), texts(rows, rows), CPU) for rows in (20_000, 40_000))
    for field in ("tokens", "held_tokens", "test_tokens"):
        assert getattr(many, field) == pytest.approx(2 * getattr(few, field), rel=1e-3)
    assert few.seconds < many.seconds <= 2 * few.seconds
    assert few.memory < many.memory
    assert few.fits
    assert few.where == "cpu"


def test_tokens_are_the_engines_own_batches() -> None:
    one = recipe("tiny-swap")
    trained, held = batch_totals(one, Workload(texts(1000).lengths, 1000, 5))
    cost = member_cost(one, texts(1000), CPU)
    assert (cost.tokens, cost.held_tokens, cost.test_tokens) == (round(trained.tokens), round(held.tokens), 0)


def test_a_base_is_planned_from_its_shapes() -> None:
    cost = member_cost(recipe("modernbert-large"), texts(57_477, 25_000), CARD)
    assert cost.where == "H100"
    assert cost.fits
    assert cost.test_seconds == pytest.approx(cost.held_seconds * cost.test_tokens / cost.held_tokens)
    slow = member_cost(recipe("modernbert-large"), texts(57_477, 25_000), CPU)
    assert slow.seconds > 100 * cost.seconds


def test_where_nothing_is_trained_only_prediction_costs() -> None:
    for name in ("lexical", "tiny-swap", "modernbert-large"):
        cost = member_cost(recipe(name), texts(0, 1000), CARD)
        assert (cost.fit_seconds, cost.held_seconds, cost.tokens) == (0, 0, 0)
        assert cost.test_seconds > 0


def test_a_calibration_by_rows_takes_time_though_nothing_is_trained() -> None:
    """Of 100 battles in five folds 80 are read in one order, and 20 held out in two."""
    one = recipe("smollm2-zeroshot")
    plain = one.model_copy(update={"generate": one.generate.model_copy(update={"calibration": "none"})})
    for rows, times in ((100, 2.0), (57_477, 512 / (2 * 57_477 / 5))):
        cost = member_cost(one, texts(rows), CPU)
        assert cost.tokens == 0
        assert cost.fit_seconds == pytest.approx(times * cost.held_seconds, rel=0.01)
        assert member_cost(plain, texts(rows), CPU).fit_seconds == 0


def test_what_cannot_be_planned_is_left_out() -> None:
    odd = recipe("modernbert-large").model_copy(update={"base": "nobody/knows-this", "name": "odd"})
    assert list(member_costs({"odd": odd, "lexical": recipe("lexical")}, texts(100), CPU)) == ["lexical"]


def test_lengths_of_a_sample_are_those_of_its_battles() -> None:
    battles = make_arena(90, seed=1).battles
    whole = lengths_of(battles)
    assert whole.shape == (90, 3)
    assert np.array_equal(sampled_lengths(battles, 30), whole[::3])
    assert np.array_equal(sampled_lengths(battles), whole)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("NVIDIA H100 80GB HBM3, 81559", "H100"),
        ("NVIDIA A100-SXM4-40GB, 40960", "A100-40"),
        ("NVIDIA A100-SXM4-80GB, 81920", "A100-80"),
        ("Tesla T4, 15360", "T4"),
        ("NVIDIA GeForce RTX 4090, 24564", "RTX4090"),
        ("Tesla P100-PCIE-16GB, 16384", "P100"),
    ],
)
def test_cards_are_known_by_what_their_driver_calls_them(line: str, name: str) -> None:
    assert card_of(line).name == name


def test_an_unknown_card_is_planned_with_its_own_memory() -> None:
    card = card_of("NVIDIA Nothing 9000, 20000")
    assert card.name == "NVIDIA Nothing 9000"
    assert card.memory == pytest.approx(0.97 * 20000 * 2**20)
    assert this_machine().cores >= 1
