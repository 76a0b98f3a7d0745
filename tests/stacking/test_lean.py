"""The lean of members that predicted one order: its law, when it is chosen, and what stays exactly odd."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena_ensemble.errors import InputError
from arena_ensemble.metrics import log_loss
from arena_ensemble.predictions import Predictions, from_delta_tau
from arena_ensemble.stacking import Stacker, make_design
from arena_ensemble.stacking.base import to_log_probs
from arena_ensemble.stacking.boosting import BoostingCandidate, BoostingParams
from arena_ensemble.stacking.candidates import LEAN, RESTORE, candidates_for
from arena_ensemble.stacking.design import Design
from arena_ensemble.stacking.row_folds import LabelledRows
from arena_ensemble.stacking.selection import _selection_frequency

SWAP = [1, 0, 2]
TURN = {"a": "b", "b": "a"}


def arena(
    n: int, seed: int = 0, *, lean: float = 0.8
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Two members, ``one`` of which leans to what it saw first; outcomes; and what that was."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    y = (rng.random(n)[:, None] > np.exp(from_delta_tau(truth, np.zeros(n))).cumsum(axis=1)[:, :2]).sum(
        axis=1
    )
    first = rng.choice(["a", "b"], size=n)
    sign = np.where(first == "a", 1.0, -1.0)
    tau = 0.3 * rng.normal(size=n)
    members = {
        "one": np.exp(from_delta_tau(truth + 0.3 * rng.normal(size=n) + lean * sign, tau)),
        "two": np.exp(from_delta_tau(truth + rng.normal(size=n), np.zeros(n))),
    }
    return members, y, first


def turned(members: dict[str, np.ndarray], first: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The other order of the responses, seen in the same order as before."""
    exchanged = {name: values[:, SWAP] for name, values in members.items()}
    return exchanged, np.array([TURN[one] for one in first])


def fitted(lean: float, n: int, seed: int = 0) -> Stacker:
    members, y, first = arena(n, seed, lean=lean)
    design = make_design(members, None, one_order=("one",), first=first)
    candidates = candidates_for(design, trees=False)
    return Stacker(honest=False).fit_source(
        design, candidates, LabelledRows(y, np.arange(n), np.arange(n) % 3)
    )


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.floats(-3, 3))
def test_swapping_the_battle_and_who_was_first_swaps_every_prediction(seed: int, lean: float) -> None:
    members, y, first = arena(60, seed, lean=lean)
    design = make_design(members, None, one_order=("one",), first=first)
    exchanged, other_first = turned(members, first)
    other = make_design(exchanged, None, one_order=("one",), first=other_first)
    np.testing.assert_allclose(other.lean_terms[0], design.swapped().lean_terms[0], atol=1e-9)
    np.testing.assert_allclose(other.lean_terms[1], design.swapped().lean_terms[1], atol=1e-9)
    for candidate in candidates_for(design).candidates:
        model = candidate.fit(design, y, seed)
        for shown, seen in zip(model.predict_path(design), model.predict_path(other), strict=True):
            one = to_log_probs(shown, predicts_tie_logit=False)
            two = to_log_probs(seen, predicts_tie_logit=False)
            np.testing.assert_allclose(np.exp(two)[:, SWAP], np.exp(one), atol=1e-9, err_msg=candidate.name)


def test_boosted_trees_with_a_lean_obey_the_law_and_are_made_again_from_their_state() -> None:
    members, y, first = arena(400)
    design = make_design(members, None, one_order=("one",), first=first)
    exchanged, other_first = turned(members, first)
    other = make_design(exchanged, None, one_order=("one",), first=other_first)
    trees = BoostingCandidate("trees", False, params=BoostingParams(rounds=(0, 5)), lean=True)
    model = trees.fit(design, y, 0)
    np.testing.assert_allclose(
        model.predict_path(other), model.predict_path(design) * np.array([-1, 1]), atol=1e-9
    )
    again = RESTORE[model.kind](json.loads(json.dumps(model.state().model_dump())), model.texts())
    np.testing.assert_array_equal(again.predict_path(design), model.predict_path(design))


