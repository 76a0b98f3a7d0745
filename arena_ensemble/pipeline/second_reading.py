"""Which battles to read in the second order too, when only a share of them can be.

Some rows, drawn by a hash of their ids, are read twice first: the pilot. They show how much a second
reading changes what this member says, and whether that happens to rows that it is sure of or to close
ones. Members differ: a noisy one is mended most where it is surest. The rest of the share goes where
the change is expected to be largest, and the pilot, being random, also tells what reading all twice
would have gained. No outcome is needed to choose.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ..losses import LOG_FLOOR
from ..predictions import Floats, delta_tau, from_delta_tau

Rows = npt.NDArray[np.int64]

_PILOT_SHARE: Final = 0.25
_PILOT_ROWS: Final = 1000


def pilot_rows(ids: pl.Series, share: float) -> Rows:
    """The rows read twice first: a quarter of those that may be, 1,000 at most; sorted.

    Which ones depends on the ids alone, not on their order.
    """
    count = min(math.ceil(_PILOT_SHARE * math.ceil(share * len(ids))), _PILOT_ROWS)
    marks = [hashlib.blake2b(str(name).encode("utf-8", "replace"), digest_size=8).digest() for name in ids]
    return np.sort(np.argsort(np.asarray(marks, dtype="S8"), kind="stable")[:count]).astype(np.int64)


def expected_change(shown: Floats, other: Floats, pilot: Rows) -> Floats:
    """How much a second reading is expected to change each row's answer, (n,), in nats.

    The change is the divergence KL(both || shown) of the two orders' combination from the shown one.
    It is fitted on the pilot as a straight line in the rank of |delta|.

    Parameters
    ----------
    shown
        (n, 3) log-probabilities of the shown order.
    other
        (n, 3) of the swapped order, mapped back; only the pilot's rows are looked at.
    pilot
        Rows that were read twice.
    """
    rank = np.abs(delta_tau(shown)[0]).argsort(kind="stable").argsort(kind="stable")
    place = (rank + 0.5) / max(len(shown), 1)
    if len(pilot) < 2:
        return np.asarray(-place, dtype=np.float64)  # nothing was learned: the closest rows first
    both = combined(shown[pilot], other[pilot])
    change = (np.exp(both) * (both - np.maximum(shown[pilot], LOG_FLOOR))).sum(axis=1)
    centred = place[pilot] - place[pilot].mean()
    slope = float(centred @ change / max(centred @ centred, 1e-12))
    return np.asarray(change.mean() + slope * (place - place[pilot].mean()), dtype=np.float64)


def remaining_rows(shown: Floats, other: Floats, pilot: Rows, share: float) -> Rows:
    """The rows to read twice besides the pilot, so that ``share`` of all are; sorted."""
    score = expected_change(shown, other, pilot)
    score[pilot] = -np.inf
    count = max(0, math.ceil(share * len(shown)) - len(pilot))
    return np.sort(np.argsort(-score, kind="stable")[:count])


def combined(shown: Floats, other: Floats) -> Floats:
    """Log-probabilities (n, 3) of both readings: their mean in (delta, tau)."""
    first, second = delta_tau(shown), delta_tau(other)
    return from_delta_tau((first[0] + second[0]) / 2, (first[1] + second[1]) / 2)


def cost(ids: pl.Series, shown: Floats, other: Floats, share: float, losses: tuple[Floats, Floats]) -> Floats:
    """Loss above reading all twice, of each pilot row (p,): its mean is what the share costs per row.

    The pilot is random, so a row of it stands for all: were it no pilot row, it would be read twice only
    if its expected change were among the largest.

    Parameters
    ----------
    ids, shown, other, share
        Of one reading, as :func:`pilot_rows` and :func:`remaining_rows` had them.
    losses
        (n,) losses of the shown order, and of both; the second is looked at in the pilot's rows alone.
    """
    pilot = pilot_rows(ids, share)
    rest = remaining_rows(shown, other, pilot, share)
    score = expected_change(shown, other, pilot)
    limit = score[rest].min() if len(rest) else math.inf
    left = (score[pilot] < limit) & (len(pilot) + len(rest) < len(shown))
    return np.where(left, losses[0][pilot] - losses[1][pilot], 0.0)


def facts(parts: list[tuple[int, int, Floats]]) -> dict[str, Any]:
    """For a member's card: of ``(rows, rows read twice, cost of the pilot's rows)`` by reading."""
    rows = sum(part[0] for part in parts)
    costs = np.concatenate([part[2] for part in parts])
    known = len(costs) > 1
    return {
        "rows_read_twice": sum(part[1] for part in parts),
        "of_rows": rows,
        "pilot_rows": len(costs),
        "log_loss_above_reading_all_twice": float(costs.mean() * (1 - len(costs) / rows)) if known else None,
        "standard_error": float(costs.std(ddof=1) / math.sqrt(len(costs))) if known else None,
    }
