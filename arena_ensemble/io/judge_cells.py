"""Cells of judges that hold more than one answer: lists of samples, and label probabilities by label."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from .cells import is_missing, python_value
from .verdict_words import LOST, NUMBERED, verdict_of

Place = TypeVar("Place")


def listed(cell: Any) -> list[Any] | None:
    """The samples of a cell that is a list, or its JSON or Python text; None for any other cell.

    ``[[A]]`` is a verdict, and a list of lists or of objects holds no samples.
    """
    found: Any = None
    if isinstance(cell, (list, tuple)):
        found = list(cell)
    elif (
        isinstance(cell, str) and (text := cell.strip())[:1] == "[" and text[-1:] == "]" and text[1:2] != "["
    ):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = python_value(text)
    if not isinstance(found, list) or any(isinstance(one, (list, tuple, dict)) for one in found):
        return None
    return found


def spread_out(places: Sequence[Place], cells: Sequence[Any]) -> tuple[list[Place], list[Any]]:
    """Each sample of a listed cell as a cell of its own, at the cell's place; an empty list is missing."""
    if not any(isinstance(one, (list, tuple)) or (isinstance(one, str) and "[" in one) for one in cells):
        return list(places), list(cells)
    where, found = list[Place](), list[Any]()
    for place, cell in zip(places, cells, strict=True):
        samples = listed(cell)
        for one in [cell] if samples is None else samples or [None]:
            where.append(place)
            found.append(one)
    return where, found


def label_masses(cell: Any) -> tuple[float, float, float] | None:
    """P(A), P(B), P(tie) of a cell that maps labels to them, ``{"A": .7, "B": .2, "C": .1}``.

    Values of which one is negative are natural logarithms, and are scaled to sum to one, since other words
    take the rest. Keys are spelled as verdicts are; those that are none are left out, and two of one meaning
    (``A`` and `` A``) are added. A label without a value has none of the probability.

    Returns
    -------
    None where the cell is no such mapping.
    """
    if isinstance(cell, str) and cell.strip()[:1] == "{":
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            return None
    if not isinstance(cell, Mapping):
        return None
    pairs = []
    for key, value in cell.items():
        code = verdict_of(key, numbers=NUMBERED)
        if code == LOST or is_missing(value):
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        pairs.append((code, float(value)))
    if not {0, 1} & {code for code, _ in pairs}:
        return None
    logs = any(value < 0 for _, value in pairs)
    masses = [0.0, 0.0, 0.0]
    for code, value in pairs:
        masses[code] += math.exp(min(value, 700.0)) if logs else value
    return scaled(masses) if logs else (masses[0], masses[1], masses[2])


def from_logs(values: Sequence[float]) -> tuple[float, float, float]:
    """Log-probabilities (A, B[, tie]) as probabilities that sum to one; NaN where one is missing."""
    top = max(values)
    if any(math.isnan(value) for value in values) or math.isinf(top):
        return (math.nan,) * 3
    masses = [math.exp(value - top) for value in values]
    return scaled([*masses, *[0.0] * (3 - len(masses))])


def scaled(masses: Sequence[float]) -> tuple[float, float, float]:
    """The same three, so that they sum to one."""
    total = sum(masses)
    if not total > 0:
        return (math.nan,) * 3
    return masses[0] / total, masses[1] / total, masses[2] / total
