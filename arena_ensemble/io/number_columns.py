"""A column of numbers that is read some rows at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass
class NumberColumn:
    """A column's numbers, some rows at a time: cells themselves would be ten times the memory."""

    parts: list[npt.NDArray[np.float64]] = field(default_factory=list)
    rows: int = 0
    wrong: tuple[int, Any] | None = None
    """row from 0 and cell of the first that is no number"""

    def add(self, cells: Sequence[Any]) -> None:
        """Further cells; what is no number is NaN from here on."""
        try:
            values = np.array([float(cell) for cell in cells], dtype=np.float64)
        except (TypeError, ValueError):
            values = np.array([_float_or_nan(cell) for cell in cells], dtype=np.float64)
        if self.wrong is None and np.isnan(values).any():
            first = int(np.isnan(values).argmax())
            self.wrong = self.rows + first, cells[first]
        self.parts.append(values)
        self.rows += len(cells)


def _float_or_nan(cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return math.nan
