"""The panel: swap law, judges in any order, a copy, noise, all missing, one judge, saved and restored."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl
import pytest

from arena_ensemble.errors import ArtifactError, InputError
from arena_ensemble.judgements import First, Judgements, Verdicts
from arena_ensemble.metrics import log_loss
from arena_ensemble.panels import Panel
from tests.helpers.judgement_cases import random_judgements


def _told(n: int, seed: int, *, ties: bool = True) -> tuple[Judgements, np.ndarray]:
    """Three judges of different worth that saw A first, and their outcomes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3 if ties else 2, n)
    columns = {
        name: Verdicts.from_codes(np.where(rng.random(n) < right, y, rng.integers(0, 3, n)), First.A)
        for name, right in (("good", 0.7), ("fair", 0.4), ("poor", 0.1))
    }
    return Judgements(pl.Series(np.arange(n)), columns), y


@cache
def _fitted(kind: str) -> tuple[Panel, Judgements, np.ndarray]:
    if kind == "mixed":
        table, y = random_judgements(90), np.random.default_rng(0).integers(0, 3, 90)
    else:
        table, y = _told(240, 0, ties=kind != "two")
    return Panel(n_folds=4, honest=kind != "mixed").fit(table, y), table, y


@pytest.mark.parametrize("kind", ["mixed", "verdicts", "two"])
def test_swapping_the_pair_and_what_was_seen_first_swaps_the_prediction(kind: str) -> None:
    panel, table, _ = _fitted(kind)
    shown = panel.predict_proba(table)
    np.testing.assert_allclose(shown.sum(axis=1), 1)
    np.testing.assert_allclose(panel.predict_proba(table.swapped()), shown[:, [1, 0, 2]], atol=1e-9)
    assert (shown[:, 2] == 0).all() == (kind == "two")


def test_judges_may_stand_in_any_order() -> None:
    panel, table, y = _fitted("verdicts")
    turned = table.select(table.judges[::-1])
    other = Panel(n_folds=4, honest=False).fit(turned, y)
    np.testing.assert_allclose(other.predict_proba(turned), panel.predict_proba(table), atol=1e-9)
    assert other.judge_names_ == panel.judge_names_ == ("fair", "good", "poor")


def test_the_honest_score_is_that_of_new_pairs_and_better_than_the_best_judge() -> None:
    panel, _, y = _fitted("verdicts")
    new, truth = _told(4000, 1)
    fresh = log_loss(panel.predict_log_proba(new), truth)
    row = panel.table_[-1]
    assert abs(row.log_loss - fresh) < 3 * row.se
    assert fresh < np.log(3) - 0.3
    assert log_loss(panel.oof_log_proba_, y) == pytest.approx(row.log_loss)


def test_a_copy_of_a_judge_or_one_that_never_answered_changes_little() -> None:
    _, table, y = _fitted("verdicts")
    new, truth = _told(2000, 2)
    plain = log_loss(_fitted("verdicts")[0].predict_log_proba(new), truth)
    nothing = Verdicts.from_codes(np.full(len(table), -1))
    for name, column, later in (
        ("copy", table.columns["good"], new.columns["good"]),
        ("silent", nothing, Verdicts.from_codes(np.full(2000, -1))),
    ):
        more = Judgements(table.ids, {**table.columns, name: column})
        panel = Panel(n_folds=4, honest=False).fit(more, y)
        found = panel.predict_log_proba(Judgements(new.ids, {**new.columns, name: later}))
        assert abs(log_loss(found, truth) - plain) < 0.03


def test_one_judge_and_all_missing() -> None:
    _, table, y = _fitted("verdicts")
    one = table.select(["good"])
    panel = Panel(n_folds=4, honest=False).fit(one, y)
    assert log_loss(panel.predict_log_proba(one), y) < 0.9
    gone = one.aligned_to(pl.Series([0, 999])).take([1])
    np.testing.assert_allclose(panel.predict_proba(gone)[0, 0], panel.predict_proba(gone)[0, 1])
    silent = Judgements(table.ids, {"x": Verdicts.from_codes(np.full(len(y), -1))})
    prior = Panel(n_folds=4, honest=False).fit(silent, y).predict_proba(silent)
    tie = (y == 2).mean()
    np.testing.assert_allclose(prior[0], [(1 - tie) / 2, (1 - tie) / 2, tie], atol=0.02)


def test_shares_of_annotators_are_soft_labels() -> None:
    _, table, y = _fitted("verdicts")
    shares = np.eye(3)[y] * 2 / 3 + np.eye(3)[(y + 1) % 3] / 3
    panel = Panel(n_folds=4, honest=False).fit(table, shares)
    assert panel.oof_log_proba_.shape == (len(y), 3)
    assert panel.table_[0].kind == "baseline"


def test_a_saved_panel_predicts_the_same_and_a_broken_one_is_refused() -> None:
    panel, table, _ = _fitted("mixed")
    files = panel.dump()
    back = Panel.restore(files)
    np.testing.assert_array_equal(back.predict_log_proba(table), panel.predict_log_proba(table))
    assert back.judge_names_ == panel.judge_names_
    with pytest.raises(ArtifactError, match=r"lacks panel\.json"):
        Panel.restore({name: content for name, content in files.items() if name != "panel.json"})
    with pytest.raises(ArtifactError, match="not as written"):
        Panel.restore({**files, "panel.json": files["panel.json"][:-10]})


def test_what_cannot_be_learned_or_predicted_is_named() -> None:
    panel, table, y = _fitted("verdicts")
    with pytest.raises(InputError, match="'fair' of the panel is not among good"):
        panel.predict_proba(table.select(["good"]))
    with pytest.raises(InputError, match="every vote is the same"):
        Panel().fit(table, np.zeros(len(table), dtype=int))
    with pytest.raises(InputError, match="a panel needs at least 4"):
        Panel(n_folds=3).fit(table, y)
    with pytest.raises(InputError, match="3 votes for 240 judged pairs"):
        Panel().fit(table, y[:3])
    with pytest.raises(InputError, match="shares that sum to 1"):
        Panel().fit(table, np.ones((len(table), 3)))
