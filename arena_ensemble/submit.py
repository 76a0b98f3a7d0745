"""Test battles in, submission out: fold averages, their correction, the stacker."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from . import member_files, readers, store
from .battles import Battles
from .calibrate import fold_average_gamma
from .ensemble import Ensemble
from .features import extract
from .predictions import Floats, Predictions, average_folds, delta_tau, from_delta_tau, without_ties

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TestPrediction:
    """The ensemble's log-probabilities (n, 3) of the test battles, and each member's gamma."""

    __test__ = False  # not a test class, whatever pytest thinks of the name

    log_probs: Floats
    gammas: dict[str, float]
    outcomes: int = 3


def predict(workspace: store.Workspace, ensemble: Ensemble, test: Battles) -> TestPrediction:
    """The ensemble's prediction of test battles that every member has read.

    Each member's fold readings are averaged in (delta, tau) and sharpened by its gamma, since an
    average of folds is less sharp than the single-fold readings that the stacker was fitted on.

    Raises
    ------
    InputError
        A member has no test predictions, or not of these ids.
    """
    members: dict[str, Predictions] = {}
    gammas: dict[str, float] = {}
    for name in ensemble.members:
        parts = member_files.load_test(workspace, name)
        aligned = [part.aligned_to(test.ids, name=f"test predictions of {name!r}") for part in parts]
        if ensemble.outcomes == 2:
            aligned = [part.without_ties() for part in aligned]
        readings = [part.combined().log_probs for part in aligned]
        gammas[name] = fold_average_gamma(readings)
        average = average_folds(aligned)
        delta, tau = delta_tau(average.log_probs)
        sharpened = from_delta_tau(gammas[name] * delta, gammas[name] * tau)
        members[name] = replace(average, log_probs=sharpened)
    log.info("gamma of fold averages: %s", ", ".join(f"{k} {v:.3f}" for k, v in gammas.items()))
    log_probs = ensemble.log_probs(members, extract(test))
    if ensemble.outcomes == 2:
        log_probs = without_ties(log_probs)
    return TestPrediction(log_probs, gammas, ensemble.outcomes)


def write(
    path: Path, test: Battles, prediction: TestPrediction, *, sample_submission: Path | None = None
) -> None:
    """Write the submission: ids and order of the test file, rows sum to one, whole or absent.

    A task of two outcomes gets its own kind: ``id,winner``.
    """
    write_file = readers.write_winners if prediction.outcomes == 2 else readers.write_submission
    write_file(path, test.ids, prediction.log_probs, sample=sample_submission)
