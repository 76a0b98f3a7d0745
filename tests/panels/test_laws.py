"""Laws of panels for all judgements: swaps, order of judges, missing ones, saving; 65 judges on 419 pairs.

The laws are those of encoders and of fitting inside folds, so they are tried on a few cheap candidates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena_ensemble import sample
from arena_ensemble.judgements import Judgements
from arena_ensemble.metrics import log_loss, row_losses, standard_error
from arena_ensemble.panels import Panel
from arena_ensemble.sample import Judge
from arena_ensemble.stacking import candidates
from arena_ensemble.stacking.pooling import GeometricMean, Prior
from arena_ensemble.stacking.selection import CandidateSet
from tests.helpers.judgement_cases import random_judgements

ROWS = 32
KINDS = random_judgements(2).judges
few = settings(max_examples=5, deadline=None)


@pytest.fixture(autouse=True, scope="module")
def _cheap() -> Any:
    """A prior, the equal pool, one logistic model: fitted in a tenth of the time."""

    def cheap(design: Any, *, trees: bool = True) -> CandidateSet:
        logistic = candidates.LogisticCandidate("logistic", "plain", candidates.RIDGES[:1])
        found: list[Any] = (
            [Prior(), GeometricMean(), logistic] if len(design.members) > 1 else [Prior(), logistic]
        )
        return CandidateSet(tuple(found), (), tuple(one.name for one in found))

    patch = pytest.MonkeyPatch()
    patch.setattr("arena_ensemble.panels.panel.candidates_for", cheap)
    yield
    patch.undo()


@st.composite
def voted(draw: st.DrawFn) -> tuple[Judgements, np.ndarray, np.ndarray]:
    """Judgements of one to four judges of any kind, votes of two or three outcomes, and folds."""
    names = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4, unique=True))
    seed = draw(st.integers(0, 10_000))
    table = random_judgements(ROWS, seed=seed, missing=draw(st.sampled_from([0.0, 0.2, 0.7])))
    rng = np.random.default_rng(seed)
    votes = rng.permutation(np.arange(ROWS) % draw(st.sampled_from([2, 3])))
    return table.select(names), votes, np.arange(ROWS) % 4


def _fit(table: Judgements, votes: np.ndarray, folds: np.ndarray, *, honest: bool = False) -> Panel:
    return Panel(honest=honest, threads=1).fit(table, votes, folds=folds)


@few
@given(voted())
def test_swapping_pairs_and_what_was_seen_first_swaps_predictions(
    case: tuple[Judgements, np.ndarray, np.ndarray],
) -> None:
    table, votes, folds = case
    panel = _fit(table, votes, folds)
    shown = panel.predict_proba(table)
    np.testing.assert_allclose(shown.sum(axis=1), 1)
    np.testing.assert_allclose(panel.predict_proba(table.swapped()), shown[:, [1, 0, 2]], atol=1e-9)
    other = _fit(table.swapped(), np.array([1, 0, 2])[votes], folds)
    np.testing.assert_allclose(other.predict_proba(table), shown, atol=1e-5)


@few
@given(voted(), st.randoms(use_true_random=False))
def test_judges_may_stand_in_any_order_and_a_saved_panel_is_the_same(
    case: tuple[Judgements, np.ndarray, np.ndarray], random: Any
) -> None:
    table, votes, folds = case
    panel = _fit(table, votes, folds)
    names = list(table.judges)
    random.shuffle(names)
    turned = table.select(names)
    np.testing.assert_allclose(
        _fit(turned, votes, folds).predict_log_proba(turned), panel.predict_log_proba(table), atol=1e-9
    )
    back = Panel.restore(panel.dump())
    np.testing.assert_array_equal(back.predict_log_proba(table), panel.predict_log_proba(table))


@few
@given(voted())
def test_a_pair_without_any_judgement_favours_nobody(
    case: tuple[Judgements, np.ndarray, np.ndarray],
) -> None:
    table, votes, folds = case
    panel = _fit(table, votes, folds)
    unseen = table.aligned_to(pl.concat([table.ids[:1], pl.Series("id", [10**6])])).take([1])
    probs = panel.predict_proba(unseen)[0]
    assert probs[0] == pytest.approx(probs[1])
    assert (probs[2] == 0) == (not (votes == 2).any())


@settings(few, max_examples=2)
@given(voted())
def test_what_is_learned_does_not_look_at_the_fold_that_it_scores(
    case: tuple[Judgements, np.ndarray, np.ndarray],
) -> None:
    """Turning round the votes of one fold leaves the honest predictions of that fold alone."""
    table, votes, folds = case
    rows = np.flatnonzero(folds == 0)
    other = votes.copy()
    other[rows] = votes[rows][::-1]
    first, second = (_fit(table, one, folds, honest=True).oof_log_proba_ for one in (votes, other))
    np.testing.assert_allclose(second[rows], first[rows], atol=1e-9)


def _many(count: int) -> dict[str, Judge]:
    kinds: Sequence[Judge] = (
        Judge("verdicts", noise=4.0, lean=0.5, missing=0.05),
        Judge("verdicts", noise=8.0, lean=1.5, orders=1),
        Judge("verdicts", noise=100.0),
    )
    return {f"judge-{k}": kinds[k % len(kinds)] for k in range(count)}


@pytest.mark.slow
def test_65_judges_on_419_pairs_score_as_on_new_pairs() -> None:
    judges = _many(65)
    old, new = (sample.panel(rows, seed=seed, judges=judges) for rows, seed in ((419, 0), (1500, 1)))
    panel = Panel(n_folds=4, threads=1).fit(old.judgements, old.outcomes)
    found = panel.predict_log_proba(new.judgements)
    fresh = row_losses(found, new.outcomes)
    row = panel.table_[-1]
    assert abs(row.log_loss - fresh.mean()) < 2 * math.hypot(row.se, standard_error(fresh))
    assert fresh.mean() < panel.table_[0].log_loss - 0.03
    assert log_loss(found, new.outcomes) >= new.bayes_log_loss - 2 * standard_error(fresh)
