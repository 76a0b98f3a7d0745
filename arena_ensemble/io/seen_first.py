"""Columns that say which answer a judge saw first, under the names and in the words that people give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..errors import InputError
from ..judgements import First
from .cells import is_missing
from .column_names import Columns
from .judge_columns import filled_heads
from .tables import Table

_NAMES: Final = ("first", "shown_first", "seen_first", "first_shown")
_ORDERS: Final = (
    "first_answer", "first_response", "order", "presentation_order", "answer_order", "response_order",
    "position", "presentation",
)  # fmt: skip
_FLAGS: Final = (
    "swapped", "is_swapped", "swap", "flipped", "is_flipped", "flip", "reversed", "is_reversed", "exchanged",
    "swapped_order", "order_swapped",
)  # fmt: skip
_WORDS: Final[Mapping[str, First]] = {
    **dict.fromkeys(
        (
            "a", "model_a", "response_a", "answer_a", "ab", "a_b", "a_first", "original", "orig", "normal",
            "forward", "straight", "unswapped", "not_swapped", "standard",
        ),
        First.A,
    ),
    **dict.fromkeys(
        (
            "b", "model_b", "response_b", "answer_b", "ba", "b_a", "b_first", "swapped", "swap", "reversed",
            "reverse", "flipped", "flip", "backward", "inverted", "exchanged",
        ),
        First.B,
    ),
    **dict.fromkeys(("", "both", "unknown", "none", "null", "nan"), First.UNKNOWN),
}  # fmt: skip
_YES: Final = {
    **dict.fromkeys(("true", "yes", "1", "1.0"), First.B),
    **dict.fromkeys(("false", "no", "0", "0.0"), First.A),
}


@dataclass(frozen=True)
class OrderColumn:
    """A column that says what was seen first."""

    name: str
    flag: bool = False
    """whether it marks the calls that saw B first: ``swapped``"""

    def read(self, cell: Any, where: str) -> First:
        """What a judge saw first; an empty cell is unknown.

        Raises
        ------
        InputError
            Any other text.
        """
        found = _first(cell, flag=self.flag)
        if found is None:
            expected = "yes or no" if self.flag else "a or b"
            raise InputError(
                f"{where}: {self.name} is {str(cell).strip()[:30]!r}, expected {expected}; write which "
                "answer was seen first"
            )
        return found


def order_column(table: Table, columns: Columns) -> OrderColumn | None:
    """The column of a file that says what was seen first; None where there is none.

    A column ``first`` always does; ``order``, ``position`` and the like do where their first filled cells can
    be read so, and do not where they hold other numbers than 0, 1 and 2, as a row's number is, or many texts.

    Raises
    ------
    InputError
        Two numbers or words of which either may be A.
    """
    named = next((found for found in map(columns.find, _NAMES) if found is not None), None)
    if named is not None:
        return OrderColumn(named)
    for names, flag in ((_ORDERS, False), (_FLAGS, True)):
        for name in filter(None, map(columns.find, names)):
            cells = filled_heads(table, [name])[name]
            if cells and all(_first(cell, flag=flag) is not None for cell in cells):
                return OrderColumn(name, flag)
            values = sorted({str(cell).strip() for cell in cells})
            if 0 < len(values) <= 2 and not any(_counts(one) for one in values):
                raise InputError(
                    f"{table.name}: {name} is {' or '.join(one[:20] for one in values)}, which does not say "
                    "which answer the judge saw first; write a column first with a or b, or leave it out"
                )
    return None


def _counts(text: str) -> bool:
    """Whether this is a number that cannot mean one of two answers."""
    try:
        return float(text) not in (0, 1, 2)
    except ValueError:
        return False


def _first(cell: Any, *, flag: bool) -> First | None:
    if isinstance(cell, bool):
        cell = str(cell)
    text = "" if is_missing(cell) else str(cell).strip().lower()
    if flag and text in _YES:
        return _YES[text]
    plain = "_".join(part for part in "".join(c if c.isalnum() else " " for c in text).split())
    return _WORDS.get(plain) if plain or not text else None
