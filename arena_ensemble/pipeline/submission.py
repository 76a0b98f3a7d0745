"""Test battles in, submission out: fold averages, their correction, the stacker."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..artifacts import members, store
from ..battles import Battles
from ..calibration import Temperature, ensemble_gamma, fold_average_gamma
from ..features import Features, extract
from ..io import write_submission, write_winners
from ..predictions import Floats, Predictions, average_folds, without_ties
from .ensemble import ENSEMBLE, Ensemble

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TestPrediction:
    """The ensemble's log-probabilities (n, 3) of the test battles, and how much was sharpened."""

    __test__ = False  # not a test class, whatever pytest thinks of the name

    log_probs: Floats
    gammas: dict[str, float]
    """Each member's gamma, and under ``"ensemble"`` the ensemble's own, on top of them."""
    outcomes: int = 3


def predict(workspace: store.Workspace, ensemble: Ensemble, test: Battles) -> TestPrediction:
    """The ensemble's prediction of test battles that every member has read.

    Each member's fold readings are averaged in (delta, tau) and sharpened by its gamma, since an
    average of folds is less sharp than the single-fold readings that the stacker was fitted on; what
    that leaves to the ensemble is the last gamma. They are kept in ``oof/ensemble/test.json``.

    Raises
    ------
    InputError
        A member has no test predictions, or not of these ids.
    """
    folds: dict[str, list[Predictions]] = {}
    for name in ensemble.members:
        parts = members.load_test(workspace, name)
        aligned = [part.aligned_to(test.ids, name=f"test predictions of {name!r}") for part in parts]
        folds[name] = [part.without_ties() for part in aligned] if ensemble.outcomes == 2 else aligned
    prediction = combine(ensemble, folds, extract(test))
    log.info("gamma of fold averages: %s", ", ".join(f"{k} {v:.3f}" for k, v in prediction.gammas.items()))
    note = {"test": test.digest(), "rows": len(test), "gammas": prediction.gammas}
    store.write_json(workspace.oof / ENSEMBLE / "test.json", note)
    return prediction


def combine(
    ensemble: Ensemble, folds: Mapping[str, Sequence[Predictions]], features: Features
) -> TestPrediction:
    """What the ensemble makes of its members' readings by fold (one reading where folds are unknown)."""
    folds = {name: [one.combined() for one in parts] for name, parts in folds.items()}
    gammas = {name: fold_average_gamma([one.log_probs for one in parts]) for name, parts in folds.items()}
    sharp = {
        name: [replace(one, log_probs=Temperature(gammas[name]).apply(one.log_probs)) for one in parts]
        for name, parts in folds.items()
    }
    averages = {name: average_folds(parts) for name, parts in sharp.items()}
    log_probs = ensemble.log_probs(averages, features)
    count = max(len(parts) for parts in folds.values())
    if count > 1:
        plain, sharpened = (
            [
                ensemble.log_probs({name: parts[k % len(parts)] for name, parts in given.items()}, features)
                for k in range(count)
            ]
            for given in (folds, sharp)
        )
        gammas[ENSEMBLE] = ensemble_gamma(plain, sharpened, log_probs)
        log_probs = Temperature(gammas[ENSEMBLE]).apply(log_probs)
    if ensemble.outcomes == 2:
        log_probs = without_ties(log_probs)
    return TestPrediction(log_probs, gammas, ensemble.outcomes)


def write(
    path: Path, test: Battles, prediction: TestPrediction, *, sample_submission: Path | None = None
) -> None:
    """Write the submission: ids and order of the test file, rows sum to one, whole or absent.

    A task of two outcomes gets its own kind: ``id,winner``.
    """
    write_file = write_winners if prediction.outcomes == 2 else write_submission
    write_file(path, test.ids, prediction.log_probs, sample=sample_submission)
