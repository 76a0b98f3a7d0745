from __future__ import annotations

import hashlib
import json
from functools import cache

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from arena_ensemble.errors import ArtifactError, InputError
from arena_ensemble.features import Features
from arena_ensemble.metrics import log_loss, paired_difference, row_losses
from arena_ensemble.predictions import Predictions, from_delta_tau
from arena_ensemble.stacking import Stacker, make_design
from arena_ensemble.stacking.base import best_index, to_log_probs
from arena_ensemble.stacking.boosting import BoostingCandidate, BoostingParams
from arena_ensemble.stacking.candidates import RESTORE, candidates_for, for_judges
from arena_ensemble.stacking.nested_cv import cross_fit_paths
from arena_ensemble.stacking.pooling import ShrunkPool
from arena_ensemble.stacking.row_folds import repeats_for
from arena_ensemble.stacking.selection import (
    Decision,
    _selection_frequency,
    averaging_share,
    decide,
    decision_log_probs,
    prior_weights,
)
from arena_ensemble.stacking.serialization import FittedStacker, to_files

SWAP = [1, 0, 2]


def arena(
    n: int, seed: int = 0, *, count: int = 3, features: bool = False
) -> tuple[dict[str, np.ndarray], np.ndarray, Features | None]:
    """Members that see the truth through noise, outcomes, and features that see what they do not."""
    rng = np.random.default_rng(seed)
    seen, unseen, ease = rng.normal(size=(3, n))
    truth = from_delta_tau(1.2 * seen + 0.8 * unseen, -0.3 * np.abs(seen) + 0.4 * ease)
    y = (rng.random(n)[:, None] > np.exp(truth).cumsum(axis=1)[:, :2]).sum(axis=1)
    members = {
        f"m{i}": np.exp(
            from_delta_tau(seen + rng.normal(size=n) * (0.3 + 0.5 * i), 0.2 * rng.normal(size=n) + 0.3 * ease)
        )
        for i in range(count)
    }
    odd = np.stack([unseen + 0.3 * rng.normal(size=n), rng.normal(size=n)], axis=1)
    even = np.stack([ease, np.abs(odd[:, 0]), rng.normal(size=n)], axis=1)
    names = ("chars.log", "x.diff"), ("chars.sum", "chars.gap", "x.mean")
    return members, y, Features(odd, even, *names) if features else None


def swapped(members: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: values[:, SWAP] for name, values in members.items()}


@cache
def fitted(features: bool = False) -> Stacker:
    members, y, extra = arena(600, features=features)
    return Stacker(random_state=0).fit(members, y, features=extra)


def test_the_ensemble_beats_every_member_and_says_so_honestly() -> None:
    stacker = fitted()
    rows = {row.name: row for row in stacker.table_}
    assert rows["ensemble"].log_loss < min(rows[f"m{i}"].log_loss for i in range(3))
    assert rows["ensemble"].log_loss == pytest.approx(log_loss(stacker.oof_log_proba_, arena(600)[1]))
    assert {"prior", "m0, temperature", "geometric pool", "rich logistic", "trees"} <= set(rows)
    assert sum(row.chosen for row in stacker.table_) == 1
    assert np.allclose(np.exp(stacker.oof_log_proba_).sum(axis=1), 1)
    new, y, _ = arena(3000, seed=9)
    assert log_loss(stacker.predict_log_proba(new), y) < log_loss(np.log(new["m0"]), y)
    assert (stacker.predict(new) == stacker.predict_proba(new).argmax(axis=1)).all()
    assert stacker.temperature_ > 0
    assert stacker.weights_


@pytest.mark.slow
def test_features_add_what_members_miss() -> None:
    stacker = fitted(features=True)
    members, y, extra = arena(2000, seed=5, features=True)
    with_text = row_losses(stacker.predict_log_proba(members, extra), y)
    without = row_losses(fitted().predict_log_proba(members), y)
    gain = paired_difference(without, with_text)
    assert gain.mean > 3 * gain.se
    names = [row.name for row in stacker.table_]
    assert {"length only", "features only", "logistic with features", "mix with features"} <= set(names)


@pytest.mark.slow
def test_every_candidate_is_equivariant() -> None:
    members, y, extra = arena(600, features=True)
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
    members, y, _ = arena(120, seed)
    design, other = make_design(members, None), make_design(swapped(members), None)
    candidates = candidates_for(design)
    for candidate in candidates.candidates:
        model = candidate.fit(design, y, seed)
        for shown, seen in zip(model.predict_path(design), model.predict_path(other), strict=True):
            one = to_log_probs(shown, predicts_tie_logit=candidate.predicts_tie_logit)
            two = to_log_probs(seen, predicts_tie_logit=candidate.predicts_tie_logit)
            assert np.abs(np.exp(one)[:, SWAP] - np.exp(two)).max() < 1e-10, candidate.name


