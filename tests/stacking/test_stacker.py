from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from noisy_members import fitted, noisy_members
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from arena_ensemble.errors import InputError
from arena_ensemble.features import Features
from arena_ensemble.metrics import log_loss, paired_difference, row_losses
from arena_ensemble.predictions import Predictions
from arena_ensemble.stacking import Stacker, make_design
from arena_ensemble.stacking.base import to_log_probs
from arena_ensemble.stacking.candidates import candidates_for
from arena_ensemble.stacking.pooling import ShrunkPool
from arena_ensemble.stacking.selection import (
    decide,
    decision_log_probs,
)

SWAP = [1, 0, 2]


def swapped(members: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: values[:, SWAP] for name, values in members.items()}


def test_the_ensemble_beats_every_member_and_says_so_honestly() -> None:
    stacker = fitted()
    rows = {row.name: row for row in stacker.table_}
    assert rows["ensemble"].log_loss < min(rows[f"m{i}"].log_loss for i in range(3))
    assert rows["ensemble"].log_loss == pytest.approx(log_loss(stacker.oof_log_proba_, noisy_members(600)[1]))
    assert {"prior", "m0, temperature", "geometric pool", "rich logistic", "trees"} <= set(rows)
    assert sum(row.chosen for row in stacker.table_) == 1
    assert np.allclose(np.exp(stacker.oof_log_proba_).sum(axis=1), 1)
    new, y, _ = noisy_members(3000, seed=9)
    assert log_loss(stacker.predict_log_proba(new), y) < log_loss(np.log(new["m0"]), y)
    assert (stacker.predict(new) == stacker.predict_proba(new).argmax(axis=1)).all()
    assert stacker.temperature_ > 0
    assert stacker.weights_


@pytest.mark.slow
def test_features_add_what_members_miss() -> None:
    stacker = fitted(features=True)
    members, y, extra = noisy_members(2000, seed=5, features=True)
    with_text = row_losses(stacker.predict_log_proba(members, extra), y)
    without = row_losses(fitted().predict_log_proba(members), y)
    gain = paired_difference(without, with_text)
    assert gain.mean > 3 * gain.se
    names = [row.name for row in stacker.table_]
    assert {"length only", "features only", "logistic with features", "mix with features"} <= set(names)


@pytest.mark.slow
def test_every_candidate_is_equivariant() -> None:
    members, y, extra = noisy_members(600, features=True)
    design = make_design(members, extra)
    other = make_design(swapped(members), extra.swapped() if extra else None)
    candidates = candidates_for(design)
    paths, mirrored = {}, {}
    for candidate in candidates.candidates:
        model = candidate.fit(design, y, 0)
        paths[candidate.name], mirrored[candidate.name] = (
            model.predict_path(design),
            model.predict_path(other),
        )
    made = decide(candidates, paths, y, np.arange(600), tolerance=1.0)
    for name in [*paths, *(blend.name for blend in candidates.blends), None]:
        shown = decision_log_probs(made, paths, candidates.predicts_tie_logit, name)
        seen = decision_log_probs(made, mirrored, candidates.predicts_tie_logit, name)
        assert np.abs(np.exp(shown)[:, SWAP] - np.exp(seen)).max() < 1e-10, name


@settings(max_examples=8)
@given(st.integers(0, 1000))
def test_simple_candidates_are_equivariant_on_any_data(seed: int) -> None:
    members, y, _ = noisy_members(120, seed)
    design, other = make_design(members, None), make_design(swapped(members), None)
    candidates = candidates_for(design)
    for candidate in candidates.candidates:
        model = candidate.fit(design, y, seed)
        for shown, seen in zip(model.predict_path(design), model.predict_path(other), strict=True):
            one = to_log_probs(shown, predicts_tie_logit=candidate.predicts_tie_logit)
            two = to_log_probs(seen, predicts_tie_logit=candidate.predicts_tie_logit)
            assert np.abs(np.exp(one)[:, SWAP] - np.exp(two)).max() < 1e-10, candidate.name


def test_the_order_of_members_does_not_matter_and_repeats_are_equal() -> None:
    members, y, _ = noisy_members(310)
    one = Stacker().fit(members, y)
    two = Stacker(threads=1).fit(dict(reversed(members.items())), y)
    assert np.array_equal(one.oof_log_proba_, two.oof_log_proba_)
    assert one.dump() == two.dump()


def test_a_member_of_noise_costs_next_to_nothing() -> None:
    members, y, _ = noisy_members(290, count=2)
    noise = np.random.default_rng(4).dirichlet([5, 5, 5], size=290)
    plain = Stacker(honest=True).fit(members, y).oof_log_proba_
    noisy = Stacker(honest=True).fit({**members, "noise": noise}, y).oof_log_proba_
    regret = paired_difference(row_losses(noisy, y), row_losses(plain, y))
    assert regret.mean <= 3 * regret.se


@pytest.mark.slow
def test_shuffled_outcomes_leave_nothing_to_find() -> None:
    members, y, extra = noisy_members(320, features=True)
    shuffled = np.random.default_rng(3).permutation(y)
    stacker = Stacker().fit(members, shuffled, features=extra)
    rows = {row.name: row for row in stacker.table_}
    for row in stacker.table_:
        assert row.log_loss > rows["prior"].log_loss - 3 * row.se


