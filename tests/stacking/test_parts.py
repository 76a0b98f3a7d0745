"""The parts of delta and tau sum to the prediction, are odd and even, and are zero of who was not used."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.features import Features
from arena_ensemble.predictions import Floats, delta_tau, from_delta_tau
from arena_ensemble.stacking import Design, Stacker, make_design
from arena_ensemble.stacking.base import at_index
from arena_ensemble.stacking.boosting import BoostingCandidate, BoostingParams
from arena_ensemble.stacking.candidates import candidates_for
from arena_ensemble.stacking.logistic import (
    LogisticCandidate,
    member_owners,
    member_terms,
    term_owners,
    terms_of,
)
from arena_ensemble.stacking.parts import model_parts
from arena_ensemble.stacking.pooling import PooledModel
from arena_ensemble.stacking.selection import Decision
from arena_ensemble.stacking.serialization import FittedStacker

LINEAR = [
    "prior",
    "best member",
    "geometric mean",
    "greedy selection",
    "linear pool",
    "geometric pool",
    "shrunk pool, 30 rows",
    "logistic",
    "logistic by evidence",
    "rich logistic",
    "features only",
    "length only",
    "logistic with features",
]


@cache
def arena(n: int, count: int = 3, seed: int = 0) -> tuple[Design, np.ndarray]:
    """A design of members that see the truth through noise, features that see what they do not; outcomes."""
    rng = np.random.default_rng(seed)
    seen, unseen, ease = rng.normal(size=(3, n))
    truth = from_delta_tau(1.2 * seen + 0.8 * unseen, -0.3 * np.abs(seen) + 0.4 * ease)
    y = (rng.random(n)[:, None] > np.exp(truth).cumsum(axis=1)[:, :2]).sum(axis=1)
    members = {
        f"m{i}": np.exp(from_delta_tau(seen + rng.normal(size=n) * (0.3 + 0.5 * i), 0.3 * ease))
        for i in range(count)
    }
    odd = np.stack([unseen + 0.3 * rng.normal(size=n), rng.normal(size=n)], axis=1)
    even = np.stack([ease, np.abs(odd[:, 0]), rng.normal(size=n)], axis=1)
    names = ("chars.log", "x.diff"), ("chars.sum", "chars.gap", "x.mean")
    return make_design(members, Features(odd, even, *names)), y


@cache
def fitted(name: str) -> Any:
    design, y = arena(300)
    return candidates_for(design, trees=False).candidate(name).fit(design, y, 0)


@cache
def stacker() -> Stacker:
    """Three candidates averaged, one of them a blend with trees."""
    design, y = arena(300)
    trees = BoostingCandidate("trees", True, BoostingParams(rounds=(0, 5, 20), min_leaf=10))
    models = {name: fitted(name) for name in ("logistic", "linear pool", "features only")}
    models["trees"] = trees.fit(design, y, 0)
    decision = Decision(
        {"logistic": (1, 1), "linear pool": (0, 0), "features only": (2, 2), "trees": (1, 2)},
        {"logistic": 1.1, "linear pool": 0.9, "features only": 1.0, "trees": 0.8},
        {"mix": {"trees": 0.6, "features only": 0.7}},
        {"logistic": 0.5, "mix": 0.3, "linear pool": 0.2},
        {},
    )
    tie_logit = {name: name == "trees" for name in models}
    names = design.members, design.odd_names, design.even_names
    made = Stacker()
    made.fitted_ = FittedStacker(models, tie_logit, decision, *names)
    return made


@pytest.mark.parametrize("name", LINEAR)
def test_parts_of_pools_and_the_logistic_form_sum_to_the_prediction(name: str) -> None:
    design, _ = arena(60, seed=1)
    model = fitted(name)
    path = model.predict_path(design)
    for index in {(0, 0), (len(path) - 1,) * 2}:
        delta, tau = model_parts(model, design, index)
        expected = at_index(path, index)
        np.testing.assert_allclose(delta.sum(axis=1), expected[:, 0], atol=1e-9)
        np.testing.assert_allclose(tau.sum(axis=1), expected[:, 1], atol=1e-9)
        assert not delta[:, -1].any(), "nothing is left over"
        assert not tau[:, -1].any()
        assert not delta[:, -2].any(), "no constant leans to one side"


@pytest.mark.parametrize("name", LINEAR)
def test_a_swap_negates_parts_of_delta_and_keeps_those_of_tau(name: str) -> None:
    design, _ = arena(60, seed=1)
    shown, other = (model_parts(fitted(name), one, (0, 0)) for one in (design, design.swapped()))
    np.testing.assert_allclose(other[0], -shown[0], atol=1e-12)
    np.testing.assert_allclose(other[1], shown[1], atol=1e-12)


def test_a_moderated_delta_is_the_sum_of_its_members() -> None:
    design, _ = arena(60, seed=1)
    model = fitted("logistic by evidence")
    delta, tie = model_parts(model, design, (0, 0))
    expected = model.predict_path(design)[0]
    np.testing.assert_allclose(delta.sum(axis=1), expected[:, 0], atol=1e-9)
    np.testing.assert_allclose(tie.sum(axis=1), expected[:, 1], atol=1e-9)
    assert not delta[:, len(design.members) :].any()


@given(
    st.lists(st.sampled_from([0.0, 0.1, 1.0, 2.5]), min_size=3, max_size=3).filter(any),
    st.sampled_from(["linear", "geometric"]),
    st.floats(-20, 20),
    st.floats(-10, 10),
)
def test_a_member_of_weight_zero_has_no_part(
    weights: list[float], pool: Any, delta: float, tau: float
) -> None:
    rows = np.array([[delta, -delta, 1.0]]), np.array([[tau, 0.0, -tau]])
    names = ("a", "b", "c")
    design = Design(*rows, np.empty((1, 0)), np.empty((1, 0)), names, (), ())
    model = PooledModel(pool, np.array([1.0, 0.7, 1.3]), np.array(weights))
    found = model_parts(model, design, (0, 0))
    expected = model.predict_path(design)[0, 0]
    for parts, total in zip(found, expected, strict=True):
        assert not parts[0, :3][np.array(weights) == 0].any()
        assert parts.sum() == pytest.approx(total, abs=1e-9, rel=1e-9)


def test_equal_probabilities_in_a_linear_pool_divide_by_zero_nowhere() -> None:
    design = Design(
        np.array([[1.0, -1.0]]), np.zeros((1, 2)), np.empty((1, 0)), np.empty((1, 0)), ("a", "b"), (), ()
    )
    delta, tau = model_parts(PooledModel("linear", np.ones(2), np.ones(2)), design, (0, 0))
    np.testing.assert_allclose(delta[0, :2], [-delta[0, 1], delta[0, 1]])
    assert delta[0, 0] > 0.4
    assert np.isfinite(tau).all()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 11])
def test_owners_of_rich_terms_are_the_members_that_move_them(count: int) -> None:
    rng = np.random.default_rng(count)
    delta, tau = rng.normal(size=(2, 5, count))
    none = np.empty((5, 0))
    design = Design(delta, tau, none, none, tuple(f"m{i:02}" for i in range(count)), (), ())
    before, owners = member_terms(design), member_owners(count)
    for columns, shares in zip(before, owners, strict=True):
        assert shares.shape == (columns.shape[1], count)
        np.testing.assert_allclose(shares.sum(axis=1), 1)
    for place in range(count):
        moved = design.delta.copy(), design.tau.copy()
        moved[0][:, place] *= -1.37
        moved[1][:, place] += 0.4
        after = member_terms(replace(design, delta=moved[0], tau=moved[1]))
        for old, new, shares in zip(before, after, owners, strict=True):
            changed = ~np.isclose(old, new, rtol=0, atol=1e-12).all(axis=0)
            np.testing.assert_array_equal(changed, shares[:, place] > 0)


@pytest.mark.parametrize("terms", ["plain", "rich", "features", "length", "all"])
@pytest.mark.parametrize("lean", [False, True])
def test_every_term_has_one_owner(terms: Any, lean: bool) -> None:
    design, y = arena(60)
    if lean:
        design = replace(design, one_order=("m1",), first=np.where(np.arange(60) % 3, 1.0, -1.0))
    for columns, owners in zip(
        terms_of(design, terms, lean=lean)[:2], term_owners(design, terms, lean=lean), strict=True
    ):
        assert owners.shape == (columns.shape[1], 3 + 5 + 3)
        np.testing.assert_allclose(owners.sum(axis=1), 1)
    model = LogisticCandidate("x", terms, ridges=(1.0,), lean=lean).fit(design, y, 0)
    delta, tau = model_parts(model, design, (0, 0))
    np.testing.assert_allclose(
        np.stack([delta.sum(axis=1), tau.sum(axis=1)], axis=1), model.predict_path(design)[0]
    )
    assert delta[:, -3].any() == lean, "the lean alone is what was shown first"


@pytest.mark.parametrize(("features", "members"), [(True, True), (True, False), (False, True)])
def test_parts_of_trees_sum_and_are_odd_and_even(features: bool, members: bool) -> None:
    design, y = arena(300)
    params = BoostingParams(rounds=(0, 5, 20), min_leaf=10, bags=2)
    model = BoostingCandidate("trees", features, params, members=members).fit(design, y, 0)
    new = arena(40, seed=3)[0]
    path = model.predict_path(new)
    for index in ((0, 0), (2, 1), (1, 2)):
        delta, tie = model_parts(model, new, index)
        expected = at_index(path, index)
        np.testing.assert_allclose(delta.sum(axis=1), expected[:, 0], atol=1e-8)
        np.testing.assert_allclose(tie.sum(axis=1), expected[:, 1], atol=1e-8)
        swapped = model_parts(model, new.swapped(), index)
        np.testing.assert_allclose(swapped[0], -delta, atol=1e-9)
        np.testing.assert_allclose(swapped[1], tie, atol=1e-9)
        if not members:
            assert not delta[:, :3].any()
            assert not tie[:, :3].any()
        if not features:
            assert not delta[:, 3:8].any()


def test_parts_of_averaged_candidates_sum_to_delta_and_tau() -> None:
    model = stacker()
    design = arena(50, seed=5)[0]
    probs = dict(zip(design.members, np.exp(design.log_probs), strict=True))
    features = Features(design.odd, design.even, design.odd_names, design.even_names)
    parts = model.parts(probs, features)
    expected = delta_tau(model.predict_log_proba(probs, features))
    for found, total in zip((parts.delta, parts.tau), expected, strict=True):
        np.testing.assert_allclose(found.sum(axis=1), total, atol=1e-12)
    for rest in parts.of("rest"):
        assert np.abs(rest).max() < 1e-8
    other = model.parts({name: one[:, [1, 0, 2]] for name, one in probs.items()}, features.swapped())
    np.testing.assert_allclose(other.delta, -parts.delta, atol=1e-9)
    np.testing.assert_allclose(other.tau, parts.tau, atol=1e-9)
    assert parts.of_members()[0].shape == (50, 3)
    assert parts.of_features()[0].shape == (50, 5)


@dataclass(frozen=True)
class Product:
    """A candidate that no rule knows: delta is the product of a member's delta and another's size."""

    kind = "product"

    def predict_path(self, design: Design) -> Floats:
        delta = design.delta[:, 0] * np.abs(design.delta[:, 1])
        return np.stack([delta, design.tau[:, 0]], axis=1)[None]


def test_an_unknown_model_is_taken_apart_by_difference() -> None:
    design = arena(20)[0]
    delta, tau = model_parts(Product(), design, (0, 0))  # type: ignore[arg-type]
    product = design.delta[:, 0] * np.abs(design.delta[:, 1])
    np.testing.assert_allclose(delta[:, 0], product)
    np.testing.assert_allclose(delta[:, 1], product)
    np.testing.assert_allclose(delta[:, -1], -product)
    assert not delta[:, 2].any(), "it is not used"
    np.testing.assert_allclose(delta.sum(axis=1), product)
    np.testing.assert_allclose(tau[:, 0], design.tau[:, 0])
