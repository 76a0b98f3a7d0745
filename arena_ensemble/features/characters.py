"""Single characters of texts, taken out or counted on bytes: many times faster than by a pattern."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

Counts = npt.NDArray[np.int64]

_COMMON: Final = bytes(code for code in range(128) if chr(code).isalnum() or chr(code) in " \t\n\r.,!?'\"-")
_CAPITALS: Final = bytes(int(ord("A") <= code <= ord("Z")) for code in range(256))


def odd_ones(texts: pl.Series) -> pl.Series:
    """What is left of texts without ASCII letters and digits, blanks and the commonest punctuation."""
    left = [content.translate(None, _COMMON) for content in texts.cast(pl.Binary).to_list()]
    return pl.Series(texts.name, left, dtype=pl.Binary).cast(pl.String)


def capitals(texts: pl.Series) -> tuple[Counts, Counts]:
    """Of each text, the letters A to Z, and the runs of three or more of them."""
    content = b"\0".join([b"", *texts.cast(pl.Binary).to_list(), b"\0\0"])
    ends = np.cumsum(texts.str.len_bytes().to_numpy().astype(np.int64) + 1)
    capital = np.frombuffer(content.translate(_CAPITALS), dtype=np.bool_)
    three = capital[1:-2] & capital[2:-1] & capital[3:] & ~capital[:-3]
    each, runs = (np.searchsorted(np.flatnonzero(found), ends) for found in (capital, three))
    return np.diff(each, prepend=0), np.diff(runs, prepend=0)
