"""Pairs named ``item|a|b``: ``item|b|a`` is the same pair with its answers exchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ..battles import match_rows

_NAMED: Final = r"(?s)\A(.*)\|([^|]+)\|([^|]+)\z"


def pair_parts(ids: pl.Series) -> pl.DataFrame:
    """Columns ``item, answer_a, answer_b`` of each id; null where an id does not end in two names."""
    names = ("item", "answer_a", "answer_b")
    if ids.dtype != pl.String:
        return pl.DataFrame(
            {name: [None] * len(ids) for name in names}, schema=dict.fromkeys(names, pl.String)
        )
    return pl.DataFrame({name: ids.str.extract(_NAMED, place) for place, name in enumerate(names, start=1)})


def exchanged_ids(ids: pl.Series) -> pl.Series:
    """The id of the pair with its answers exchanged; null where an id names no two different answers."""
    joined = pl.concat_str(["item", "answer_b", "answer_a"], separator="|")
    other = pl.when(pl.col("answer_a") != pl.col("answer_b")).then(joined)
    return pair_parts(ids).select(other.alias("id"))["id"]


def names_pairs(ids: pl.Series) -> bool:
    """Whether every id is ``item|a|b`` of two different answers.

    One that is not, such as a date ``2024|01|01``, shows that the ids of its table mean something else.
    """
    return ids.dtype == pl.String and not exchanged_ids(ids).null_count()


def match_pairs(ids: pl.Series, wanted: pl.Series) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The row of ``ids`` at which each wanted pair stands, and whether its answers stand exchanged there.

    Parameters
    ----------
    ids
        Unique ids.
    wanted
        Ids of the same type. One that is not among ``ids`` is looked for with its answers exchanged, where
        all ids of both tables name pairs.

    Returns
    -------
    rows, exchanged
        (len(wanted),) each; row -1 where the pair is there in neither form.
    """
    rows = match_rows(ids, wanted)
    exchanged = np.zeros(len(rows), dtype=bool)
    lost = np.flatnonzero(rows < 0)
    if len(lost) and names_pairs(wanted) and names_pairs(ids):
        found = match_rows(ids, exchanged_ids(wanted[lost]))
        rows[lost], exchanged[lost] = found, found >= 0
    return rows, exchanged


def exchange_note(ids: pl.Series, wanted: pl.Series) -> str | None:
    """What to tell a person whose pairs are joined with their answers exchanged; None where none is."""
    return Exchanges.of(ids, wanted).note


@dataclass(frozen=True)
class Exchanges:
    """Pairs that are joined with their answers exchanged, counted over some rows of a table."""

    count: int = 0
    pairs: int = 0
    """all pairs of the table"""
    example: tuple[str, str] | None = None
    """one of them, and what it was joined with"""
    odd: str | None = None
    """an id of the table that names no pair: where there is one, nothing of it may be exchanged"""

    @classmethod
    def of(cls, ids: pl.Series, wanted: pl.Series) -> Exchanges:
        """Of ``wanted``, joined with ``ids``."""
        rows, exchanged = match_pairs(ids, wanted)
        first = int(exchanged.argmax()) if len(exchanged) else 0
        example = (str(wanted[first]), str(ids[int(rows[first])])) if exchanged.any() else None
        return cls(int(exchanged.sum()), len(wanted), example, odd_name(wanted))

    def __add__(self, other: Exchanges) -> Exchanges:
        """Of both."""
        return Exchanges(
            self.count + other.count,
            self.pairs + other.pairs,
            self.example or other.example,
            self.odd if self.odd is not None else other.odd,
        )

    @property
    def note(self) -> str | None:
        """What to tell of them."""
        if self.example is None:
            return None
        one, two = self.example
        return (
            f"{self.count} of {self.pairs} pairs are joined with their answers exchanged, such as {one!r} "
            f"with {two!r}: ids are read as item|answer_a|answer_b; if the parts of yours mean something "
            "else, write another sign for |"
        )


def odd_name(ids: pl.Series) -> str | None:
    """The first id that names no pair of two different answers; None where all do."""
    lost = ids.filter(exchanged_ids(ids).is_null())
    return str(lost[0]) if len(lost) else None


def joined_ids(parts: list[pl.Series]) -> pl.Series:
    """Every pair of several tables once, in order of appearance, in the form in which it comes first.

    Both forms are kept where one table holds both: they may have been judged apart.
    """
    ids = parts[0]
    for part in parts[1:]:
        rows, exchanged = match_pairs(ids, part)
        if part.dtype == pl.String:
            exchanged &= match_rows(part, exchanged_ids(part)) >= 0
        ids = pl.concat([ids, part.filter(pl.Series((rows < 0) | exchanged))])
    return ids


def pair_names(ids: pl.Series) -> pl.Series:
    """(n,) one name for each pair, the same for both of its forms."""
    other = exchanged_ids(ids)
    names = ids.cast(pl.String)
    return pl.select(pl.when(other < names).then(other).otherwise(names).alias("id"))["id"]


def pair_codes(ids: pl.Series) -> npt.NDArray[Any]:
    """(n,) a number for each pair, the same for both of its forms."""
    first = pair_names(ids)
    return np.asarray(np.unique(first.to_numpy(), return_inverse=True)[1], dtype=np.int64)
