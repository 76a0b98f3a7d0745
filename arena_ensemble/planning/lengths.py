"""How long battles are, in tokens, from their bytes: no tokenizer and no torch."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ..battles import Battles
from ..prompts import get_template, turns_of

BYTES_PER_TOKEN: Final = 4.0
"""UTF-8 bytes of text per token, an assumption: tokenizers of these bases give 3.5 to 4.5 on English"""

Lengths = npt.NDArray[np.float64]
"""(n, 3) tokens of prompt, response A, response B, before any cut"""


def lengths_of(battles: Battles, template: str = "plain-1") -> Lengths:
    """Token counts (n, 3) of real battles, from their bytes (:data:`BYTES_PER_TOKEN`)."""
    columns = turns_of(battles, get_template(template))
    sizes = [
        [sum(len(turn.encode("utf-8", "replace")) for turn in turns) / BYTES_PER_TOKEN for turns in column]
        for column in columns
    ]
    return np.asarray(sizes, dtype=np.float64).T.reshape(-1, 3)


def sampled_lengths(battles: Battles, most: int = 2000) -> Lengths:
    """The same of every n-th battle: of at most ``most`` of them."""
    step = max(1, -(-len(battles) // most))
    return lengths_of(battles.take(np.arange(0, len(battles), step)))
