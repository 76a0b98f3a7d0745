"""The rows of the stacker's score table: prior, members, candidates, the whole procedure."""

from __future__ import annotations

from typing import Final

import numpy as np

from ..calibration import fit_temperature
from ..metrics import Labels, ScoreEntry, prior_log_probs
from ..predictions import Floats
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
) -> list[ScoreEntry]:
    """Entries for `metrics.score_rows`: the prior first, the ensemble last.

    A member that is named like another row is called ``NAME (member)``. ``honest`` is False where the
    candidates were chosen on the rows that score them.
    """
    prior = prior_log_probs(y, folds)
    entries = [ScoreEntry(PRIOR_ROW, "baseline", prior, note="class frequencies of the other folds")]
    taken = {PRIOR_ROW, ENSEMBLE_ROW, *found.candidate_log_probs}
    for member, log_probs in zip(design.members, design.log_probs, strict=True):
        name = f"{member} (member)" if member in taken else member
        entries.append(ScoreEntry(name, "member", log_probs))
        tempered = tempered_out_of_fold(log_probs, y, folds)
        entries.append(ScoreEntry(f"{name}{TEMPERED}", "member", tempered))
    rank = {name: place for place, name in enumerate(candidates.order)}
    for name, log_probs in found.candidate_log_probs.items():
        if name != PRIOR_ROW:
            entries.append(ScoreEntry(name, "candidate", log_probs, rank.get(name), honest))
    frequency = found.decision.selection_frequency
    note = "; ".join(f"{name} {share:.0%}" for name, share in frequency.items())
    entries.append(ScoreEntry(ENSEMBLE_ROW, "choice", found.log_probs, None, honest, note))
    return entries


def tempered_out_of_fold(log_probs: Floats, y: Labels, folds: Codes) -> Floats:
    """A member after its temperature (n, 3), each fold's fitted on the other folds."""
    out = np.empty_like(log_probs)
    for fold in range(int(folds.max()) + 1):
        held = folds == fold
        fitted = fit_temperature(log_probs[~held], y[~held], prior_rows=TEMPERATURE_ROWS)
        out[held] = fitted.apply(log_probs[held])
    return out
