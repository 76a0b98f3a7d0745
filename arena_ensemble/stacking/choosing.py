"""The choice between candidates for rows of any number: cross-fitted on one set of folds, or several."""

from __future__ import annotations

from ..folds.split import stratified_group_folds
from ..metrics import group_codes
from . import sampling
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
from .row_folds import LabelledRows, repeats_for
from .selection import CandidateSet


def choose(
    candidates: CandidateSet,
    design: DesignSource,
    rows: LabelledRows,
    settings: FitSettings,
    progress: FitProgress,
) -> NestedResult:
    """Cross-fit on the folds, and where rows are few on others too: one set of folds is a lottery.

    Where rows are plentiful the choice is made on a sample of groups, see `sampling`.
    """
    if isinstance(design, Design):
        found = sampling.select(candidates, design, rows, settings, progress)
        if found is not None:
            return found
    count, again = rows.n_folds, repeats_for(len(rows)) - 1
    times = fits_per_candidate(count, pairs=settings.honest) + again * fits_per_candidate(count, pairs=False)
    progress.expect(candidates.candidates, times, len(rows))

    def cross_fit(folds: Codes, seed: int, *, pairs: bool) -> dict[str, OofPath]:
        return cross_fit_paths(
            candidates.candidates,
            design,
            rows.y,
            folds,
            seed=seed,
            pairs=pairs,
            threads=settings.threads,
            progress=progress,
        )

    paths = cross_fit(rows.folds, settings.seed, pairs=settings.honest)
    repeats = []
    for number in range(1, again + 1):
        seed = (settings.seed + number) % 2**32
        others = stratified_group_folds(rows.y, rows.groups, n_folds=count, seed=seed)
        folds = group_codes(others, len(rows))
        repeats.append((folds, cross_fit(folds, seed, pairs=False)))
    progress.choosing()
    return select_nested(
        candidates,
        paths,
        rows.y,
        rows.groups,
        rows.folds,
        repeats=repeats,
        tolerance=settings.tolerance,
        honest=settings.honest,
    )
