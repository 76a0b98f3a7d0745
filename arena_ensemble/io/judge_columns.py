"""Which columns of a wide table are judges': verdicts, scores, probabilities, and which are people's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from .cells import is_missing
from .column_names import canonical
from .tables import Table
from .verdict_words import LOST, NUMBERED, verdict_of

ANNOTATORS: Final = re.compile(r"(annotator|expert|human|rater|vote)([_ -].*|\d*)\Z", re.IGNORECASE)
"""Columns of people, never of judges."""
HEAD_ROWS: Final = 200
"""rows by which a column is judged"""


def suffixed(table: Table, suffixes: tuple[str, str]) -> dict[str, tuple[str, ...]]:
    """Judge → its two columns (and the one of the tie where it is there)."""
    found = {}
    for name in table.columns:
        if name.endswith(suffixes[0]) and not name.endswith(":score_a" if suffixes[0] == "_a" else "\0"):
            judge = name.removesuffix(suffixes[0])
            other, tie = judge + suffixes[1], judge + "_tie"
            if (
                judge
                and other in table.columns
                and canonical(judge) not in ("winner_model", "model", "response")
            ):
                found[judge] = (
                    name,
                    other,
                    *((tie,) if suffixes[0] == "_a" and tie in table.columns else ()),
                )
    return found


def numeric_columns(table: Table, names: Sequence[str]) -> bool:
    """Whether the filled cells of the first rows are numbers."""
    cells = [cell for row in table.head(names, HEAD_ROWS) for cell in row if not is_missing(cell)]
    return bool(cells) and all(_is_number(cell) for cell in cells)


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


def holds_verdicts(cells: Sequence[Any]) -> bool:
    """Whether at least half of the filled cells are verdicts; a column of any other text is no judge."""
    filled = [cell for cell in cells if not is_missing(cell)]
    read = sum(verdict_of(cell, numbers=NUMBERED) != LOST for cell in filled)
    return bool(filled) and 2 * read >= len(filled)