def test_the_order_of_members_does_not_matter_and_repeats_are_equal() -> None:
    members, y, _ = arena(310)
    one = Stacker().fit(members, y)
    two = Stacker(threads=1).fit(dict(reversed(members.items())), y)
    assert np.array_equal(one.oof_log_proba_, two.oof_log_proba_)
    assert one.dump() == two.dump()


def test_a_member_of_noise_costs_next_to_nothing() -> None:
    members, y, _ = arena(290, count=2)
    noise = np.random.default_rng(4).dirichlet([5, 5, 5], size=290)
    plain = Stacker(honest=True).fit(members, y).oof_log_proba_
    noisy = Stacker(honest=True).fit({**members, "noise": noise}, y).oof_log_proba_
    regret = paired_difference(row_losses(noisy, y), row_losses(plain, y))
    assert regret.mean <= 3 * regret.se


@pytest.mark.slow
def test_shuffled_outcomes_leave_nothing_to_find() -> None:
    members, y, extra = arena(320, features=True)
    shuffled = np.random.default_rng(3).permutation(y)
    stacker = Stacker().fit(members, shuffled, features=extra)
    rows = {row.name: row for row in stacker.table_}
    for row in stacker.table_:
        assert row.log_loss > rows["prior"].log_loss - 3 * row.se


def test_given_folds_and_groups_are_kept() -> None:
    members, y, _ = arena(240)
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
    members, y, _ = arena(120)
    named = dict(zip(("prior", "ensemble", "logistic"), members.values(), strict=True))
    rows = Stacker().fit(named, y).table_
    assert len({row.name for row in rows}) == len(rows)
    assert sum(row.chosen for row in rows) == 1
    assert not any(row.chosen for row in rows if row.kind == "member")
    assert next(row for row in rows if row.name == "ensemble").kind == "choice"
    assert next(row for row in rows if row.name == "prior (member)").kind == "member"


def test_where_every_vote_but_few_is_a_tie_the_trees_still_fit() -> None:
    members, y, _ = arena(400)
    y = np.where(np.arange(400) < 4, y % 2, 2)
    stacker = Stacker(honest=False).fit(members, y, groups=np.maximum(np.arange(400) - 3, 0))
    assert np.isfinite(stacker.predict_log_proba(members)).all()


def test_features_alone_are_an_ensemble_too() -> None:
    _, y, extra = arena(200, features=True)
    stacker = Stacker().fit({}, y, features=extra)
    assert log_loss(stacker.oof_log_proba_, y) < np.log(3)
    assert stacker.predict_proba({}, extra).shape == (200, 3)


@pytest.mark.parametrize(("n", "count"), [(100, 1), (150, 50)])
def test_few_rows_and_many_members(n: int, count: int) -> None:
    members, y, _ = arena(n, count=count)
    stacker = Stacker().fit(members, y)
    rows = {row.name: row for row in stacker.table_}
    assert rows["ensemble"].log_loss < rows["prior"].log_loss
    assert np.isfinite(stacker.predict_log_proba(members)).all()


def test_hard_zeros_stay_finite() -> None:
    members, y, _ = arena(200)
    members["m0"] = np.eye(3)[members["m0"].argmax(axis=1)]
    stacker = Stacker().fit(members, y)
    assert np.isfinite(stacker.oof_log_proba_).all()


@pytest.mark.parametrize("features", [False, True])
def test_a_stacker_survives_its_files(features: bool) -> None:
    stacker = fitted(features=features)
    members, _, extra = arena(300, seed=2, features=features)
    back = Stacker.restore(stacker.dump())
    assert np.array_equal(back.predict_log_proba(members, extra), stacker.predict_log_proba(members, extra))
    assert back.dump() == stacker.dump()
    assert back.weights_ == stacker.weights_


