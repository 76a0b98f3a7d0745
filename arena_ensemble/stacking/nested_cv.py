"""Nested cross-fitting that shares its fits.

With K folds, fold j is predicted by a model fitted without {i, j}, both when i is the outer fold and j the
inner one and the other way round. So K(K-1)/2 fits without two folds and K without one give every outer
fold its own inner out-of-fold predictions: 15 fits a candidate for K = 5 instead of 25.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..metrics import Labels
from ..predictions import Floats
from .base import Candidate, Model, extended
from .design import DesignSource
from .fit_progress import FitProgress
from .selection import CandidateSet, Decision, averaging_share, decide, decision_log_probs

_log = logging.getLogger(__name__)

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FitSettings:
    """How candidates are fitted and chosen: `Stacker`'s parameters of these names."""

    seed: int
    threads: int
    tolerance: float
    honest: bool


@dataclass(frozen=True)
class OofPath:
    """What one candidate predicts along its path on rows that its fits did not see, (V, rows, 2) each.

    ``outside[j]`` is fold j's, by a fit without j; ``pair[i, j]`` fold j's, by one without i and j;
    ``models[j]`` is the fit without j, where it is kept.
    """

    outside: dict[int, Floats]
    pair: dict[tuple[int, int], Floats]
    models: dict[int, Model] = field(default_factory=dict)


def cross_fit_paths(
    candidates: Sequence[Candidate],
    design: DesignSource,
    y: Labels,
    folds: Codes,
    *,
    seed: int,
    pairs: bool,
    threads: int = 1,
    keep_models: bool = False,
    progress: FitProgress | None = None,
) -> dict[str, OofPath]:
    """Fit each candidate on every set of folds that the nested score needs, and predict the folds left out.

    The fits are independent and most of their time is spent outside Python's lock, so that they run
    on ``threads`` threads; the result does not depend on how many. ``keep_models`` keeps the fits without
    one fold, for further rows. ``progress`` hears of each fit.
    """
    counted = progress or FitProgress()
    count = int(folds.max()) + 1
    left_out: list[tuple[int, ...]] = [(j,) for j in range(count)]
    if pairs:
        left_out += list(itertools.combinations(range(count), 2))

    def fit_and_predict(task: tuple[Candidate, tuple[int, ...]]) -> tuple[Model | None, list[Floats]]:
        candidate, out = task
        kept = np.flatnonzero(~np.isin(folds, out))
        model = candidate.fit(design.leaving_out(folds, out), y[kept], seed)
        found = [model.predict_path(design.held_out(folds, out, j)) for j in out]
        return model if keep_models and len(out) == 1 else None, found

    tasks = [(candidate, out) for candidate in candidates for out in left_out]
    with ThreadPoolExecutor(max_workers=threads) as pool:
        # The slowest candidates are listed last and started first, so that no thread waits at the end.
        done = dict[tuple[Candidate, tuple[int, ...]], tuple[Model | None, list[Floats]]]()
        found = pool.map(fit_and_predict, reversed(tasks))
        try:
            for candidate, out in reversed(tasks):
                counted.begun(candidate)
                done[candidate, out] = next(found)
                counted.ended(candidate)
        except BaseException:  # an interrupt waits for the fits at work, not for all of them
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    paths: dict[str, OofPath] = {}
    for candidate in candidates:
        outside = {out[0]: done[candidate, out][1][0] for out in left_out if len(out) == 1}
        pair: dict[tuple[int, int], Floats] = {}
        for out in left_out:
            if len(out) == 2:
                i, j = out
                # What the fit without i and j predicts of fold i serves outer fold j, and vice versa.
                pair[j, i], pair[i, j] = done[candidate, out][1]
        models = {out[0]: model for out in left_out if (model := done[candidate, out][0]) is not None}
        paths[candidate.name] = OofPath(outside, pair, models)
    return paths


