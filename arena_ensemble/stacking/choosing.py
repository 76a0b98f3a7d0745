"""The choice between candidates for rows of any number: cross-fitted on one set of folds, or several."""

from __future__ import annotations

from ..folds.split import stratified_group_folds
from ..metrics import group_codes
from . import plenty
from .design import Design, DesignSource
from .fit_progress import FitProgress
from .nested_cv import Codes, NestedResult, OofPath, cross_fit_paths, fits_per_candidate, select_nested
from .row_folds import repeats_for
from .selection import CandidateSet


def choose(
    candidates: CandidateSet,
    design: DesignSource,
    y: Codes,
    groups: Codes,
    folds: Codes,
    *,
    seed: int,
    threads: int,
    tolerance: float,
    honest: bool,
    progress: FitProgress,
) -> NestedResult:
    """Cross-fit on the folds, and where rows are few on others too: one set of folds is a lottery.

    Where rows are plentiful the choice is made on a sample of groups, see `plenty`.
    """
    if isinstance(design, Design):
        found = plenty.select(
            candidates,
            design,
            y,
            groups,
            folds,
            seed=seed,
            threads=threads,
            tolerance=tolerance,
            honest=honest,
            progress=progress,
        )
        if found is not None:
            return found
    count, again = int(folds.max()) + 1, repeats_for(len(y)) - 1
    times = fits_per_candidate(count, pairs=honest) + again * fits_per_candidate(count, pairs=False)
    progress.expect(candidates.candidates, times)

    def cross_fit(by: Codes, seed: int, *, pairs: bool) -> dict[str, OofPath]:
        return cross_fit_paths(
            candidates.candidates, design, y, by, seed=seed, pairs=pairs, threads=threads, progress=progress
        )

    paths = cross_fit(folds, seed, pairs=honest)
    repeats = []
    for number in range(1, again + 1):
        other = (seed + number) % 2**32
        others = stratified_group_folds(y, groups, n_folds=count, seed=other)
        by = group_codes(others, len(y))
        repeats.append((by, cross_fit(by, other, pairs=False)))
    progress.choosing()
    return select_nested(
        candidates, paths, y, groups, folds, repeats=repeats, tolerance=tolerance, honest=honest
    )