def test_a_lean_is_found_saved_and_worth_what_it_takes_away() -> None:
    stacker = fitted(0.8, 1000)
    assert stacker.choice_.endswith(LEAN)
    members, y, first = arena(3000, seed=1)
    leaning = stacker.predict_log_proba(members, first=first)
    equivariant = fitted(0.0, 1000).predict_log_proba(members, first=first)
    assert log_loss(leaning, y) < log_loss(equivariant, y) - 0.01
    back = Stacker.restore(stacker.dump())
    np.testing.assert_array_equal(back.predict_log_proba(members, first=first), leaning)
    exchanged, other_first = turned(members, first)
    swapped = back.predict_proba(exchanged, first=other_first)
    np.testing.assert_allclose(swapped[:, SWAP], np.exp(leaning), atol=1e-9)
    # Left out, a was first in every row.
    np.testing.assert_array_equal(back.predict(members), back.predict(members, first=np.full(len(y), "a")))
    assert np.abs(back.predict_proba(members) - np.exp(leaning)).max() > 0.05


def test_without_a_lean_the_equivariant_form_keeps_nearly_all_weight() -> None:
    shares = [
        sum(one for name, one in fitted(0.0, 400, seed).selection_frequency_.items() if name.endswith(LEAN))
        for seed in range(4)
    ]
    assert np.mean(shares) < 0.25


def test_a_lean_that_does_not_pay_has_no_weight() -> None:
    rng = np.random.default_rng(0)
    plain = rng.normal(1.0, 0.3, size=(300, 1))
    same = plain - 0.001 + rng.normal(0, 0.1, size=(300, 1))
    better = plain - 0.1 + rng.normal(0, 0.1, size=(300, 1))
    for losses, expected in ((np.hstack([plain, same]), False), (np.hstack([plain, better]), True)):
        for averaging in (0.0, 1.0):
            weights = _selection_frequency(losses, np.arange(300), 1.0, averaging, np.full(2, 0.5), {1: 0})
            assert (weights[1] > 0.5) == expected


def test_members_that_are_not_marked_have_no_lean() -> None:
    members, _, _ = arena(50)
    design = make_design(members, None)
    assert design.first is None
    assert design.lean_terms[0].shape == (50, 0)
    assert not candidates_for(design).leaning
    assert not any(name.endswith(LEAN) for name in candidates_for(design).order)


def test_the_lean_of_few_rows_is_shrunk_to_zero() -> None:
    def lean_of(n: int) -> float:
        members, y, first = arena(n, lean=1.5)
        design = make_design(members, None, one_order=("one",), first=first)
        chosen = next(one for one in candidates_for(design).candidates if one.name == "logistic" + LEAN)
        even = {name: np.full((1, 3), 1 / 3) for name in members}
        level = make_design(even, None, one_order=("one",))
        return float(abs(chosen.fit(design, y, 0).predict_path(level)[-1, 0, 0]))

    assert lean_of(12) < lean_of(100) < lean_of(4000)


def test_what_cannot_be_is_refused() -> None:
    members, y, first = arena(40)
    with pytest.raises(InputError, match=r"one_order names 'three'; name members among one, two"):
        make_design(members, None, one_order=("three",))
    with pytest.raises(InputError, match=r"first of row 2 is 'c': write 'a' or 'b'"):
        make_design(members, None, one_order=("one",), first=["a", "c", *first[2:]])
    with pytest.raises(InputError, match=r"first has shape \(3,\), expected \(40,\)"):
        Stacker().fit(members, y, one_order=("one",), first=["a", "b", "a"])
    shown = np.log(members["one"])
    both = Predictions(pl.Series(range(40)), shown, np.zeros(40), shown)
    with pytest.raises(InputError, match=r"'one' predicted both orders; leave it out"):
        make_design({"one": both}, None, one_order=("one",))


def test_a_design_keeps_who_was_first_with_its_rows() -> None:
    members, _, first = arena(40)
    design = make_design(members, None, one_order=("one",), first=first)
    part: Design = design.take(np.array([5, 3]))
    assert part.first is not None
    assert part.first.tolist() == [1.0 if first[row] == "a" else -1.0 for row in (5, 3)]
    assert part.one_order == ("one",)
    np.testing.assert_array_equal(design.swapped().swapped().first, design.first)