def test_given_folds_and_groups_are_kept() -> None:
    members, y, _ = noisy_members(240)
    groups = np.arange(240) // 3
    folds = groups % 5
    stacker = Stacker().fit(members, y, groups=groups, folds=folds)
    assert set(stacker.fold_choices_) == set(range(5))
    with pytest.raises(InputError, match="lies in two folds"):
        Stacker().fit(members, y, groups=groups, folds=np.arange(240) % 5)
    with pytest.raises(InputError, match="groups"):
        Stacker().fit(members, y, groups=np.arange(240) % 4)
    with pytest.raises(InputError, match="at least three"):
        Stacker().fit(members, y, folds=np.arange(240) % 2)
    with pytest.raises(InputError, match="at least three"):
        Stacker(n_folds=2).fit(members, y)
    with pytest.raises(InputError, match="threads=0"):
        Stacker(threads=0).fit(members, y)


def test_a_member_may_be_named_like_a_row_of_the_table() -> None:
    members, y, _ = noisy_members(120)
    named = dict(zip(("prior", "ensemble", "logistic"), members.values(), strict=True))
    rows = Stacker().fit(named, y).table_
    assert len({row.name for row in rows}) == len(rows)
    assert sum(row.chosen for row in rows) == 1
    assert not any(row.chosen for row in rows if row.kind == "member")
    assert next(row for row in rows if row.name == "ensemble").kind == "choice"
    assert next(row for row in rows if row.name == "prior (member)").kind == "member"


def test_where_every_vote_but_few_is_a_tie_the_trees_still_fit() -> None:
    members, y, _ = noisy_members(400)
    y = np.where(np.arange(400) < 4, y % 2, 2)
    stacker = Stacker(honest=False).fit(members, y, groups=np.maximum(np.arange(400) - 3, 0))
    assert np.isfinite(stacker.predict_log_proba(members)).all()


def test_features_alone_are_an_ensemble_too() -> None:
    _, y, extra = noisy_members(200, features=True)
    stacker = Stacker().fit({}, y, features=extra)
    assert log_loss(stacker.oof_log_proba_, y) < np.log(3)
    assert stacker.predict_proba({}, extra).shape == (200, 3)


@pytest.mark.parametrize(("n", "count"), [(100, 1), (150, 50)])
def test_few_rows_and_many_members(n: int, count: int) -> None:
    members, y, _ = noisy_members(n, count=count)
    stacker = Stacker().fit(members, y)
    rows = {row.name: row for row in stacker.table_}
    assert rows["ensemble"].log_loss < rows["prior"].log_loss
    assert np.isfinite(stacker.predict_log_proba(members)).all()


def test_hard_zeros_stay_finite() -> None:
    members, y, _ = noisy_members(200)
    members["m0"] = np.eye(3)[members["m0"].argmax(axis=1)]
    stacker = Stacker().fit(members, y)
    assert np.isfinite(stacker.oof_log_proba_).all()


def test_bad_input_is_named() -> None:
    members, y, extra = noisy_members(120, features=True)
    spoilt = members["m0"].copy()
    spoilt[7] = [0.9, 0.9, 0.9]
    cases: list[tuple[dict[str, object], object, str]] = [
        ({"m0": spoilt}, y, "'m0' row 8"),
        ({"m0": np.where(spoilt > 0.8, np.nan, spoilt)}, y, "'m0' row"),
        ({"m0": members["m0"][:, :2]}, y, r"expected \(n, 3\)"),
        ({"m0": members["m0"][:50]}, y, "rows differ"),
        ({}, y, "nothing to stack"),
        (members, np.zeros(120, dtype=int), "same outcome"),
    ]
    for given_members, labels, told in cases:
        with pytest.raises(InputError, match=told):
            Stacker().fit(given_members, labels)  # type: ignore[arg-type]
    bad = Features(np.full((120, 1), np.nan), np.zeros((120, 1)), ("x",), ("y",))
    with pytest.raises(InputError, match="not finite"):
        Stacker().fit(members, y, features=bad)
    stacker = fitted()
    with pytest.raises(InputError, match="fitted on members"):
        stacker.predict_proba({"other": members["m0"]})
    with pytest.raises(InputError, match="features differ"):
        stacker.predict_proba(members, extra)
    with pytest.raises(NotFittedError):
        Stacker().predict_proba(members)


def test_predictions_are_read_in_both_orders_and_joined_rows_are_checked() -> None:
    members, y, _ = noisy_members(150)
    ids = pl.Series("id", np.arange(150))
    shown = np.log(members["m0"])
    both = Predictions(ids, shown, np.zeros(150), swap_log_probs=np.log(members["m1"]))
    design = make_design({"both": both}, None)
    mean = (np.log(members["m0"][:, 0] / members["m0"][:, 1])) / 2
    mean += (np.log(members["m1"][:, 0] / members["m1"][:, 1])) / 2
    assert np.allclose(design.delta[:, 0], mean)
    other = Predictions(ids.reverse(), shown, np.zeros(150))
    with pytest.raises(InputError, match="other ids"):
        Stacker().fit({"a": both, "b": other}, y)


def test_it_is_a_scikit_learn_estimator() -> None:
    stacker = clone(Stacker(random_state=7, tolerance=0.5))
    assert stacker.get_params()["random_state"] == 7
    assert stacker.get_params()["tolerance"] == 0.5


@settings(max_examples=8)
@given(st.integers(0, 1000))
def test_a_shrunk_pool_goes_from_its_own_weights_to_equal_ones(seed: int) -> None:
    members, y, _ = noisy_members(150, seed)
    design = make_design(members, None)
    free, held = (ShrunkPool(rows).fit(design, y, 0).weights for rows in (1e-6, 1e9))
    assert (free >= 0).all()
    assert np.ptp(held) < 1e-5
    between = [np.ptp(ShrunkPool(rows).fit(design, y, 0).weights) for rows in (1e-6, 10.0, 100.0, 1e9)]
    assert between == sorted(between, reverse=True)
