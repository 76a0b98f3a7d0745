"""Texts of judged pairs from a file of battles, which may name a pair the other way round."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from ..battles import Battles, align_rows
from ..errors import InputError
from ..judgements.pair_names import exchanged_ids, match_pairs

KINDS: Final = ("whole numbers", "texts")


def texts_of(battles: Battles, ids: pl.Series, *, name: str) -> Battles:
    """The battles of the pairs (n,), in that order and under these ids.

    A pair that is there as ``item|b|a`` only is that of ``item|a|b``, its answers exchanged.

    Parameters
    ----------
    name
        The file of the battles, for the error.

    Raises
    ------
    InputError
        A pair without text, or ids of another type.
    """
    asked, exchanged = ids, np.zeros(len(ids), dtype=bool)
    if battles.ids.dtype != ids.dtype:
        raise InputError(
            f"{name}: ids are {KINDS[battles.ids.dtype == pl.String]}, such as {battles.ids[0]!r}, those of "
            f"the judged pairs {KINDS[ids.dtype == pl.String]}, such as {ids[0]!r}; write them alike"
        )
    if battles.ids.dtype == ids.dtype:
        exchanged = match_pairs(battles.ids, ids)[1]
        asked = pl.select(pl.when(pl.Series(exchanged)).then(exchanged_ids(ids)).otherwise(ids).alias("id"))[
            "id"
        ]
    rows = align_rows(
        battles.ids, asked, name=name, missing="without text", remedy="add them, or leave out --text"
    )
    frame = battles.frame[rows]
    if exchanged.any():
        both = pl.concat([battles.frame, battles.swapped().frame])
        frame = both[np.where(exchanged, rows + len(battles), rows)]
    return Battles(frame.with_columns(ids.alias("id")))
