"""Encoders: swap law, noise is the prior, missing has its own level, lean is learned where order is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.judgements import First, LogProbs, Scores, Verdicts
from arena_ensemble.panels.encoding import RESTORE, fit_encoder
from arena_ensemble.panels.soft_labels import as_votes
from arena_ensemble.predictions import from_delta_tau, normalised
from tests.helpers.judgement_cases import random_judgements


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.3, 1.0]), st.booleans())
def test_the_swap_law_holds_and_states_restore(seed: int, missing: float, ties: bool) -> None:
    table = random_judgements(30, seed=seed, missing=missing)
    y = np.random.default_rng(seed).integers(0, 3 if ties else 2, 30)
    for column in table.columns.values():
        encoder = fit_encoder(column, y)
        delta, tau = encoder.encode(column)
        other_delta, other_tau = encoder.encode(column.swapped())
        assert np.isfinite(delta).all()
        assert np.isfinite(tau).all()
        np.testing.assert_allclose(other_delta, -delta, atol=1e-9)
        np.testing.assert_allclose(other_tau, tau, atol=1e-9)
        back = RESTORE[encoder.kind](encoder.state().model_dump())
        np.testing.assert_array_equal(back.encode(column)[0], delta)


def test_a_judge_that_leans_is_corrected_where_its_order_is_known() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 4000)
    first = rng.integers(0, 2, 4000)
    # It names what it saw first, and only rightly the second: a verdict for the second is worth more.
    codes = np.where((y != first) & (rng.random(4000) < 0.6), 1 - first, first)
    encoder = fit_encoder(Verdicts.from_codes(codes, first), y)
    delta, _ = encoder.encode(Verdicts.from_codes([0, 0, 1], [First.A, First.B, First.A]))
    assert delta[1] > 3 * delta[0] > 0  # A, though B was seen first
    np.testing.assert_allclose(delta[2], -delta[1])
    rows = np.flatnonzero(y == codes)
    truth = np.mean(y[first == codes] == codes[first == codes])
    np.testing.assert_allclose(delta[0], np.log(truth / (1 - truth)), atol=0.05)
    assert len(rows) > 2000


def test_noise_becomes_the_prior_and_missing_has_its_own_level() -> None:
    rng = np.random.default_rng(1)
    y = rng.choice(3, 3000, p=[0.3, 0.3, 0.4])
    codes = np.where(y == 2, np.where(rng.random(3000) < 0.5, -1, 0), rng.integers(0, 2, 3000))
    noise = Verdicts.from_codes(rng.integers(0, 3, 3000))
    probs = np.exp(from_delta_tau(*fit_encoder(noise, y).encode(noise)))
    np.testing.assert_allclose(probs, np.tile([0.3, 0.3, 0.4], (3000, 1)), atol=0.06)
    lost = fit_encoder(Verdicts.from_codes(codes), y).encode(Verdicts.from_codes([-1]))
    assert np.exp(from_delta_tau(*lost))[0, 2] > 0.9


def test_verdicts_that_are_wrong_are_read_the_other_way_round() -> None:
    y = np.array([0, 1] * 100)
    delta, _ = fit_encoder(Verdicts.from_codes(1 - y), y).encode(Verdicts.from_codes([0]))
    assert delta[0] < -2


@pytest.mark.parametrize("scale", [0.01, 1.0, 1000.0])
def test_scores_of_any_scale_are_calibrated(scale: float) -> None:
    rng = np.random.default_rng(2)
    margin = rng.normal(size=4000)
    y = (rng.random(4000) > 1 / (1 + np.exp(-margin))).astype(int)
    scores = Scores.from_pairs(np.stack([margin, np.zeros(4000)], axis=1) * scale)
    delta, _ = fit_encoder(scores, y).encode(scores)
    assert np.abs(delta - margin)[np.abs(margin) < 2].max() < 0.3


def test_probabilities_that_are_too_sharp_are_tempered() -> None:
    rng = np.random.default_rng(3)
    truth = normalised(rng.normal(size=(4000, 3)))
    y = np.array([rng.choice(3, p=row) for row in np.exp(truth)])
    column = LogProbs.from_probs(normalised(4 * truth))
    found = from_delta_tau(*fit_encoder(column, y).encode(column))
    assert np.abs(np.exp(found) - np.exp(truth)).mean() < 0.03


def test_samples_that_agree_are_worth_more_than_samples_that_do_not() -> None:
    rng = np.random.default_rng(4)
    strength = rng.normal(size=2000) * 2
    y = (rng.random(2000) > 1 / (1 + np.exp(-strength))).astype(int)
    says_a = rng.binomial(8, 1 / (1 + np.exp(-strength)))
    counts = np.zeros((2000, 3, 3), np.int64)
    counts[:, 2, 0], counts[:, 2, 1] = says_a, 8 - says_a
    column = Verdicts(counts, np.zeros((2000, 3), np.int64))
    delta, _ = fit_encoder(column, y).encode(column)
    assert delta[says_a == 8].min() > 1.5 > delta[says_a == 5].max() > 0


def test_shares_become_votes() -> None:
    rows, outcomes = as_votes(np.array([[1, 0, 0], [2 / 3, 1 / 3, 0], [0.5, 0.25, 0.25], [0.37, 0.63, 0]]), 4)
    counts = np.zeros((4, 3))
    np.add.at(counts, (rows, outcomes), 1)
    assert counts[:3].tolist() == [[1, 0, 0], [2, 1, 0], [2, 1, 1]]
    np.testing.assert_allclose(counts[3] / counts[3].sum(), [0.37, 0.63, 0], atol=0.05)