def test_edited_files_are_refused() -> None:
    members, y, _ = arena(200)
    trees = BoostingCandidate("trees", features=False, params=BoostingParams(rounds=(0, 5)))
    design = make_design(members, None)
    made = Decision({"trees": (1, 1)}, {"trees": 1.0}, {}, {"trees": 1.0}, {})
    model = trees.fit(design, y, 0)
    files = to_files(FittedStacker({"trees": model}, {"trees": True}, made, design.members, (), ()))
    assert Stacker.restore(files).predict_proba(members).shape == (200, 3)
    text = next(name for name in files if name.endswith(".txt"))
    for broken, told in (
        ({**files, text: files[text][:-40]}, "SHA-256"),
        ({name: content for name, content in files.items() if name != text}, "lacks"),
        ({**files, "stacker.json": files["stacker.json"][:50]}, "no whole JSON"),
        ({**files, "stacker.json": b"{}"}, "another format"),
        ({**files, "stacker.json": b'{"format": 2}'}, "another format"),
        ({}, "lacks stacker.json"),
    ):
        with pytest.raises(ArtifactError, match=rf"{told}.*run `arena-ensemble stack` again"):
            Stacker.restore(broken)
    content = json.loads(files["stacker.json"])
    told_trees = content["models"]["trees"]
    for edit in (
        {"models": {}},
        {"names": {}},
        {"models": {"trees": {**told_trees, "path_index": [-1, -1]}}},
        {"models": {"trees": {**told_trees, "beta": 0.0}}},
        {"models": {"trees": {**told_trees, "predicts_tie_logit": "false"}}},
        {"blend_weights": {"trees": {}}},
        {"selection_frequency": {"trees": 0.5}},
        {"selection_frequency": {"mix": 1.0}},
        {"blend_weights": {"trees": 1}},
    ):
        with pytest.raises(ArtifactError, match=r"not as written.*run `arena-ensemble stack` again"):
            Stacker.restore({**files, "stacker.json": json.dumps({**content, **edit}).encode()})
    for one in told_trees["texts"]:
        one["sha256"] = hashlib.sha256(b"abc").hexdigest()
    no_trees = {**dict.fromkeys(files, b"abc"), "stacker.json": json.dumps(content).encode()}
    with pytest.raises(ArtifactError, match=r"not as written.*run `arena-ensemble stack` again"):
        Stacker.restore(no_trees)


def test_every_candidate_is_made_again_from_its_state() -> None:
    members, y, extra = arena(320, features=True)
    design = make_design(members, extra)
    for candidate in candidates_for(design).candidates:
        model = candidate.fit(design, y, 0)
        values = json.loads(json.dumps(model.state().model_dump()))
        again = RESTORE[model.kind](values, model.texts())
        assert np.array_equal(again.predict_path(design), model.predict_path(design)), candidate.name
        assert again.state() == model.state()


def test_the_choice_is_bagged_and_repeated_where_rows_are_few() -> None:
    members, y, _ = arena(200)
    stacker = Stacker(honest=False).fit(members, y)
    assert sum(stacker.selection_frequency_.values()) == pytest.approx(1)
    assert (
        max(stacker.selection_frequency_, key=lambda name: stacker.selection_frequency_[name])
        == stacker.choice_
    )
    assert set(stacker.fitted_.models) == set(stacker.fitted_.decision.parts())
    assert [repeats_for(rows) for rows in (100, 1000, 2000, 2001, 57_477)] == [4, 4, 2, 1, 1]
    # A member that leaves no doubt leaves the prior no share; noise costs little more than the prior.
    sure = {"truth": np.where(np.eye(3)[y] == 1, 0.98, 0.01)}
    assert "prior" not in Stacker(honest=False).fit(sure, y).selection_frequency_
    noise = {"noise": np.random.default_rng(1).dirichlet([2, 2, 2], size=200)}
    idle = Stacker(honest=False).fit(noise, y)
    assert idle.selection_frequency_["prior"] > 0.1
    other = {"noise": np.random.default_rng(2).dirichlet([2, 2, 2], size=2000)}
    known = log_loss(np.log(np.bincount(y, minlength=3) / 200) * np.ones((2000, 1)), arena(2000, 7)[1])
    assert log_loss(idle.predict_log_proba(other), arena(2000, 7)[1]) < known + 0.01


def test_bad_input_is_named() -> None:
    members, y, extra = arena(120, features=True)
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
    members, y, _ = arena(150)
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


def test_nested_paths_never_see_the_rows_that_they_predict() -> None:
    """A candidate that remembers its training rows meets none of them."""
    members, y, _ = arena(60)
    members["row"] = np.exp(from_delta_tau(np.arange(60.0) / 10, np.zeros(60)))

    class Memory:
        name, predicts_tie_logit, tempered = "memory", False, False

        def fit(self, design: object, y: object, seed: int) -> object:
            known = set(design.delta[:, -1].tolist())  # type: ignore[attr-defined]

            class Model:
                def predict_path(self, new: object) -> np.ndarray:
                    seen = [value in known for value in new.delta[:, -1].tolist()]  # type: ignore[attr-defined]
                    return np.full((1, len(seen), 2), float(any(seen)))

            return Model()

    folds = np.arange(60) % 5
    found = cross_fit_paths(
        [Memory()],
        make_design(members, None),
        y,
        folds,
        seed=0,
        pairs=True,  # type: ignore[list-item]
    )["memory"]
    assert all(not part.any() for part in (*found.outside.values(), *found.pair.values()))
    assert len(found.pair) == 20


