"""Where rows are plentiful the choice is made on a sample: finals on all rows, scores honest, little lost."""

from __future__ import annotations

import numpy as np
import pytest

from arena_ensemble.errors import InputError
from arena_ensemble.features import Features
from arena_ensemble.metrics import log_loss
from arena_ensemble.predictions import from_delta_tau
from arena_ensemble.stacking import Stacker, sampling
from arena_ensemble.stacking.candidates import candidates_for
from arena_ensemble.stacking.design import make_design

ROWS, SAMPLE = 3_000, 900
Arrays = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def votes() -> Arrays:
    rng = np.random.default_rng(3)
    quality = rng.normal(size=ROWS) * 1.5
    truth = np.exp(from_delta_tau(quality, -0.3 * np.abs(quality)))
    y = (rng.random(ROWS)[:, None] > truth.cumsum(axis=1)[:, :2]).sum(axis=1)
    members = {}
    for name, noise in (("near", 0.5), ("far", 1.5)):
        seen = quality + rng.normal(size=ROWS) * noise
        members[name] = np.exp(from_delta_tau(0.7 * seen, np.zeros(ROWS)))
    return members, y, rng.integers(0, ROWS // 2, ROWS)


@pytest.fixture(scope="module")
def both(votes: Arrays) -> tuple[Stacker, Stacker]:
    """Fitted in the usual way, and with a choice made on a sample."""
    members, y, groups = votes
    usual = Stacker(random_state=0, n_folds=3).fit(members, y, groups=groups)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "PLENTY_ROWS", SAMPLE)
        return usual, Stacker(random_state=0, n_folds=3).fit(members, y, groups=groups)


def test_a_sample_is_whole_groups_of_every_fold_and_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "PLENTY_ROWS", 500)
    rng = np.random.default_rng(0)
    groups = np.unique(rng.integers(0, 600, 2_000), return_inverse=True)[1]
    folds = groups % 4
    rows = sampling.sampled_rows(groups, folds, seed=1)
    assert rows is not None
    assert 500 <= len(rows) < 500 + np.bincount(groups).max()
    assert np.isin(groups, groups[rows]).sum() == len(rows)
    assert set(folds[rows]) == {0, 1, 2, 3}
    np.testing.assert_array_equal(rows, sampling.sampled_rows(groups, folds, seed=1))
    assert sampling.sampled_rows(groups[:500], folds[:500], seed=1) is None
    rare = np.where(groups == groups[~np.isin(np.arange(2_000), rows)][0], 4, folds)
    assert sampling.sampled_rows(groups, rare, seed=1) is None  # a fold that no sampled row is in


def test_finals_are_fitted_on_all_rows(votes: Arrays, both: tuple[Stacker, Stacker]) -> None:
    members, y, _ = votes
    stacker = both[1]
    design = make_design(members, None)
    for name, model in stacker.fitted_.models.items():
        again = candidates_for(design).candidate(name).fit(design, y, 0)
        np.testing.assert_array_equal(model.predict_path(design), again.predict_path(design))


def test_past_a_million_rows_finals_are_fitted_on_whole_groups_and_others_predicted_in_parts(
    votes: Arrays, both: tuple[Stacker, Stacker], monkeypatch: pytest.MonkeyPatch
) -> None:
    members, y, groups = votes
    codes = np.unique(groups, return_inverse=True)[1]
    monkeypatch.setattr(sampling, "PLENTY_ROWS", SAMPLE)
    monkeypatch.setattr(sampling, "FITTED_ROWS", 2_000)
    monkeypatch.setattr(sampling, "_PART_ROWS", 77)
    design = make_design(members, None)
    rows = sampling.fitted_rows(design, codes, seed=0)
    assert rows is not None
    assert 2_000 <= len(rows) < 2_000 + np.bincount(codes).max()
    assert np.isin(codes, codes[rows]).sum() == len(rows)
    stacker = Stacker(random_state=0, n_folds=3).fit(members, y, groups=groups)
    for name, model in stacker.fitted_.models.items():
        again = candidates_for(design).candidate(name).fit(design.take(rows), y[rows], 0)
        np.testing.assert_array_equal(model.predict_path(design), again.predict_path(design))
    # the choice and the scores are those of the sample, whatever finals are fitted on and rows predicted with
    np.testing.assert_allclose(stacker.oof_log_proba_, both[1].oof_log_proba_, atol=1e-12)
    for name, table in stacker.candidate_oof_.items():
        assert table.dtype == np.float32
        np.testing.assert_allclose(np.exp(table).sum(axis=1), 1, atol=1e-5, err_msg=name)
    monkeypatch.setattr(sampling, "FITTED_NUMBERS", 4 * 1_500)  # two members, two numbers each
    few = sampling.fitted_rows(design, codes, seed=0)
    assert few is not None
    assert 1_500 <= len(few) < 1_600
    assert set(few) <= set(rows)


def test_features_of_32_bits_are_fitted_on_in_64(votes: Arrays) -> None:
    members = votes[0]
    rng = np.random.default_rng(0)
    odd, even = rng.normal(size=(ROWS, 2)), rng.normal(size=(ROWS, 3))
    exact = Features(odd, even, ("a.log", "b.log"), ("a.sum", "b.sum", "c"))
    stored = np.hstack([odd, even]).astype(np.float32)
    short = Features(stored[:, :2], stored[:, 2:], exact.odd_names, exact.even_names)
    part = make_design(members, short).take(np.arange(5))
    assert part.odd.dtype == part.even.dtype == np.float64
    stored[-1, 3] = np.nan
    with pytest.raises(InputError, match="not finite"):
        make_design(members, short)


def test_all_rows_are_scored_and_little_is_lost(votes: Arrays, both: tuple[Stacker, Stacker]) -> None:
    members, y, _ = votes
    usual, sampled = both
    assert sampled.oof_log_proba_.shape == (ROWS, 3)
    assert np.isfinite(sampled.oof_log_proba_).all()
    for name, found in sampled.candidate_oof_.items():
        assert np.isfinite(found).all(), name
    losses = [log_loss(one.oof_log_proba_, y) for one in both]
    assert abs(losses[0] - losses[1]) < 0.004
    apart = np.abs(usual.predict_log_proba(members) - sampled.predict_log_proba(members))
    assert apart.mean() < 0.03
    assert losses[1] < log_loss(np.log(members["near"]), y) - 0.005


def test_a_row_outside_the_sample_has_no_part_in_its_own_score(votes: Arrays) -> None:
    members, y, groups = votes
    folds = groups % 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "PLENTY_ROWS", SAMPLE)
        rows = sampling.sampled_rows(np.unique(groups, return_inverse=True)[1], folds, seed=0)
        assert rows is not None
        rest = np.setdiff1d(np.arange(ROWS), rows)
        other = y.copy()
        other[rest] = (other[rest] + 1) % 3
        found = [Stacker(n_folds=3).fit(members, one, groups=groups, folds=folds) for one in (y, other)]
    np.testing.assert_array_equal(found[0].oof_log_proba_, found[1].oof_log_proba_)
