"""Ratings of systems from votes and a panel: their intervals cover, and a panel moves none on average."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from arena_ensemble.errors import InputError
from arena_ensemble.panels.ranking import rank

Array = np.ndarray[Any, Any]


def arena(rng: np.random.Generator, n: int, systems: int = 4) -> tuple[list[str], list[str], Array, Array]:
    """Battles of systems of known strength: names, outcomes, and a lenient panel's predictions."""
    strength = np.linspace(-0.8, 0.8, systems)
    a = rng.integers(0, systems, n)
    b = (a + rng.integers(1, systems, n)) % systems
    prompt = 3 * rng.normal(size=n)  # which the panel sees and a rating does not
    p = expit(strength[a] - strength[b] + prompt)
    y = (rng.random(n) > p).astype(np.int64)
    panel = np.clip(0.15 + 0.8 * p, 0.01, 0.99)  # knows much, and prefers A
    log_probs = np.log(np.stack([panel, 1 - panel, np.full(n, 1e-12)], axis=1))
    return [f"s{k}" for k in a], [f"s{k}" for k in b], y, log_probs


def truth_of(rng: np.random.Generator) -> dict[str, float]:
    a, b, y, _ = arena(rng, 400_000)
    return {one.system: one.rating for one in rank(a, b, y).ratings}


def test_intervals_of_ratings_cover_at_their_level_and_a_panel_makes_them_shorter() -> None:
    rng = np.random.default_rng(4)
    truth = truth_of(rng)
    covered: dict[str, list[bool]] = {"votes": [], "panel": []}
    widths: dict[str, list[float]] = {"votes": [], "panel": []}
    for _ in range(150):
        a, b, y, log_probs = arena(rng, 1500)
        seen = np.where(np.arange(1500) < 300, y, -1)
        for name, panel in (("votes", None), ("panel", log_probs)):
            for one in rank(a, b, seen, panel, level=0.9).ratings:
                covered[name].append(one.low <= truth[one.system] <= one.high)
                widths[name].append(one.high - one.low)
    for name, hits in covered.items():
        assert np.mean(hits) == pytest.approx(0.9, abs=0.04), name
    assert np.mean(widths["panel"]) < 0.92 * np.mean(widths["votes"])


def test_a_panel_that_is_wrong_moves_no_rating_on_average() -> None:
    rng = np.random.default_rng(5)
    truth = truth_of(rng)
    error = []
    for _ in range(60):
        a, b, y, log_probs = arena(rng, 2000)
        upside_down = log_probs[:, [1, 0, 2]]
        found = rank(a, b, np.where(np.arange(2000) < 500, y, -1), upside_down, tuning=1.0)
        error += [one.rating - truth[one.system] for one in found.ratings if one.system == "s3"]
    assert abs(np.mean(error)) < 3 * np.std(error) / np.sqrt(len(error))


@pytest.mark.parametrize("wins", [2, 5, 20, 100])
def test_a_system_that_wins_every_vote_has_the_interval_of_a_share(wins: int) -> None:
    """Two systems and one winner: about Wilson's interval of ``wins`` of ``wins``."""
    best, worst = rank(["a"] * wins, ["b"] * wins, [0] * wins).ratings
    z2 = 1.96**2
    assert best.rating == pytest.approx(-worst.rating)
    low = float(expit(best.low - worst.high))
    assert low == pytest.approx(wins / (wins + z2), abs=0.07 if wins > 2 else 0.1)
    assert best.high - best.low > 1
    lost = rank(["a"] * wins, ["b"] * wins, [1] * wins).ratings
    assert [one.system for one in lost] == ["b", "a"]
    assert [one.rating for one in lost] == pytest.approx([best.rating, worst.rating])


def test_intervals_cover_where_a_system_wins_or_loses_every_vote() -> None:
    rng = np.random.default_rng(13)
    strength = np.array([-1.5, -1.0, -0.5, 3.0])
    covered, of_winner = [], []
    for _ in range(200):
        a = rng.integers(0, 4, 60)
        b = (a + rng.integers(1, 4, 60)) % 4
        y = (rng.random(60) > expit(strength[a] - strength[b])).astype(np.int64)
        found = {one.system: one for one in rank([f"s{k}" for k in a], [f"s{k}" for k in b], y).ratings}
        hits = [found[f"s{k}"].low <= strength[k] <= found[f"s{k}"].high for k in range(4)]
        covered += hits
        if (y[a == 3] == 0).all() and (y[b == 3] == 1).all():
            of_winner.append(hits[3])
    assert len(of_winner) > 40
    assert np.mean(of_winner) >= 0.93
    assert np.mean(covered) >= 0.93  # and more: no interval of discrete outcomes is exact


