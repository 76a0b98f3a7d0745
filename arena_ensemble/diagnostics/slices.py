"""Where a predictor loses: its log-loss on parts of the battles, beside the prior's on the same parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..metrics import standard_error
from ..predictions import Floats


@dataclass(frozen=True)
class Slice:
    """A part of the battles: mean loss in nats, its clustered standard error, and a reference's mean loss."""

    name: str
    rows: int
    log_loss: float
    se: float
    reference: float


@dataclass(frozen=True)
class Cut:
    """Battles cut into parts: (n,) ``codes`` into ``names``, -1 for a row that is in none."""

    title: str
    names: tuple[str, ...]
    codes: npt.NDArray[np.int64]


def losses_by(
    cut: Cut, losses: Floats, reference: Floats, groups: npt.ArrayLike | None = None
) -> tuple[Slice, ...]:
    """The parts that hold a row, in the order of the cut's names.

    Parameters
    ----------
    losses, reference
        (n,) row losses of the predictor and of what it is compared with.
    groups
        (n,) group of each row, by which standard errors are clustered.
    """
    codes = None if groups is None else np.asarray(groups)
    found = []
    for place, name in enumerate(cut.names):
        rows = np.flatnonzero(cut.codes == place)
        if len(rows):
            se = standard_error(losses[rows], None if codes is None else codes[rows])
            found.append(
                Slice(name, len(rows), float(losses[rows].mean()), se, float(reference[rows].mean()))
            )
    return tuple(found)


def cut_at(title: str, values: npt.ArrayLike, edges: Sequence[float], names: Sequence[str]) -> Cut:
    """Rows by where their value lies between edges: part k holds ``edges[k - 1] <= value < edges[k]``."""
    return Cut(title, tuple(names), np.searchsorted(np.asarray(edges), np.asarray(values), side="right"))


def cut_by_size(title: str, values: npt.ArrayLike, *, parts: int = 5) -> Cut:
    """Parts of about equal count, each named by its least and largest value; fewer where values repeat."""
    sizes = np.asarray(values, dtype=np.int64)
    edges = np.unique(np.quantile(sizes, np.arange(1, parts) / parts, method="higher"))
    edges = edges[edges > sizes.min()]
    codes = np.searchsorted(edges, sizes, side="right")
    names = []
    for place in range(len(edges) + 1):
        inside = sizes[codes == place]
        low, high = int(inside.min()), int(inside.max())
        names.append(f"{low:,}" if low == high else f"{low:,} to {high:,}")
    return Cut(title, tuple(names), codes)
