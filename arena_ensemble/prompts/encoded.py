"""What stands between texts and a model: literals as token ids, and rows of token ids end to end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]
Encode = Callable[[Sequence[str]], list[Ids]]
"""Token ids of each text, without special tokens."""

PROMPT, RESPONSE_A, RESPONSE_B = 0, 1, 2
"""Segments: whose text a token is. Literals belong to the text that they announce, the cue to 0."""


@dataclass(frozen=True, eq=False)
class TokenizedTemplate:
    """The literals of a template as token ids, special tokens of the tokenizer included."""

    opening: Ids
    before_a: Ids
    before_b: Ids
    before_response: Ids
    cue: Ids
    turn: Ids
    marker: Ids
    rounds: bool = False
    """prompt, A and B of one round after the other"""

    @property
    def fixed(self) -> int:
        """Tokens of a row of two responses that are never cut."""
        return sum(map(len, (self.opening, self.before_a, self.before_b, self.cue)))

    def digest(self) -> str:
        """SHA-256 over all ids."""
        ids = {name: getattr(self, name).tolist() for name in self.__dataclass_fields__ if name != "rounds"}
        return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Encoded:
    """Rows of token ids, end to end.

    Parameters
    ----------
    tokens
        (total,) int32.
    segments
        (total,) int8 in {0, 1, 2}: prompt, response A, response B.
    offsets
        (n + 1,) int64: row i is ``tokens[offsets[i]:offsets[i + 1]]``.
    cut
        (n, 3) int32: tokens left out of prompt, response A, response B.
    """

    tokens: Ids
    segments: npt.NDArray[np.int8]
    offsets: npt.NDArray[np.int64]
    cut: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(n,) tokens per row."""
        return np.diff(self.offsets)

    def facts(self) -> dict[str, Any]:
        """Truncation per side, for the card."""
        sides = ("prompt", "response_a", "response_b")
        return {
            "rows": len(self),
            "tokens": int(self.offsets[-1]),
            "longest_row_tokens": int(self.lengths.max(initial=0)),
            "truncated_rows": {side: int((self.cut[:, k] > 0).sum()) for k, side in enumerate(sides)},
            "truncated_tokens": {side: int(self.cut[:, k].sum()) for k, side in enumerate(sides)},
        }