def test_systems_that_only_beat_the_rest_have_wide_intervals_beside_a_panel() -> None:
    """Two strong systems, mixed between themselves, win every vote against two weak ones."""
    a = ["p", "q", "p", "p", "q", "q", "x", "y"] * 5
    b = ["q", "p", "x", "y", "x", "y", "y", "x"] * 5
    log_probs = np.log(np.tile([0.6, 0.4 - 1e-12, 1e-12], (40, 1)))
    for panel in (None, log_probs):
        found = {one.system: one for one in rank(a, b, [0] * 40, panel).ratings}
        assert found["p"].rating == pytest.approx(found["q"].rating)
        for one in found.values():
            assert 0.5 < one.high - one.low < 10
        assert found["q"].low > found["x"].high


def test_ratings_are_those_of_logistic_regression() -> None:
    import scipy.optimize

    a, b, y, _ = arena(np.random.default_rng(6), 600)
    y = np.where(np.arange(600) % 7 == 0, 2, y)
    found = rank(a, b, y)
    names = sorted({*a, *b})
    x = np.zeros((600, 4))
    for row, (left, right) in enumerate(zip(a, b, strict=True)):
        x[row, names.index(left)], x[row, names.index(right)] = 1, -1
    share = np.where(y == 0, 1.0, np.where(y == 2, 0.5, 0.0))

    def loss(theta: Array) -> float:
        p = expit(x @ theta)
        return float(-(share * np.log(p) + (1 - share) * np.log(1 - p)).sum() + 1e-9 * theta @ theta)

    theta = scipy.optimize.minimize(loss, np.zeros(4)).x
    expected = dict(zip(names, theta - theta.mean(), strict=True))
    for one in found.ratings:
        assert one.rating == pytest.approx(expected[one.system], abs=1e-4)
        assert one.best_rank <= one.worst_rank
    assert sum(one.rating for one in found.ratings) == pytest.approx(0, abs=1e-9)
    swapped = rank(b, a, np.array([1, 0, 2])[y])
    assert [one.rating for one in swapped.ratings] == pytest.approx([one.rating for one in found.ratings])


def test_ratings_at_equal_style_are_those_of_a_logistic_regression_with_covariates() -> None:
    """s3 wins by length alone: its rating falls to the others' where length is held equal."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(12)
    n = 4000
    a = rng.integers(0, 4, n)
    b = (a + rng.integers(1, 4, n)) % 4
    length = (a == 3) * 1.5 - (b == 3) * 1.5 + rng.normal(size=n)
    y = (rng.random(n) > expit(length)).astype(np.int64)
    names = np.array([f"s{k}" for k in range(4)])
    style = np.stack([length, np.zeros(n)], axis=1)  # what never differs is left out
    plain = {one.system: one for one in rank(list(names[a]), list(names[b]), y).ratings}
    level = {one.system: one for one in rank(list(names[a]), list(names[b]), y, style=style).ratings}
    assert plain["s3"].low > plain["s0"].high
    assert level["s3"].low < level["s0"].high
    x = np.zeros((n, 5))
    x[np.arange(n), a], x[np.arange(n), b], x[:, 4] = 1, -1, length
    peer = LogisticRegression(C=1e8, fit_intercept=False, tol=1e-10, max_iter=1000).fit(x, y == 0)
    expected = peer.coef_[0, :4] - peer.coef_[0, :4].mean()
    assert [level[name].rating for name in names] == pytest.approx(expected.tolist(), abs=1e-3)


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(InputError, match="no chain of votes connects a and c"):
        rank(["a", "c"], ["b", "d"], [0, 1])
    with pytest.raises(InputError, match="meets itself"):
        rank(["a", "a"], ["a", "b"], [0, 1])
    with pytest.raises(InputError, match="needs votes"):
        rank(["a", "b"], ["b", "a"], [-1, 0])
    with pytest.raises(InputError, match="recode"):
        rank(["a", "b"], ["b", "a"], [3, 0])
