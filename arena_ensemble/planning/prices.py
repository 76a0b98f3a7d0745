"""What a card costs an hour: named assumptions with their source and day, to be replaced by your own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..errors import InputError


@dataclass(frozen=True)
class Price:
    """Dollars an hour."""

    dollars: float
    what: str
    source: str

    def __str__(self) -> str:
        """In words."""
        return f"${self.dollars:g} an hour ({self.what}; {self.source})"


_CATALOG: Final = (
    "SkyPilot's catalog of AWS, catalogs/v7/aws/vms.csv at 27f67dd, median of us-east-1's zones; it has no "
    "date and is of before AWS' cut of p5 prices in 2025"
)
ON_DEMAND: Final = {
    "H100": Price(3.99, "Lambda, one of 8 x H100 SXM", "lambda.ai/instances, 2026-09-20"),
    "L4": Price(0.8048, "AWS g6.xlarge", _CATALOG),
    "A10G": Price(1.006, "AWS g5.xlarge", _CATALOG),
}
"""one card, by its name in the table of cards"""
SPOT: Final = {
    "H100": Price(3.39, "an eighth of AWS p5.48xlarge, spot", _CATALOG),
    "L4": Price(0.404, "AWS g6.xlarge, spot", _CATALOG),
    "A10G": Price(0.404, "AWS g5.xlarge, spot", _CATALOG),
}
CPU_SPOT: Final = Price(0.191, "AWS m7i-flex.2xlarge, 8 threads of 4 cores, spot", _CATALOG)
"""a node without a card"""


def price_of(card: str, *, spot: bool) -> Price:
    """The price of one card.

    Raises
    ------
    InputError
        None is known.
    """
    table = SPOT if spot else ON_DEMAND
    if card not in table:
        raise InputError(f"no price of {card} is known here: give --price, dollars a node and hour")
    return table[card]
