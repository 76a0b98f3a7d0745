"""The choice among candidates: bagged, averaged where labels are few, by how good each is out of fold."""

from __future__ import annotations

import numpy as np
import pytest
from noisy_members import noisy_members

from arena_ensemble.metrics import log_loss
from arena_ensemble.stacking import Stacker, make_design
from arena_ensemble.stacking.base import best_index
from arena_ensemble.stacking.candidates import candidates_for, for_judges
from arena_ensemble.stacking.row_folds import repeats_for
from arena_ensemble.stacking.selection import (
    _selection_frequency,
    averaging_share,
    prior_weights,
)


def test_the_choice_is_bagged_and_repeated_where_rows_are_few() -> None:
    members, y, _ = noisy_members(200)
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
    known = log_loss(
        np.log(np.bincount(y, minlength=3) / 200) * np.ones((2000, 1)), noisy_members(2000, 7)[1]
    )
    assert log_loss(idle.predict_log_proba(other), noisy_members(2000, 7)[1]) < known + 0.01


def test_few_labels_average_and_many_choose() -> None:
    assert [averaging_share(rows) for rows in (100, 1000, 1500, 2000, 57_477)] == [1.0, 1.0, 0.5, 0.0, 0.0]
    few, many = (candidates_for(make_design(noisy_members(n)[0], None)).order for n in (290, 2001))
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
    assert candidates_for(make_design(noisy_members(200)[0], None)).unfitted == {"best member"}


def test_a_panel_trusts_the_shrinkage_by_evidence_most_and_no_judge_as_it_is() -> None:
    candidates = for_judges(candidates_for(make_design(noisy_members(200)[0], None)))
    for rows, share in ((100, 2 / 3), (200, 0.6), (600, 0.2), (1000, 0.12)):
        prior = prior_weights(candidates.order, candidates.unfitted, candidates.favoured, rows=rows)
        weights = dict(zip(candidates.order, prior, strict=True))
        assert weights.pop("logistic by evidence") == pytest.approx(share)
        assert len(set(weights.values())) == 1
        assert prior.sum() == pytest.approx(1)
    both = prior_weights(("prior", "best member", "logistic"), {"best member"}, {"logistic"}, rows=100)
    assert both == pytest.approx([1 - 0.2 - 2 / 3, 0.2, 2 / 3])


def test_a_tie_logit_has_a_path_index_of_its_own() -> None:
    y = np.array([0, 1, 2, 2, 0])
    good = np.array([[3.0, -3], [-3, -3], [0, 3], [0, 3], [3, -3]])
    paths = np.stack([np.stack([good[:, 0], -good[:, 1]], 1), np.stack([-good[:, 0], good[:, 1]], 1)])
    assert best_index(paths, y, predicts_tie_logit=True) == (0, 1)
