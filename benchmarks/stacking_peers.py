"""Peers of the stacker, run by another interpreter: never imported by the package.

Reads ``IN.npz`` (probs (M, n, 3), y (n,), folds (n,)), fits every peer on four folds, predicts the
fifth, and writes ``OUT.npz`` with log-probabilities (n, 3) by peer and ``seconds``. A peer that is
not installed here is left out. Several pairs of files share one start of the interpreter.

    PEERS_PYTHON benchmarks/stacking_peers.py IN.npz OUT.npz [IN.npz OUT.npz …]
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

warnings.filterwarnings("ignore")
Array = Any
Peer = Callable[[Array, Array, Array], Array]


def safe_log(probs: Array) -> Array:
    probs = np.clip(probs, 1e-15, 1)
    return np.log(probs / probs.sum(axis=-1, keepdims=True))


def nll(y: Array, probs: Array) -> float:
    return float(-safe_log(probs)[np.arange(len(y)), y].mean())


def geometric(probs: Array) -> Array:
    return np.exp(safe_log(np.exp(safe_log(probs).mean(axis=0))))


def best_single(train: Array, y: Array, test: Array) -> Array:
    return test[int(np.argmin([nll(y, one) for one in train]))]


def arithmetic_mean(train: Array, y: Array, test: Array) -> Array:
    return test.mean(axis=0)


def geometric_mean(train: Array, y: Array, test: Array) -> Array:
    return geometric(test)


def flat(probs: Array) -> Array:
    return np.concatenate(list(probs), axis=1)


def lr_probs(train: Array, y: Array, test: Array) -> Array:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=2000).fit(flat(train), y).predict_proba(flat(test))


def lr_log_probs(train: Array, y: Array, test: Array) -> Array:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=0.1, max_iter=2000).fit(flat(safe_log(train)), y)
    return model.predict_proba(flat(safe_log(test)))


def lightgbm_with(**settings: Any) -> Peer:
    def peer(train: Array, y: Array, test: Array) -> Array:
        from lightgbm import LGBMClassifier

        model = LGBMClassifier(verbosity=-1, random_state=0, n_jobs=2, **settings).fit(flat(train), y)
        return model.predict_proba(flat(test))

    return peer


def hill_climbing(train: Array, y: Array, test: Array) -> Array:
    from functools import partial

    import pandas as pd
    from hillclimbers import climb_hill

    def flattened_loss(labels: Array, values: Array, width: int = 3) -> float:
        return nll(np.asarray(labels)[::width], np.asarray(values).reshape(-1, width))

    oof = pd.DataFrame({f"m{i}": one.ravel() for i, one in enumerate(train)})
    new = pd.DataFrame({f"m{i}": one.ravel() for i, one in enumerate(test)})
    labels = pd.DataFrame({"y": np.repeat(y, 3)})
    with contextlib.redirect_stdout(io.StringIO()):
        found = climb_hill(
            train=labels,
            oof_pred_df=oof,
            test_pred_df=new,
            target="y",
            objective="minimize",
            eval_metric=partial(flattened_loss, width=3),
            plot_hill=False,
            plot_hist=False,
        )
    return np.asarray(found).reshape(-1, 3)


def probmetrics_with(name: str) -> Peer:
    def peer(train: Array, y: Array, test: Array) -> Array:
        from probmetrics.calibrators import get_calibrator

        calibrator = get_calibrator(name)
        calibrator.fit(geometric(train), y)
        return calibrator.predict_proba(geometric(test))

    return peer


def autogluon_greedy(train: Array, y: Array, test: Array) -> Array:
    from autogluon.core.metrics import log_loss
    from autogluon.core.models.greedy_ensemble.ensemble_selection import EnsembleSelection

    model = EnsembleSelection(ensemble_size=25, problem_type="multiclass", metric=log_loss)
    model.fit(list(train), y)
    return np.tensordot(model.weights_, test, axes=1)


PEERS: dict[str, tuple[str, Peer]] = {
    "best single member": ("numpy", best_single),
    "arithmetic mean": ("numpy", arithmetic_mean),
    "geometric mean": ("numpy", geometric_mean),
    "LR on probabilities": ("sklearn", lr_probs),
    "LR on log-probabilities": ("sklearn", lr_log_probs),
    "LightGBM, defaults": ("lightgbm", lightgbm_with()),
    "LightGBM, small": (
        "lightgbm",
        lightgbm_with(
            n_estimators=150, num_leaves=7, learning_rate=0.04, min_child_samples=300, reg_lambda=10
        ),
    ),
    "hillclimbers": ("hillclimbers", hill_climbing),
    "geometric mean + probmetrics temperature": ("probmetrics", probmetrics_with("temp-scaling")),
    "geometric mean + probmetrics SMS": ("probmetrics", probmetrics_with("sms")),
    "AutoGluon greedy": ("autogluon.core", autogluon_greedy),
}


def main(source: str, target: str) -> None:
    from importlib.util import find_spec

    data = np.load(source)
    probs, y, folds = data["probs"], data["y"], data["folds"]
    out: dict[str, Array] = {}
    for name, (needs, peer) in PEERS.items():
        try:
            if find_spec(needs) is None:
                continue
        except ModuleNotFoundError:
            continue
        predicted = np.empty((len(y), 3))
        start = time.perf_counter()
        for fold in np.unique(folds):
            held = folds == fold
            predicted[held] = peer(probs[:, ~held], y[~held], probs[:, held])
        out[name] = safe_log(predicted)
        out[f"seconds:{name}"] = np.array(time.perf_counter() - start)
    np.savez(target, **out)


if __name__ == "__main__":
    for one, other in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        main(one, other)
