"""Where rows are plentiful: choosing on a sample of groups, fitting on a million rows, predicting in parts.

A candidate with p free numbers loses about p / (2 m) by being fitted on m rows. The richest without features
have some 60 numbers, so that a fit on four fifths of 200,000 rows is within 2e-4 of what all rows would give,
and choosing among a dozen such candidates costs less than that. Nested cross-fitting needs 15 fits of each
candidate; on the sample these take as long, and as much memory, however many rows there are. What was chosen
is fitted on a million rows at most, and every row is scored by what the sample's other folds gave.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .base import path_at
from .design import Design, DesignSource
from .fit_progress import FitProgress
from .nested_cv import (
    Codes,
    FitSettings,
    NestedResult,
    OofPath,
    cross_fit_paths,
    fits_per_candidate,
    select_nested,
)
from .row_folds import LabelledRows
from .selection import CandidateSet, decision_log_probs

PLENTY_ROWS: Final = 200_000
"""Past this many rows candidates are chosen on a sample of as many."""
FITTED_ROWS: Final = 1_000_000
"""Past this many rows what was chosen is fitted on a sample of as many: 60 numbers lose 3e-5 by it."""
FITTED_NUMBERS: Final = 1 << 27
"""At most so many numbers of members and features are fitted on, 1 GiB: the fits hold several copies."""
_PART_ROWS: Final = 1 << 15


def whole_groups(groups: Codes, most: int, *, seed: int) -> npt.NDArray[np.int64] | None:
    """Rows of random whole groups, ``most`` and at most one group more, in order; None where that is all."""
    if len(groups) <= most:
        return None
    sizes = np.bincount(groups)
    order = np.random.default_rng(seed).permutation(len(sizes))
    last = int(np.searchsorted(np.cumsum(sizes[order]), most))
    taken = np.zeros(len(sizes), dtype=np.bool_)
    taken[order[: last + 1]] = True
    rows = np.flatnonzero(taken[groups])
    return rows if len(rows) < len(groups) else None


def sampled_rows(groups: Codes, folds: Codes, *, seed: int) -> npt.NDArray[np.int64] | None:
    """The rows to choose on: `PLENTY_ROWS` of whole groups.

    None where there are not more rows than that, or a fold has none of them.
    """
    rows = whole_groups(groups, PLENTY_ROWS, seed=seed)
    if rows is None:
        return None
    return rows if len(np.unique(folds[rows])) == int(folds.max()) + 1 else None


def fitted_rows(source: DesignSource, groups: Codes, *, seed: int) -> npt.NDArray[np.int64] | None:
    """The rows to fit on what was chosen, whole groups; None where that is all of them."""
    if not isinstance(source, Design):  # its inputs are learned themselves
        return None
    width = max(1, 2 * len(source.members) + source.n_features)
    return whole_groups(groups, max(PLENTY_ROWS, min(FITTED_ROWS, FITTED_NUMBERS // width)), seed=seed)


def select(
    candidates: CandidateSet,
    design: Design,
    rows: LabelledRows,
    settings: FitSettings,
    progress: FitProgress,
) -> NestedResult | None:
    """As `nested_cv.select_nested`, on a sample of the rows; None where they are not plentiful."""
    places = sampled_rows(rows.groups, rows.folds, seed=settings.seed)
    if places is None:
        return None
    sample = rows.take(places)
    progress.expect(
        candidates.candidates, fits_per_candidate(rows.n_folds, pairs=settings.honest), len(sample)
    )
    paths = cross_fit_paths(
        candidates.candidates,
        design.take(places),
        sample.y,
        sample.folds,
        seed=settings.seed,
        pairs=settings.honest,
        threads=settings.threads,
        keep_models=True,
        progress=progress,
    )
    progress.choosing()
    found = select_nested(
        candidates,
        paths,
        sample.y,
        sample.groups,
        sample.folds,
        tolerance=settings.tolerance,
        honest=settings.honest,
    )
    return _scored_on_all(candidates, found, paths, places, design, rows.folds, threads=settings.threads)


def _scored_on_all(
    candidates: CandidateSet,
    found: NestedResult,
    paths: dict[str, OofPath],
    rows: npt.NDArray[np.int64],
    design: Design,
    folds: Codes,
    *,
    threads: int,
) -> NestedResult:
    """What was found on the sample ``rows``, and the predictions of all others by the fits on it.

    A row outside the sample lies in fold i: it is predicted by the sample's fits without fold i, combined by
    the choice that was made without fold i. Candidates' tables are of 32 bits, half the memory.
    """
    rest = np.ones(len(design), dtype=np.bool_)
    rest[rows] = False
    names = list(found.candidate_log_probs)
    tables: dict[str, npt.NDArray[Any]] = {
        name: np.empty((len(design), 3), dtype=np.float32) for name in names
    }
    log_probs = np.empty((len(design), 3))
    for name in names:
        tables[name][rows] = found.candidate_log_probs[name]
    log_probs[rows] = found.log_probs
    predicts_tie_logit = candidates.predicts_tie_logit

    def predict(task: tuple[int, npt.NDArray[np.int64]]) -> None:
        fold, part = task
        decision, seen = found.fold_decisions[fold], design.take(part)
        here = {
            name: path_at(path.models[fold], seen, decision.path_index[name]) for name, path in paths.items()
        }
        for name in names:
            tables[name][part] = decision_log_probs(decision, here, predicts_tie_logit, name)
        log_probs[part] = decision_log_probs(decision, here, predicts_tie_logit)

    with ThreadPoolExecutor(max_workers=threads) as pool:
        for _ in pool.map(predict, _parts(rest, folds, list(found.fold_decisions))):
            pass
    return replace(found, candidate_log_probs=tables, log_probs=log_probs)


def _parts(
    rest: npt.NDArray[np.bool_], folds: Codes, numbers: list[int]
) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """A fold and some of its rows among the ``rest``, until all had their turn; all are read in order."""
    span = _PART_ROWS * len(numbers)
    for start in range(0, len(rest), span):
        rows = slice(start, start + span)
        for fold in numbers:
            held = np.flatnonzero(rest[rows] & (folds[rows] == fold))
            if len(held):
                yield fold, held + start