def fits_per_candidate(folds: int, *, pairs: bool) -> int:
    """Fits of one candidate in `cross_fit_paths` on so many folds."""
    return folds + (math.comb(folds, 2) if pairs else 0)


def in_row_order(parts: dict[int, Floats], folds: Codes, use: Sequence[int]) -> Floats:
    """Paths (V, n', 2) of the folds in ``use``, joined in row order; V is that of the longest."""
    rows = np.isin(folds, list(use))
    length = max(len(parts[j]) for j in use)
    out = np.empty((length, int(rows.sum()), 2))
    for j in use:
        out[:, folds[rows] == j] = extended(parts[j], length)
    return out


@dataclass(frozen=True)
class NestedResult:
    """What nested cross-fitting found: the choice for all rows, and the honest score of choosing."""

    decision: Decision
    fold_decisions: dict[int, Decision]
    candidate_log_probs: dict[str, Floats]
    """Candidate → (n, 3) log-probabilities, everything about a row learned on other folds."""
    log_probs: Floats
    """(n, 3) of the whole procedure: each fold by what would have been chosen without it."""


def select_nested(
    candidates: CandidateSet,
    paths: dict[str, OofPath],
    y: Labels,
    groups: Codes,
    folds: Codes,
    *,
    repeats: Sequence[tuple[Codes, dict[str, OofPath]]] = (),
    tolerance: float,
    honest: bool = True,
) -> NestedResult:
    """Choose on all rows, and once without each fold to score the choosing.

    Without ``honest`` every fold is predicted by the choice made on all rows: an optimistic score.
    ``repeats`` holds other folds and their paths, for the choice on all rows alone: the scored choices,
    made on one set of folds, are then expected to be a little worse than the one that predicts.
    """
    everything = list(range(int(folds.max()) + 1))
    averaging = averaging_share(len(y))
    runs = [(folds, paths), *repeats]
    decision = _decide_on_all(candidates, runs, y, groups, tolerance=tolerance, averaging=averaging)
    names = [*paths, *(blend.name for blend in candidates.blends)]
    candidate_log_probs = {name: np.empty((len(y), 3)) for name in names}
    log_probs = np.empty((len(y), 3))
    fold_decisions: dict[int, Decision] = {}
    for i in everything:
        others = [j for j in everything if j != i]
        rows = np.flatnonzero(folds != i)
        outer = decision
        if honest:
            inner = {
                name: in_row_order({j: path.pair[i, j] for j in others}, folds, others)
                for name, path in paths.items()
            }
            outer = decide(candidates, inner, y[rows], groups[rows], tolerance=tolerance, averaging=averaging)
        fold_decisions[i] = outer
        held = folds == i
        here = {name: path.outside[i] for name, path in paths.items()}
        tie_logit = candidates.predicts_tie_logit
        for name in names:
            candidate_log_probs[name][held] = decision_log_probs(outer, here, tie_logit, name)
        log_probs[held] = decision_log_probs(outer, here, tie_logit)
        _log.debug("outer fold %d: %s", i, outer.choice)
    return NestedResult(decision, fold_decisions, candidate_log_probs, log_probs)


def _decide_on_all(
    candidates: CandidateSet,
    runs: Sequence[tuple[Codes, dict[str, OofPath]]],
    y: Labels,
    groups: Codes,
    *,
    tolerance: float,
    averaging: float,
) -> Decision:
    """The decision on all rows, each run's folds counted as further observations of the same battles."""
    stacked = {}
    for name in runs[0][1]:
        found = [
            in_row_order(paths[name].outside, folds, sorted(paths[name].outside)) for folds, paths in runs
        ]
        length = max(map(len, found))
        stacked[name] = np.concatenate([extended(path, length) for path in found], axis=1)
    count = len(runs)
    return decide(
        candidates,
        stacked,
        np.tile(y, count),
        np.tile(groups, count),
        tolerance=tolerance,
        repeats=count,
        averaging=averaging,
    )
