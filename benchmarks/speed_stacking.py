"""Seconds of the ensemble half, beside the peers' in the same run: medians of seven.

Temperature of 57,477 rows beside scikit-learn's own core and beside its public call, in turn; greedy
selection beside AutoGluon's ``EnsembleSelection`` (set ARENA_PEERS_AUTOGLUON to a Python that has it)
with the same weights; the paired bootstrap; and one whole default ``Stacker.fit`` with its peak memory.

    python benchmarks/speed_stacking.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from simulated_oof import simulate
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV, _TemperatureScaling
from sklearn.frozen import FrozenEstimator

from arena_ensemble.calibration import TemperatureScaler, fit_temperature
from arena_ensemble.metrics import log_loss, paired_difference, row_losses
from arena_ensemble.stacking import Stacker
from arena_ensemble.stacking.pool_weights import greedy_weights, true_class_probs

AUTOGLUON = """
import json, sys, time
import numpy as np
from autogluon.core.metrics import log_loss
from autogluon.core.models.greedy_ensemble.ensemble_selection import EnsembleSelection
data = np.load(sys.argv[1])
seconds = []
for _ in range(int(sys.argv[2])):
    start = time.perf_counter()
    model = EnsembleSelection(ensemble_size=25, problem_type="multiclass", metric=log_loss)
    model.fit(list(data["probs"]), data["y"])
    seconds.append(time.perf_counter() - start)
print(json.dumps({"seconds": seconds, "weights": list(model.weights_)}))
"""


def median_seconds(call: Callable[[], Any], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def alternated(first: Callable[[], Any], second: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median seconds of two calls, run in turn, so that a busy moment of the machine meets both."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for call, into in zip((first, second), seconds, strict=True):
            start = time.perf_counter()
            call()
            into.append(time.perf_counter() - start)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


class AsIs(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts the probabilities that it is given: what scikit-learn's public call calibrates."""

    def fit(self, X: Any, y: Any) -> Any:
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: Any) -> Any:
        return X

    def predict(self, X: Any) -> Any:
        return self.classes_[X.argmax(axis=1)]


def autogluon(probs: Any, y: Any, repeats: int) -> dict[str, Any] | None:
    python = os.environ.get("ARENA_PEERS_AUTOGLUON")
    if not python:
        print("ARENA_PEERS_AUTOGLUON is not set: AutoGluon is skipped")
        return None
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder, "in.npz"), probs=probs, y=y)
        command = [python, "-c", AUTOGLUON, str(Path(folder, "in.npz")), str(repeats)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"AutoGluon failed: {done.stderr.strip().splitlines()[-1]}")
        return None
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="stacker on 3,000 rows, three repeats")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    options = parser.parse_args()
    rows, repeats = (3000, 3) if options.quick else (57_477, 7)
    out: dict[str, Any] = {"rows": rows, "temperature_rows": 57_477}
    kinds = ["strong", "weak", "sure", "shy", "curved", "weak"]
    whole = simulate("speed", kinds, 57_477, 0)
    shown, y = list(whole.members.values())[2], whole.y
    one = np.log(shown)
    out["temperature_public"], out["temperature_public_scikit_learn"] = alternated(
        lambda: TemperatureScaler().fit(shown, y),
        lambda: CalibratedClassifierCV(FrozenEstimator(AsIs().fit(shown, y)), method="temperature").fit(
            shown, y
        ),
        repeats,
    )
    out["temperature_public_ratio"] = out["temperature_public_scikit_learn"] / out["temperature_public"]
    out["temperature"], out["temperature_scikit_learn"] = alternated(
        lambda: fit_temperature(one, y), lambda: _TemperatureScaling().fit(one, y), repeats
    )
    ours = fit_temperature(one, y).beta
    theirs = float(_TemperatureScaling().fit(one, y).beta_)
    out["temperature_betas"] = [ours, theirs]
    out["temperature_ratio"] = out["temperature_scikit_learn"] / out["temperature"]
    scene = simulate("speed", kinds, rows, 0)
    log_probs = np.log(np.stack(list(scene.members.values())))
    y = scene.y
    out["greedy"] = median_seconds(lambda: greedy_weights(true_class_probs(log_probs, y), 25), repeats)
    peer = autogluon(np.exp(log_probs), y, repeats)
    if peer is not None:
        out["greedy_autogluon"] = statistics.median(peer["seconds"])
        out["greedy_ratio"] = out["greedy_autogluon"] / out["greedy"]
        mine = greedy_weights(true_class_probs(log_probs, y), 25)
        out["greedy_weights_differ_by"] = float(np.abs(mine - np.array(peer["weights"])).max())
    first, second = row_losses(log_probs[0], y), row_losses(log_probs[1], y)
    out["log_loss_and_bootstrap"] = median_seconds(
        lambda: (log_loss(log_probs[0], y), paired_difference(first, second)), repeats
    )
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
    stacker = Stacker(random_state=0).fit(scene.members, y)
    out["stacker_fit"] = time.perf_counter() - start
    out["stacker_fit_cpu"] = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    out["stacker_choice"] = stacker.choice_
    out["peak_MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for name, value in out.items():
        print(f"{name:28s} {value}")
    if options.json:
        print(json.dumps(out))


if __name__ == "__main__":
    main()
