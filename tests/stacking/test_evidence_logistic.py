"""The logistic stacker by evidence: symmetric, exact against oracles, near equal weights on few rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import dblquad
from scipy.optimize import minimize

from arena_ensemble.predictions import from_delta_tau
from arena_ensemble.stacking import Design, make_design
from arena_ensemble.stacking.base import to_log_probs
from arena_ensemble.stacking.evidence_logistic import SPREADS, EvidenceLogistic, EvidenceModel, Terms

SEEDS = st.integers(0, 10_000)


def arena(
    n: int, noises: tuple[float, ...] = (0.5, 0.8, 3.0), seed: int = 0, *, ties: bool = True
) -> tuple[Design, np.ndarray]:
    """Members that see the truth through their own noise, and outcomes."""
    rng = np.random.default_rng(seed)
    delta = rng.normal(size=n) * 1.5
    truth = from_delta_tau(delta, np.full(n, -0.2 if ties else -np.inf))
    y = (rng.random(n)[:, None] > np.exp(truth).cumsum(axis=1)[:, :2]).sum(axis=1)
    seen = [(delta + noise * rng.normal(size=n)) / (1 + noise) for noise in noises]
    members = {f"m{m:02d}": np.exp(from_delta_tau(one, np.full(n, -0.3))) for m, one in enumerate(seen)}
    return make_design(members, None), y.astype(np.int64)


def predicted(model: EvidenceModel, design: Design) -> np.ndarray:
    return to_log_probs(model.predict_path(design)[0], predicts_tie_logit=True)


@given(SEEDS, st.booleans())
def test_exchanging_the_responses_exchanges_the_prediction(seed: int, ties: bool) -> None:
    design, y = arena(60, seed=seed, ties=ties)
    model = EvidenceLogistic().fit(design, y, 0)
    shown = predicted(model, design)
    np.testing.assert_allclose(predicted(model, design.swapped()), shown[:, [1, 0, 2]], atol=1e-9)
    other = EvidenceLogistic().fit(design.swapped(), np.array([1, 0, 2])[y], 0)
    np.testing.assert_allclose(predicted(other, design), shown, atol=1e-5)


@given(SEEDS, st.permutations(range(3)))
def test_members_may_stand_in_any_order(seed: int, order: list[int]) -> None:
    design, y = arena(60, seed=seed)
    turned = make_design({f"n{k}": np.exp(design.log_probs[m]) for k, m in enumerate(order)}, None)
    fitted = [predicted(EvidenceLogistic().fit(one, y, 0), one) for one in (design, turned)]
    np.testing.assert_allclose(fitted[0], fitted[1], atol=1e-6)


@pytest.mark.parametrize("ties", [True, False])
def test_the_fit_at_a_spread_is_the_penalised_maximum(ties: bool) -> None:
    design, y = arena(120, ties=ties)
    terms, n = Terms.of(design, y), len(y)
    fit = terms.fit(0.2, 0.4)
    delta, centre = design.delta, design.delta.mean(axis=1)
    even = [design.tau.mean(axis=1), np.abs(centre), centre**2 / 4, *design.tau.T, np.ones(n)]
    spread = [3.0, 0.2, 0.2, 0.2, 2.0, 2.0, 2.0, 0.4, 0.4, 0.4, 30.0]
    middle = np.array([1.0] + [0.0] * 10)
    if not ties:
        even, spread, middle = [np.ones(n)], [*spread[:4], 1e-3], np.array([1.0, 0, 0, 0, -30.0])

    def negative(theta: np.ndarray) -> float:
        shown = from_delta_tau(
            np.column_stack([centre, delta]) @ theta[:4], np.column_stack(even) @ theta[4:]
        )
        return float(-shown[np.arange(n), y].sum() + (((theta - middle) / spread) ** 2).sum() / 2)

    best = minimize(negative, fit.theta + 0.01 * (np.array(spread) > 0.01), method="BFGS").fun
    assert negative(fit.theta) <= best + 1e-4
    assert fit.log_evidence == pytest.approx(
        -negative(fit.theta) - np.log(spread).sum() - np.linalg.slogdet(fit.hessian)[1] / 2, abs=1e-6
    )


def test_the_evidence_is_the_integral_over_the_weights() -> None:
    """One member, no ties: two weights, by quadrature; what matters is the difference of spreads."""
    design, y = arena(80, (0.5,), ties=False)
    terms, signed = Terms.of(design, y), np.where(y == 0, 1, -1) * design.delta[:, 0]

    def integral(spread: float) -> float:
        def joint(own: float, common: float) -> float:
            prior = ((common - 1) ** 2 + (own / spread) ** 2) / 2 + np.log(spread)
            return float(np.exp(-np.logaddexp(0, -signed * (common + own)).sum() - prior + 40))

        return float(np.log(dblquad(joint, -2, 4, -6 * spread, 6 * spread, epsrel=1e-4)[0]))

    by_laplace = [terms.fit(spread, 0.1).log_evidence for spread in (0.1, 0.8)]
    exact = [integral(spread) for spread in (0.1, 0.8)]
    assert by_laplace[1] - by_laplace[0] == pytest.approx(exact[1] - exact[0], abs=0.02)


def test_alike_members_share_alike_and_a_better_one_weighs_more() -> None:
    alike, y = arena(150, (1.0,) * 8)
    weights = EvidenceLogistic().fit(alike, y, 0).weights
    assert np.ptp(weights) < 0.1 * weights.mean()
    unlike, y = arena(1500, (0.2, 3.0, 3.0, 3.0))
    weights = EvidenceLogistic().fit(unlike, y, 0).weights
    assert weights[0] > 2 * np.abs(weights[1:]).max()


def test_the_fewer_rows_the_nearer_to_even() -> None:
    shown, _ = arena(200, seed=9)
    factors = []
    for n in (40, 400, 4000):
        design, y = arena(n)
        factors.append(EvidenceLogistic().fit(design, y, 0).factor(shown.delta))
        assert (factors[-1] <= 1).all()
        assert (factors[-1] > 0).all()
    assert factors[0].mean() < factors[1].mean() < factors[2].mean()


@pytest.mark.parametrize("count", [1, 2, 30])
@pytest.mark.parametrize("ties", [True, False])
def test_members_that_say_nothing_and_copies_do_no_harm(count: int, ties: bool) -> None:
    design, y = arena(40, (1.0,) * count, ties=ties)
    silent = make_design({name: np.full((40, 3), 1 / 3) for name in design.members}, None)
    flat = predicted(EvidenceLogistic().fit(silent, y, 0), silent)
    np.testing.assert_allclose(flat[:, 0], flat[:, 1])
    one = np.exp(design.log_probs[0])
    twins = make_design({"a": one, "b": one}, None)
    alone = make_design({"a": one}, None)
    both, single = (predicted(EvidenceLogistic().fit(each, y, 0), each) for each in (twins, alone))
    assert np.abs(np.exp(both) - np.exp(single)).max() < 0.05
    assert SPREADS[0] > 0


@given(SEEDS, st.booleans())
def test_a_saved_model_is_the_same(seed: int, ties: bool) -> None:
    design, y = arena(50, seed=seed, ties=ties)
    model = EvidenceLogistic().fit(design, y, 0)
    back = EvidenceModel.from_state(model.state().model_dump(), model.texts())
    np.testing.assert_array_equal(back.predict_path(design), model.predict_path(design))
