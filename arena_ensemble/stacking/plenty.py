"""The choice between candidates where rows are plentiful: on a sample of groups, finals and scores on all.

A candidate with p free numbers loses about p / (2 m) by being fitted on m rows. The richest without features
have some 60 numbers, so that a fit on four fifths of 200,000 rows is within 2e-4 of what all rows would give,
and choosing among a dozen such candidates costs less than that. Nested cross-fitting needs 15 fits of each
candidate; on the sample these take as long however many rows there are. What was chosen is fitted on all
rows, and every row is scored by what the sample's other folds gave.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from ..metrics import group_codes
from .design import Design
from .nested_cv import Codes, NestedResult, OofPath, cross_fit_paths, select_nested
from .selection import CandidateSet, decision_log_probs

PLENTY_ROWS: Final = 200_000
"""Past this many rows candidates are chosen on a sample of as many."""


def sampled_rows(groups: Codes, folds: Codes, *, seed: int) -> npt.NDArray[np.int64] | None:
    """The rows of random whole groups, `PLENTY_ROWS` and at most one group more, in order.

    None where there are not more rows than that, or a fold has none of them.
    """
    if len(groups) <= PLENTY_ROWS:
        return None
    sizes = np.bincount(groups)
    order = np.random.default_rng(seed).permutation(len(sizes))
    last = int(np.searchsorted(np.cumsum(sizes[order]), PLENTY_ROWS))
    taken = np.zeros(len(sizes), dtype=np.bool_)
    taken[order[: last + 1]] = True
    rows = np.flatnonzero(taken[groups])
    every = len(np.unique(folds[rows])) == int(folds.max()) + 1
    return rows if every and len(rows) < len(groups) else None


def select(
    candidates: CandidateSet,
    design: Design,
    y: Codes,
    groups: Codes,
    folds: Codes,
    *,
    seed: int,
    threads: int,
    tolerance: float,
    honest: bool,
) -> NestedResult | None:
    """As `nested_cv.select_nested`, on a sample of the rows; None where they are not plentiful."""
    rows = sampled_rows(groups, folds, seed=seed)
    if rows is None:
        return None
    rest = np.setdiff1d(np.arange(len(y)), rows, assume_unique=True)
    labels, by = y[rows], folds[rows]
    paths = cross_fit_paths(
        candidates.candidates,
        design.take(rows),
        labels,
        by,
        seed=seed,
        pairs=honest,
        threads=threads,
        others=(design.take(rest), folds[rest]),
    )
    codes = group_codes(groups[rows], len(rows))
    found = select_nested(candidates, paths, labels, codes, by, tolerance=tolerance, honest=honest)
    return _scored_on_all(candidates, found, paths, rows, design, folds)


def _scored_on_all(
    candidates: CandidateSet,
    found: NestedResult,
    paths: dict[str, OofPath],
    rows: npt.NDArray[np.int64],
    design: Design,
    folds: Codes,
) -> NestedResult:
    """What was found on the sample ``rows``, and the predictions of all others by the fits on it.

    A row outside the sample lies in fold i: it is predicted by the sample's fits without fold i, combined by
    the choice that was made without fold i.
    """
    rest = np.ones(len(design), dtype=np.bool_)
    rest[rows] = False
    names = list(found.candidate_log_probs)
    tables = {name: np.empty((len(design), 3)) for name in names}
    log_probs = np.empty((len(design), 3))
    for name in names:
        tables[name][rows] = found.candidate_log_probs[name]
    log_probs[rows] = found.log_probs
    for fold, decision in found.fold_decisions.items():
        held = np.flatnonzero(rest & (folds == fold))
        here = {name: path.others[fold] for name, path in paths.items()}
        for name in names:
            tables[name][held] = decision_log_probs(decision, here, candidates.predicts_tie_logit, name)
        log_probs[held] = decision_log_probs(decision, here, candidates.predicts_tie_logit)
    return replace(found, candidate_log_probs=tables, log_probs=log_probs)
