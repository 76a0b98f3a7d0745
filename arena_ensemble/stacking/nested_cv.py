"""Nested cross-fitting that shares its fits.

With K folds, rows of fold j are read by a model fitted without {i, j}, both when i is the outer
fold and j the inner one and the other way round. So K(K-1)/2 pair fits and K single ones give every
outer fold its own inner out-of-fold readings: 15 fits a family for K = 5 instead of 25.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..metrics import Labels
from ..predictions import Floats
from .base import Family
from .design import Design
from .selection import Decision, Menu, combined, decide

_log = logging.getLogger(__name__)

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Readings:
    """Readings of one family on rows that its fits did not see.

    ``outside[j]`` holds fold j's, by a fit without j; ``pair[i, j]`` fold j's, by one without i and j.
    """

    outside: dict[int, Floats]
    pair: dict[tuple[int, int], Floats]


def cross_readings(
    families: Sequence[Family],
    design: Design,
    y: Labels,
    folds: Codes,
    *,
    seed: int,
    pairs: bool,
    threads: int = 1,
) -> dict[str, Readings]:
    """Fit each family on every set of folds that the nested score needs, and read the folds left out.

    The fits are independent and most of their time is spent outside Python's lock, so that they run
    on ``threads`` threads; the result does not depend on how many.
    """
    count = int(folds.max()) + 1
    rows = [np.flatnonzero(folds == j) for j in range(count)]
    left_out: list[tuple[int, ...]] = [(j,) for j in range(count)]
    if pairs:
        left_out += list(itertools.combinations(range(count), 2))

    def read(task: tuple[Family, tuple[int, ...]]) -> list[Floats]:
        family, out = task
        kept = np.flatnonzero(~np.isin(folds, out))
        model = family.fit(design.take(kept), y[kept], seed)
        return [model.readings(design.take(rows[j])) for j in out]

    tasks = [(family, out) for family in families for out in left_out]
    with ThreadPoolExecutor(max_workers=threads) as pool:
        # The slowest families are listed last and started first, so that no thread waits at the end.
        done = dict(zip(reversed(tasks), pool.map(read, reversed(tasks)), strict=True))
    found: dict[str, Readings] = {}
    for family in families:
        outside = {out[0]: done[family, out][0] for out in left_out if len(out) == 1}
        pair: dict[tuple[int, int], Floats] = {}
        for out in left_out:
            if len(out) == 2:
                i, j = out
                # The reading of fold i by the fit without i and j serves outer fold j, and vice versa.
                pair[j, i], pair[i, j] = done[family, out]
        found[family.name] = Readings(outside, pair)
    return found


def assembled(parts: dict[int, Floats], folds: Codes, use: Sequence[int]) -> tuple[Floats, Codes]:
    """Readings (V, n', 2) of the folds in ``use`` back in row order, and which rows those are."""
    rows = np.flatnonzero(np.isin(folds, list(use)))
    first = parts[use[0]]
    out = np.empty((first.shape[0], len(rows), 2))
    for j in use:
        out[:, folds[rows] == j] = parts[j]
    return out, rows


@dataclass(frozen=True)
class Nested:
    """What nested cross-fitting found: the choice for all rows, and the honest score of choosing."""

    decision: Decision
    fold_decisions: dict[int, Decision]
    scored: dict[str, Floats]
    """Candidate → (n, 3) log-probabilities, everything about a row learned on other folds."""
    chosen: Floats
    """The same of the procedure: each fold by what would have been chosen without it."""


def nested(
    menu: Menu,
    readings: dict[str, Readings],
    y: Labels,
    groups: Codes,
    folds: Codes,
    *,
    again: Sequence[tuple[Codes, dict[str, Readings]]] = (),
    tolerance: float,
    honest: bool = True,
) -> Nested:
    """Choose on all rows, and once without each fold to score the choosing.

    Without ``honest`` every fold is read by the choice made on all rows: an optimistic score. ``again``
    holds other folds and their readings, for the choice on all rows alone: the scored choices, made on
    one set of folds, are then expected to be a little worse than the one that predicts.
    """
    count = int(folds.max()) + 1
    everything = list(range(count))
    rounds = [(folds, readings), *again]
    whole = {
        name: np.concatenate([assembled(made[name].outside, by, everything)[0] for by, made in rounds], 1)
        for name in readings
    }
    times = len(rounds)
    decision = decide(
        menu, whole, np.tile(y, times), np.tile(groups, times), tolerance=tolerance, repeats=times
    )
    names = [*readings, *(mix.name for mix in menu.mixes)]
    scored = {name: np.empty((len(y), 3)) for name in names}
    chosen = np.empty((len(y), 3))
    fold_decisions: dict[int, Decision] = {}
    for i in everything:
        others = [j for j in everything if j != i]
        rows = np.flatnonzero(folds != i)
        made = decision
        if honest:
            inner = {
                name: assembled({j: r.pair[i, j] for j in others}, folds, others)[0]
                for name, r in readings.items()
            }
            made = decide(menu, inner, y[rows], groups[rows], tolerance=tolerance)
        fold_decisions[i] = made
        held = folds == i
        here = {name: r.outside[i] for name, r in readings.items()}
        for name in names:
            scored[name][held] = combined(made, here, menu.factored, name)
        chosen[held] = combined(made, here, menu.factored)
        _log.debug("outer fold %d: %s", i, made.choice)
    return Nested(decision, fold_decisions, scored, chosen)
