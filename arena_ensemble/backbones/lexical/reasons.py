"""Which words and pairs of words a fitted lexical member counts for either answer."""

from __future__ import annotations

from typing import Final

from ...battles import Battles
from .model import WORD_SCALE, Lexical, side_text
from .tfidf import END, START, Tfidf

_NAMES: Final = {START: "[start]", END: "[end]", "\n": "[new line]", "\n\n": "[empty line]"}


def word_parts(fitted: Lexical, battle: Battles) -> dict[str, float]:
    """Term → what it adds to delta (above 0: for A) of the one battle; they sum to delta without features.

    A term is a word, a run of punctuation or line breaks, or two of them in a row; terms of which both
    answers have the same share are left out.
    """
    a, b = (fitted.words.transform(side_text(battle, column)) for column in ("response_a", "response_b"))
    lead = (a - b).tocoo()
    parts = lead.data * fitted.coefficients.odd[0][lead.col] * WORD_SCALE["odd"]
    found = zip(lead.col.tolist(), parts.tolist(), strict=True)
    return {_name(fitted.words, column): part for column, part in found if part}


def _name(words: Tfidf, column: int) -> str:
    count = len(words.words)
    terms = [column] if column < count else words.pairs[column - count].tolist()
    return " ".join(_NAMES.get(words.words[term], words.words[term].replace("\n", "⏎")) for term in terms)