def test_a_tie_logit_has_a_path_index_of_its_own() -> None:
    y = np.array([0, 1, 2, 2, 0])
    good = np.array([[3.0, -3], [-3, -3], [0, 3], [0, 3], [3, -3]])
    paths = np.stack([np.stack([good[:, 0], -good[:, 1]], 1), np.stack([-good[:, 0], good[:, 1]], 1)])
    assert best_index(paths, y, predicts_tie_logit=True) == (0, 1)


def test_it_is_a_scikit_learn_estimator() -> None:
    stacker = clone(Stacker(random_state=7, tolerance=0.5))
    assert stacker.get_params()["random_state"] == 7
    assert stacker.get_params()["tolerance"] == 0.5


def test_few_labels_average_and_many_choose() -> None:
    assert [averaging_share(rows) for rows in (100, 1000, 1500, 2000, 57_477)] == [1.0, 1.0, 0.5, 0.0, 0.0]
    few, many = (candidates_for(make_design(arena(n)[0], None)).order for n in (290, 2001))
    shrunk = {f"shrunk pool, {rows} rows" for rows in (1000, 100, 30, 10)}
    assert set(few) - set(many) == {*shrunk, "logistic by evidence"}


def test_averaged_weights_fall_with_the_distance_to_the_best_and_equals_share() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(1.0, 0.3, size=(400, 1))
    losses = np.hstack(
        [base, base, base + rng.normal(0.01, 0.1, (400, 1)), base + rng.normal(0.1, 0.1, (400, 1))]
    )
    weights = _selection_frequency(losses, np.arange(400), 1.0, 1.0, np.full(4, 0.25))
    assert weights.sum() == pytest.approx(1)
    assert weights[0] == weights[1] > weights[2] > 0
    assert weights[3] < 1e-6
    favoured = _selection_frequency(losses, np.arange(400), 1.0, 1.0, np.array([0.4, 0.2, 0.2, 0.2]))
    assert favoured[0] == pytest.approx(2 * favoured[1])


def test_a_candidate_that_fits_nothing_weighs_a_fifth_before_evidence_and_less_with_more_rows() -> None:
    order = ("prior", "best member", "logistic", "mix")
    for rows, share in ((100, 0.2), (300, 0.2), (600, 0.1), (1000, 0.06)):
        prior = prior_weights(order, {"best member"}, rows=rows)
        assert prior.sum() == pytest.approx(1)
        assert prior[1] == pytest.approx(share)
        assert prior[0] == prior[2] == prior[3]
    assert set(prior_weights(order, (), rows=100)) == {0.25}
    assert candidates_for(make_design(arena(200)[0], None)).unfitted == {"best member"}


def test_a_panel_trusts_the_shrinkage_by_evidence_most_and_no_judge_as_it_is() -> None:
    candidates = for_judges(candidates_for(make_design(arena(200)[0], None)))
    for rows, share in ((100, 2 / 3), (200, 0.6), (600, 0.2), (1000, 0.12)):
        prior = prior_weights(candidates.order, candidates.unfitted, candidates.favoured, rows=rows)
        weights = dict(zip(candidates.order, prior, strict=True))
        assert weights.pop("logistic by evidence") == pytest.approx(share)
        assert len(set(weights.values())) == 1
        assert prior.sum() == pytest.approx(1)
    both = prior_weights(("prior", "best member", "logistic"), {"best member"}, {"logistic"}, rows=100)
    assert both == pytest.approx([1 - 0.2 - 2 / 3, 0.2, 2 / 3])


@settings(max_examples=8)
@given(st.integers(0, 1000))
def test_a_shrunk_pool_goes_from_its_own_weights_to_equal_ones(seed: int) -> None:
    members, y, _ = arena(150, seed)
    design = make_design(members, None)
    free, held = (ShrunkPool(rows).fit(design, y, 0).weights for rows in (1e-6, 1e9))
    assert (free >= 0).all()
    assert np.ptp(held) < 1e-5
    between = [np.ptp(ShrunkPool(rows).fit(design, y, 0).weights) for rows in (1e-6, 10.0, 100.0, 1e9)]
    assert between == sorted(between, reverse=True)
