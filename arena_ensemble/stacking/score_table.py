"""The rows of the stacker's score table: prior, members, candidates, the whole procedure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from ..calibration import fit_temperature
from ..metrics import Labels, ScoreEntry, prior_log_probs
from ..predictions import Floats, from_delta_tau
from .design import Design
from .nested_cv import Codes, NestedResult
from .pooling import TEMPERATURE_ROWS
from .selection import CandidateSet

PRIOR_ROW: Final = "prior"
ENSEMBLE_ROW: Final = "ensemble"
TEMPERED: Final = ", temperature"
"""behind the name of a member: after its temperature"""


def score_entries(
    design: Design, y: Labels, folds: Codes, candidates: CandidateSet, found: NestedResult, *, honest: bool
) -> Iterator[ScoreEntry]:
    """Entries for `metrics.score_rows`: the prior first, the ensemble last, each made when it is asked for.

    A member that is named like another row is called ``NAME (member)``. ``honest`` is False where the
    candidates were chosen on the rows that score them.
    """
    yield ScoreEntry(
        PRIOR_ROW, "baseline", prior_log_probs(y, folds), note="class frequencies of the other folds"
    )
    taken = {PRIOR_ROW, ENSEMBLE_ROW, *found.candidate_log_probs}
    for member, delta, tau in zip(design.members, design.delta.T, design.tau.T, strict=True):
        log_probs = from_delta_tau(delta, tau)
        name = f"{member} (member)" if member in taken else member
        yield ScoreEntry(name, "member", log_probs)
        yield ScoreEntry(f"{name}{TEMPERED}", "member", tempered_out_of_fold(log_probs, y, folds))
    rank = {name: place for place, name in enumerate(candidates.order)}
    for name, log_probs in found.candidate_log_probs.items():
        if name != PRIOR_ROW:
            yield ScoreEntry(name, "candidate", log_probs, rank.get(name), honest)
    frequency = found.decision.selection_frequency
    largest = sorted(frequency.items(), key=lambda one: -one[1])
    note = "; ".join(f"{name} {share:.0%}" for name, share in largest)
    yield ScoreEntry(ENSEMBLE_ROW, "choice", found.log_probs, None, honest, note)


def tempered_out_of_fold(log_probs: Floats, y: Labels, folds: Codes) -> Floats:
    """A member after its temperature (n, 3), each fold's fitted on the other folds."""
    out = np.empty_like(log_probs)
    for fold in range(int(folds.max()) + 1):
        held = folds == fold
        fitted = fit_temperature(log_probs[~held], y[~held], prior_rows=TEMPERATURE_ROWS)
        out[held] = fitted.apply(log_probs[held])
    return out
