"""Selective prediction, cascades, rankings, replacement of annotators, statistics of judges."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from arena_ensemble.errors import InputError
from arena_ensemble.judgements import First, Judgements, Scores, Verdicts
from arena_ensemble.panels.annotators import may_replace
from arena_ensemble.panels.cascade import Step, simulate
from arena_ensemble.panels.judge_statistics import agreement, judge_statistics
from arena_ensemble.panels.ranking import rank
from arena_ensemble.panels.selective import least_kept, risk_coverage, safe_threshold
from arena_ensemble.panels.vote_budget import vote_budget
from arena_ensemble.predictions import from_delta_tau

Array = np.ndarray[Any, Any]


def drawn(rng: np.random.Generator, n: int, sharpness: float = 1.5) -> tuple[Array, Array]:
    """Calibrated log-probabilities (n, 3) and outcomes drawn from them."""
    log_probs = from_delta_tau(rng.normal(size=n) * sharpness * 2, np.full(n, -1.0))
    y = (rng.random(n)[:, None] > np.exp(log_probs).cumsum(axis=1)[:, :2]).sum(axis=1)
    return log_probs, y


def test_the_error_among_the_kept_is_above_alpha_no_oftener_than_delta() -> None:
    """5,000 draws of 300 rows; the true error at a threshold is known to 1e-3 from 400,000 rows."""
    rng = np.random.default_rng(0)
    log_probs, y = drawn(rng, 400_000)
    log_probs = log_probs * 1.6  # overconfident, so that confidence alone promises too much
    log_probs -= np.log(np.exp(log_probs).sum(axis=1, keepdims=True))
    sure, wrong = np.exp(log_probs.max(axis=1)), log_probs.argmax(axis=1) != y
    order = np.argsort(-sure)
    running = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    alpha, delta, draws, broken, none = 0.15, 0.1, 5000, 0, 0
    for _ in range(draws):
        rows = rng.integers(0, len(y), 300)
        found = safe_threshold(log_probs[rows], y[rows], alpha=alpha, delta=delta)
        if found.threshold is None:
            none += 1
            continue
        kept = int(np.searchsorted(-sure[order], -found.threshold, side="right"))
        broken += running[kept - 1] > alpha
    assert none < draws / 2  # the guarantee is not kept by keeping silent
    assert broken / draws <= delta + 3 * np.sqrt(delta * (1 - delta) / draws)


def test_a_threshold_asks_for_more_where_more_is_promised_and_none_is_an_answer() -> None:
    log_probs, y = drawn(np.random.default_rng(1), 4000)
    lax, strict = (safe_threshold(log_probs, y, alpha=alpha) for alpha in (0.3, 0.1))
    assert lax.threshold is not None
    assert strict.threshold is not None
    assert lax.threshold <= strict.threshold
    assert lax.coverage >= strict.coverage > 0
    assert strict.error <= 0.1
    nothing = safe_threshold(log_probs[:20], y[:20], alpha=0.01)
    assert nothing.threshold is None
    assert nothing.coverage == 0
    grouped = safe_threshold(log_probs, y, groups=np.arange(4000) // 4)
    assert grouped.rows == 1000
    with pytest.raises(InputError, match="alpha"):
        safe_threshold(log_probs, y, alpha=1.0)


def test_where_no_threshold_is_safe_it_says_what_would_be() -> None:
    log_probs, y = drawn(np.random.default_rng(11), 300)
    found = safe_threshold(log_probs, y, alpha=0.03)
    assert found.threshold is None
    assert found.reachable is not None
    assert safe_threshold(log_probs, y, alpha=found.reachable).threshold is not None
    assert (
        found.reachable <= 0.04
        or safe_threshold(log_probs, y, alpha=found.reachable - 0.01).threshold is None
    )
    met = []
    for seed in range(10):
        few = safe_threshold(*drawn(np.random.default_rng(seed), 300), alpha=0.1)
        if few.rows_needed is not None:
            assert few.rows_needed > 300
            more = drawn(np.random.default_rng(seed + 100), few.rows_needed)
            met.append(safe_threshold(*more, alpha=0.1).threshold is not None)
    assert len(met) >= 3
    assert np.mean(met) >= 0.5
    coin = np.log(np.tile([0.5, 0.5 - 1e-9, 1e-9], (400, 1)))
    hopeless = safe_threshold(coin, np.arange(400) % 2, alpha=0.1)
    assert hopeless.rows_needed is None
    assert hopeless.reachable == pytest.approx(0.56, abs=0.02)
    assert safe_threshold(log_probs, y, alpha=found.reachable).reachable is None


@pytest.mark.parametrize(("alpha", "delta"), [(0.1, 0.05), (0.03, 0.1), (0.3, 0.2)])
def test_fewer_rows_than_the_least_prove_nothing(alpha: float, delta: float) -> None:
    """However right and sure they are; and so many without an error are enough."""
    least = least_kept(alpha, delta)
    for rows in (least - 1, least):
        sure = np.log(np.tile([0.9989, 1e-3, 1e-4], (rows, 1)))
        found = safe_threshold(sure, np.zeros(rows, dtype=int), alpha=alpha, delta=delta)
        assert (found.threshold is None) == (rows < least)
        assert found.least_kept == (least if rows < least else None)


def test_risk_falls_with_coverage_and_ends_at_the_whole() -> None:
    log_probs, y = drawn(np.random.default_rng(2), 6000)
    table = risk_coverage(log_probs, y)
    errors = [row.error for row in table]
    assert errors == sorted(errors)
    assert table[-1].coverage == 1
    assert table[-1].error == pytest.approx(float((log_probs.argmax(axis=1) != y).mean()))


def test_a_cascade_runs_from_the_first_judge_alone_to_all_and_pays_where_it_helps() -> None:
    rng = np.random.default_rng(3)
    n = 3000
    delta = rng.normal(size=n) * 3
    truth = from_delta_tau(delta, np.full(n, -1.0))
    y = (rng.random(n)[:, None] > np.exp(truth).cumsum(axis=1)[:, :2]).sum(axis=1)
    weak = from_delta_tau(0.4 * (delta + rng.normal(size=n) * 2), np.full(n, -1.0))
    rows = simulate([Step("cheap", 1.0, weak), Step("dear", 10.0, truth)], y, rng.integers(0, 5, n))
    assert rows[0].asked == (1.0, 0.0)
    assert rows[0].price == 1.0
    assert rows[-1].asked == (1.0, 1.0)
    assert rows[-1].price == 11.0
    prices = [row.price for row in rows]
    assert prices == sorted(prices)
    half = min(rows, key=lambda row: abs(row.asked[1] - 0.5))
    line = rows[0].log_loss + half.asked[1] * (rows[-1].log_loss - rows[0].log_loss)
    assert half.log_loss < line - 0.01  # better than asking the dear one about a random half
    with pytest.raises(InputError, match="two judges or more"):
        simulate([Step("one", 1.0, weak)], y, np.zeros(n))
    with pytest.raises(InputError, match="must be positive"):
        simulate([Step("a", 1.0, weak), Step("b", 0.0, truth)], y, rng.integers(0, 5, n))


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


def people(rng: np.random.Generator, n: int, noise: float) -> tuple[Array, Array]:
    truth = rng.integers(0, 3, n)
    votes = np.where(rng.random((n, 4)) < noise, rng.integers(0, 3, (n, 4)), truth[:, None])
    return truth, votes


def test_a_judge_as_good_as_people_passes_and_a_coin_does_not() -> None:
    rng = np.random.default_rng(7)
    truth, votes = people(rng, 400, 0.3)
    good = may_replace(truth, votes)
    assert good.passes
    assert good.winning_rate == 1
    coin = may_replace(rng.integers(0, 3, 400), votes)
    assert not coin.passes
    assert coin.winning_rate == 0
    assert coin.advantage < good.advantage
    missing = np.where(np.arange(400) % 2 == 0, truth, -1)
    assert may_replace(missing, votes).passes


def test_the_test_of_replacement_needs_people() -> None:
    truth, votes = people(np.random.default_rng(8), 20, 0.3)
    with pytest.raises(InputError, match="three or more"):
        may_replace(truth, votes[:, :2])
    with pytest.raises(InputError, match="30 rows"):
        may_replace(truth, votes)
    with pytest.raises(InputError, match="shape"):
        may_replace(truth[:5], votes)


def test_a_copy_of_every_vote_wins_by_the_constant_rule() -> None:
    votes = np.zeros((40, 3), dtype=int)
    assert may_replace(np.zeros(40, dtype=int), votes).winning_rate == 1
    assert may_replace(np.ones(40, dtype=int), votes).winning_rate == 0


def judged(n: int = 2000) -> tuple[Judgements, Array, Array]:
    """Judges of known character: fair, leaning to the first shown, fond of length, half missing."""
    rng = np.random.default_rng(9)
    y = rng.integers(0, 3, n)
    length = rng.normal(size=n)
    lean = np.where(rng.random((n, 2)) < 0.3, np.array([0, 1]), y[:, None])  # says what it saw first
    long = np.where(rng.random(n) < 0.25, np.where(length > 0, 0, 1), y)

    def of_orders(first_a: Array, first_b: Array) -> Verdicts:
        counts = np.zeros((n, 3, 3), dtype=np.int64)
        counts[np.arange(n), int(First.A), first_a] = 1
        counts[np.arange(n), int(First.B), first_b] = 1
        return Verdicts(counts, np.zeros((n, 3), dtype=np.int64))

    columns = {
        "fair": of_orders(y, y),
        "first": of_orders(lean[:, 0], lean[:, 1]),
        "long": of_orders(long, long),
        "half": Verdicts.from_codes(np.where(np.arange(n) % 2 == 0, y, -1), First.UNKNOWN),
        "silent": Verdicts.from_codes(np.full(n, -1), First.UNKNOWN),
    }
    return Judgements(pl.Series("id", np.arange(n)), columns), y, length


def test_the_character_of_a_judge_is_found() -> None:
    judgements, y, length = judged()
    found = {one.name: one for one in judge_statistics(judgements, y, length_difference=length)}
    fair, first, long = found["fair"], found["first"], found["long"]
    assert fair.accuracy == fair.kappa == 1
    assert fair.flip_rate == fair.position_bias == fair.length_bias == 0
    assert first.position_bias == pytest.approx(0.3 * (1 - 0), abs=0.06)
    assert first.flip_rate > 0.2
    assert abs(first.length_bias) < 3 * first.length_bias_se
    assert long.length_bias > 5 * long.length_bias_se
    assert long.position_bias == pytest.approx(0, abs=1e-12)
    assert found["half"].missing == 0.5
    assert found["half"].accuracy == 1
    assert np.isnan(found["half"].position_bias)
    assert found["silent"].rows == 0
    assert fair.base_rate == pytest.approx(np.bincount(y).max() / len(y))
    table = agreement(judgements)
    assert table[0, 0] == 1
    assert np.isnan(table[4, 0])
    assert table[0, 2] == table[2, 0] < 1


def test_kappa_is_that_of_scikit_learn_and_swapping_exchanges_shares() -> None:
    from sklearn.metrics import cohen_kappa_score

    judgements, y, length = judged(300)
    plain = {one.name: one for one in judge_statistics(judgements, y, length_difference=length)}
    swapped = judge_statistics(judgements.swapped(), np.array([1, 0, 2])[y], length_difference=-length)
    verdicts = np.asarray(judgements.columns["long"].verdicts)
    assert plain["long"].kappa == pytest.approx(cohen_kappa_score(y, verdicts))
    for one in swapped[:3]:
        before = plain[one.name]
        assert one.accuracy == before.accuracy
        assert one.position_bias == pytest.approx(before.position_bias)
        assert one.length_bias == pytest.approx(before.length_bias)
        assert one.shares == (before.shares[1], before.shares[0], before.shares[2])


class Smoothed:
    """The quickest panel: the frequencies of votes, whatever was judged."""

    def fit(self, judgements: Judgements, y: Array) -> Smoothed:
        self.log_probs = np.log((np.bincount(y, minlength=3) + 1) / (len(y) + 3))
        return self

    def predict_log_proba(self, judgements: Judgements) -> Array:
        return np.tile(self.log_probs, (len(judgements), 1))


def test_more_votes_help_less_and_less() -> None:
    n = 3000
    y = np.random.default_rng(10).choice(3, n, p=[0.6, 0.3, 0.1])
    column = Scores.from_pairs(np.zeros((n, 2)))
    judgements = Judgements(pl.Series("id", np.arange(n)), {"one": column})
    rows = vote_budget(Smoothed, judgements, y, sizes=[10, 30, 100, 2400], repeats=20)
    assert [row.measured for row in rows] == [True] * 4 + [False] * 2
    losses = [row.log_loss for row in rows]
    assert losses[0] > losses[1] > losses[3]
    assert rows[-1].votes == 4 * n
    assert losses[-1] <= losses[3] + 2e-3
    with pytest.raises(InputError, match="four fifths"):
        vote_budget(Smoothed, judgements, y, sizes=[2900])
    with pytest.raises(InputError, match="at least 40"):
        vote_budget(Smoothed, judgements.take(np.arange(20)), y[:20])


@given(st.integers(0, 1000))
def test_selective_prediction_is_indifferent_to_a_swap(seed: int) -> None:
    log_probs, y = drawn(np.random.default_rng(seed), 200)
    other = safe_threshold(log_probs[:, [1, 0, 2]], np.array([1, 0, 2])[y], alpha=0.25)
    assert other == pytest.approx(safe_threshold(log_probs, y, alpha=0.25)) or other.threshold is None
