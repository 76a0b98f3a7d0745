"""How far stacking is: the fits are known before, their count ends as planned, and nothing changes."""

from __future__ import annotations

import numpy as np
import pytest

from arena_ensemble.features import extract
from arena_ensemble.predictions import from_delta_tau
from arena_ensemble.sample import make_arena
from arena_ensemble.stacking import Stacker, sampling
from arena_ensemble.stacking.candidates import candidates_for
from arena_ensemble.stacking.design import make_design
from arena_ensemble.stacking.fit_progress import cost


def votes(n: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    delta, tau = rng.normal(size=n), rng.normal(size=n) * 0.3
    truth = np.exp(from_delta_tau(delta, tau))
    y = (rng.random(n)[:, None] > truth.cumsum(axis=1)[:, :2]).sum(axis=1)
    members = {
        name: np.exp(from_delta_tau(delta + rng.normal(size=n) * noise, tau))
        for name, noise in (("one", 0.5), ("two", 1.0))
    }
    return members, y


@pytest.mark.parametrize(
    ("rows", "honest", "sampled"),
    [(120, False, False), (320, True, False), (600, True, True)],
)
def test_planned_fits_are_the_fits_that_end(
    rows: int, honest: bool, sampled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    members, y = votes(rows)
    if sampled:
        monkeypatch.setattr(sampling, "PLENTY_ROWS", 300)
    heard: list[tuple[float, float, str]] = []
    folds = np.arange(rows) % 3
    fitted = Stacker(honest=honest).fit(members, y, folds=folds, on_progress=lambda *one: heard.append(one))
    done, totals = [one[0] for one in heard], {one[1] for one in heard}
    assert len(totals) == 1
    assert done == sorted(done)
    assert done[0] == 0
    assert 0.9 * max(totals) < done[-1] < max(totals)
    *fits, last = [one[2] for one in heard]
    assert last == "the choice, fitted on all rows"
    count = len(fits)
    assert [text.rpartition(", fit ")[2] for text in fits] == [f"{k + 1} of {count}" for k in range(count)]
    names = {one.name for one in candidates_for(make_design(members, None)).candidates}
    assert {text.rpartition(", fit ")[0] for text in fits} >= names - {"trees"}
    silent = Stacker(honest=honest).fit(members, y, folds=folds)
    np.testing.assert_array_equal(fitted.oof_log_proba_, silent.oof_log_proba_)


def test_an_interrupt_does_not_wait_for_the_fits_that_have_not_begun() -> None:
    members, y = votes(200)
    heard: list[str] = []

    def interrupt(done: float, total: float, text: str) -> None:
        heard.append(text)
        if len(heard) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stacker().fit(members, y, on_progress=interrupt)
    assert len(heard) == 3


@pytest.mark.parametrize("rows", [1, 320, 24_000, sampling.PLENTY_ROWS])
def test_every_candidate_has_a_cost_and_trees_cost_most(rows: int) -> None:
    members, _ = votes(400)
    design = make_design(members, extract(make_arena(400, seed=1).battles), one_order=("one",))
    costs = {one.name: cost(one, rows) for one in candidates_for(design).candidates}
    assert all(0 < value < float("inf") for value in costs.values())
    assert max(costs, key=lambda name: costs[name]).startswith("trees")
    pools = costs["geometric pool"]
    assert costs["logistic with features"] > max(costs["logistic"], pools)


def test_more_rows_take_longer() -> None:
    members, _ = votes(400)
    for one in candidates_for(make_design(members, None)).candidates:
        few, many, more = (cost(one, rows) for rows in (300, 3_000, 30_000))
        assert few < many < more
