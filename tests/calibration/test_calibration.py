from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from sklearn.utils.estimator_checks import parametrize_with_checks

from arena_ensemble.calibration import (
    SymmetricCalibrator,
    TemperatureScaler,
    ensemble_gamma,
    fit_symmetric,
    fit_temperature,
    fold_average_gamma,
)
from arena_ensemble.calibration.davidson import Problem, solve
from arena_ensemble.calibration.temperature import BETA_MAX, BETA_MIN
from arena_ensemble.errors import InputError
from arena_ensemble.metrics import log_loss, row_losses
from arena_ensemble.predictions import delta_tau, from_delta_tau, normalised

SWAP = [1, 0, 2]


def drawn(seed: int, n: int = 2000, scale: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    log_probs = normalised(rng.normal(size=(n, 3)) * scale)
    y = (rng.random(n)[:, None] > np.exp(log_probs).cumsum(axis=1)[:, :2]).sum(axis=1)
    return log_probs, y


@given(st.integers(0, 10_000), st.floats(0.02, 50))
def test_temperature_is_the_minimum_that_scipy_finds(seed: int, beta: float) -> None:
    log_probs, y = drawn(seed)
    blunt = log_probs / beta
    found = fit_temperature(blunt, y)

    def objective(log_b: float) -> float:
        return log_loss(normalised(np.exp(log_b) * blunt), y)

    centre = np.log(found.beta)
    best = minimize_scalar(objective, bracket=(centre - 0.5, centre, centre + 0.5), tol=1e-12)
    assert log_loss(normalised(found.beta * blunt), y) <= best.fun + 1e-10
    step = 1e-4
    slope = (objective(centre + step) - objective(centre - step)) / (2 * step)
    assert abs(slope) < 1e-5


@given(st.integers(0, 10_000))
def test_temperature_keeps_the_order_of_every_row_and_never_hurts_its_own_data(seed: int) -> None:
    log_probs, y = drawn(seed, 300)
    found = fit_temperature(log_probs, y)
    after = found.apply(log_probs)
    assert (np.argsort(after, axis=1) == np.argsort(log_probs, axis=1)).all()
    assert log_loss(after, y) <= log_loss(log_probs, y) + 1e-12
    assert np.allclose(np.exp(after).sum(axis=1), 1)


def test_a_calibrated_member_keeps_its_sharpness() -> None:
    log_probs, y = drawn(0, 50_000)
    assert fit_temperature(log_probs, y).beta == pytest.approx(1, abs=0.03)


def test_extreme_data_end_at_the_bounds_and_stay_finite() -> None:
    log_probs, _ = drawn(1, 200)
    certain = np.argmax(log_probs, axis=1)
    assert fit_temperature(log_probs, certain).beta == pytest.approx(BETA_MAX)
    assert fit_temperature(log_probs, np.argmin(log_probs, axis=1)).beta == pytest.approx(BETA_MIN, rel=1e-6)
    assert fit_temperature(np.full((50, 3), -np.log(3)), certain[:50]).beta == 1
    hard = np.log(np.maximum(np.eye(3)[certain], 0) + 1e-300)
    hard[hard < -600] = -np.inf
    wrong = certain.copy()
    wrong[:50] = (wrong[:50] + 1) % 3
    cooled = fit_temperature(hard, wrong)
    assert np.isfinite(cooled.beta)
    assert np.isfinite(row_losses(cooled.apply(hard), wrong)).all()
    one_class = np.zeros(200, dtype=int)
    assert BETA_MIN <= fit_temperature(log_probs, one_class).beta <= BETA_MAX


def test_float16_rounding_changes_next_to_nothing() -> None:
    log_probs, y = drawn(2, 5000)
    rounded = np.exp(log_probs).astype(np.float16)
    exact = TemperatureScaler().fit(np.exp(log_probs), y)
    assert TemperatureScaler().fit(rounded, y).beta_ == pytest.approx(exact.beta_, rel=5e-3)


def test_what_the_input_is_is_said_and_never_guessed() -> None:
    log_probs, y = drawn(3)
    betas = [
        TemperatureScaler(input=kind).fit(values, y).beta_
        for kind, values in (
            ("proba", np.exp(log_probs)),
            ("logproba", log_probs),
            ("logits", log_probs + 7.0),
        )
    ]
    assert np.ptp(betas) < 1e-9
    spoilt = np.exp(log_probs)
    spoilt[5] *= 1.2
    with pytest.raises(ValueError, match="not probabilities"):
        TemperatureScaler().fit(spoilt, y)
    with pytest.raises(ValueError, match="logits"):
        TemperatureScaler(input="logproba").fit(log_probs + 7.0, y)
    with pytest.raises(ValueError, match="expected 'proba'"):
        TemperatureScaler(input="odds").fit(spoilt, y)  # type: ignore[arg-type]


@given(st.integers(0, 10_000))
def test_symmetric_calibration_is_equivariant_and_the_minimum(seed: int) -> None:
    log_probs, y = drawn(seed, 600)
    found = fit_symmetric(log_probs, y, prior_rows=0.0)
    assert np.abs(found.apply(log_probs[:, SWAP]) - found.apply(log_probs)[:, SWAP]).max() < 1e-10
    delta, tau = delta_tau(log_probs)

    def objective(theta: np.ndarray) -> float:
        return log_loss(from_delta_tau(theta[0] * delta, theta[1] * tau + theta[2]), y)

    best = minimize(objective, [1.0, 1.0, 0.0])
    assert objective(np.array([found.a, found.c, found.g])) <= best.fun + 1e-8


def test_the_solver_agrees_with_scipy_under_ridge_and_signs() -> None:
    rng = np.random.default_rng(0)
    odd, even = rng.normal(size=(500, 3)), rng.normal(size=(500, 3))
    y = rng.integers(0, 3, 500)
    problem = Problem(odd, even, y, shared=True)
    ours = solve(problem, penalty=0.01, centre=0.3, nonnegative=True)

    def objective(theta: np.ndarray) -> float:
        delta, tau = problem.linear(theta)
        return log_loss(from_delta_tau(delta, tau), y) + 0.005 * np.sum((theta - 0.3) ** 2)

    best = minimize(objective, np.full(3, 0.3), bounds=[(0, None)] * 3, options={"ftol": 1e-14})
    assert objective(ours) <= best.fun + 1e-9
    assert (ours >= 0).all()


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_gamma_is_one_when_folds_agree_and_never_below(seed: int, folds: int) -> None:
    log_probs, _ = drawn(seed, 100)
    assert fold_average_gamma([log_probs] * folds) == pytest.approx(1)
    rng = np.random.default_rng(seed)
    noisy = [normalised(log_probs + rng.normal(size=log_probs.shape)) for _ in range(folds)]
    assert 1 <= fold_average_gamma(noisy) <= folds
    # On a handful of rows the ratio is luck: nothing is corrected.
    few = [one[:19] for one in noisy]
    assert fold_average_gamma(few) == 1
    assert ensemble_gamma(few, few, normalised(np.mean(few, axis=0))) == 1


def test_gamma_restores_the_sharpness_that_averaging_took() -> None:
    rng = np.random.default_rng(0)
    log_probs, y = drawn(5, 20_000)
    folds = [normalised(0.6 * log_probs + rng.normal(size=log_probs.shape)) for _ in range(5)]
    beta = fit_temperature(folds[0], y).beta
    averaged = normalised(np.mean(folds, axis=0))
    ideal = fit_temperature(averaged, y)
    loss = {g: log_loss(normalised(beta * g * averaged), y) for g in (1.0, fold_average_gamma(folds))}
    gamma = fold_average_gamma(folds)
    best = log_loss(ideal.apply(averaged), y)
    assert loss[gamma] - best < 0.2 * (loss[1.0] - best)


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_the_ensembles_gamma_is_one_when_folds_agree_and_the_plain_one_without_corrections(
    seed: int, folds: int
) -> None:
    log_probs, _ = drawn(seed, 100)
    assert ensemble_gamma([log_probs] * folds, [log_probs] * folds, log_probs) == pytest.approx(1)
    rng = np.random.default_rng(seed)
    noisy = [normalised(log_probs + rng.normal(size=log_probs.shape)) for _ in range(folds)]
    averaged = normalised(np.mean(noisy, axis=0))
    assert ensemble_gamma(noisy, noisy, averaged) == pytest.approx(fold_average_gamma(noisy))


def test_the_ensembles_gamma_takes_back_what_members_corrections_do_twice() -> None:
    """Two members whose folds err alike: each gamma is right for its member, and too much for the sum."""
    rng = np.random.default_rng(0)
    log_probs, y = drawn(6, 40_000, scale=0.6)
    shared = [rng.normal(size=log_probs.shape) * 0.4 for _ in range(5)]
    members = [
        [log_probs + alike + rng.normal(size=log_probs.shape) * 0.3 for alike in shared] for _ in range(2)
    ]
    gammas = [fold_average_gamma([normalised(z) for z in member]) for member in members]

    def pooled(weights: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return normalised(weights[0] * first + weights[1] * second)

    def loss(weights: np.ndarray) -> float:
        return log_loss(pooled(weights, members[0][0], members[1][0]), y)

    weights = minimize(loss, [0.2, 0.2], method="BFGS").x
    single = [pooled(weights, *pair) for pair in zip(*members, strict=True)]
    after = [pooled(weights * gammas, *pair) for pair in zip(*members, strict=True)]
    averaged = pooled(weights * gammas, *[np.mean(member, axis=0) for member in members])
    gamma, ideal = ensemble_gamma(single, after, averaged), fit_temperature(averaged, y).beta
    assert gamma < 1
    assert ideal < 1
    assert gamma == pytest.approx(ideal, abs=0.04)


def test_gamma_needs_folds_of_one_shape() -> None:
    with pytest.raises(InputError, match="at least one"):
        fold_average_gamma([])
    with pytest.raises(InputError, match="different shapes"):
        fold_average_gamma([np.zeros((3, 3)), np.zeros((2, 3))])
    with pytest.raises(InputError, match="different shapes"):
        ensemble_gamma([np.zeros((3, 3))], [np.zeros((3, 3))], np.zeros((2, 3)))


def test_labels_of_any_kind_keep_their_names() -> None:
    log_probs, y = drawn(7, 300)
    names = np.array(["a wins", "b wins", "tie"])
    scaler = TemperatureScaler().fit(np.exp(log_probs), names[y])
    assert list(scaler.classes_) == list(names)
    assert set(scaler.predict(np.exp(log_probs))) <= set(names)
    with pytest.raises(ValueError, match="expected 3"):
        TemperatureScaler().fit(np.exp(log_probs), np.where(y == 0, "x", "z"))
    with pytest.raises(ValueError, match="3 columns"):
        SymmetricCalibrator().fit(np.full((4, 2), 0.5), [0, 1, 2, 0])


WIDTH = "the check fits 2, 4, 5 or 10 columns; here three outcomes are three columns, and all else is refused"
ARGMAX = "asks that a fit on one class predicts that class; a temperature never changes the argmax"


def expected_failures(estimator: object) -> dict[str, str]:
    return {**dict.fromkeys(FIT_OTHER_WIDTHS, WIDTH), "check_classifiers_one_label": ARGMAX}


FIT_OTHER_WIDTHS = (
    "check_classifier_data_not_an_array",
    "check_classifiers_classes",
    "check_classifiers_train",
    "check_dtype_object",
    "check_estimators_dtypes",
    "check_estimators_fit_returns_self",
    "check_estimators_overwrite_params",
    "check_fit_check_is_fitted",
    "check_fit_idempotent",
    "check_n_features_in",
    "check_n_features_in_after_fitting",
    "check_positive_only_tag_during_fit",
    "check_readonly_memmap_input",
)


@parametrize_with_checks(
    [TemperatureScaler(input="logits"), SymmetricCalibrator(input="logits")],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_checks(estimator: object, check: object) -> None:
    check(estimator)  # type: ignore[operator]
