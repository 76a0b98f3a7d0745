"""Ways to cut battles into parts: outcome, length, turns, language, length difference."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from ..battles import Battles
from ..diagnostics.slices import Cut, cut_at, cut_by_size
from ..features.patterns import SCRIPTS

_LANGUAGES: Final = 8
_NAME: Final = 24
_SHARE: Final = 0.2
"""share of a prompt's characters from which a script other than Latin names it"""
_RATIOS: Final = (1.1, 1.5, 2.0, 4.0)
_RATIO_NAMES: Final = (
    "alike, within 10%",
    "1.1 to 1.5 times",
    "1.5 to 2 times",
    "2 to 4 times",
    "4 times or more",
)
_TURNS: Final = (2, 3, 4, 6)
_TURN_NAMES: Final = ("1 turn", "2 turns", "3 turns", "4 or 5 turns", "6 turns or more")
_SCRIPT_NAMES: Final = {
    "cyrillic": "Cyrillic",
    "cjk": "Chinese, Japanese, Korean",
    "arabic": "Arabic, Hebrew",
    "indic": "Indic, Thai",
    "accented": "Latin with accents",
}
_ACCENTED_SHARE: Final = 0.01


def cuts_of(battles: Battles) -> list[Cut]:
    """Every cut that the battles allow; one that has a single part says nothing and is left out."""
    outcomes = battles.outcomes()
    sizes = battles.frame.select(
        pl.col(f"response_{side}")
        .list.join("\n", ignore_nulls=True)
        .fill_null("")
        .str.len_chars()
        .alias(side)
        for side in "ab"
    )
    a, b = (sizes[side].to_numpy().astype(np.int64) for side in "ab")
    ratio = (np.maximum(a, b) + 1) / (np.minimum(a, b) + 1)
    shown = [
        Cut("Outcome", ("A wins", "B wins", "tie"), outcomes),
        cut_by_size("Characters of both answers", a + b),
        cut_at("Longer answer against the shorter", ratio, _RATIOS, _RATIO_NAMES),
        Cut(
            "Which answer won", ("the longer", "the shorter", "equal length", "tie"), _winner(a, b, outcomes)
        ),
        cut_at("Turns of the prompt", battles.frame["prompt"].list.len().to_numpy(), _TURNS, _TURN_NAMES),
        _language(battles) if "language" in battles.frame.columns else _script(battles),
    ]
    return [cut for cut in shown if len(np.unique(cut.codes)) > 1]


def _winner(
    a: np.ndarray[tuple[int], np.dtype[np.int64]],
    b: np.ndarray[tuple[int], np.dtype[np.int64]],
    outcomes: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """(n,) 0 the longer answer won, 1 the shorter one, 2 one of equal length, 3 none."""
    longer = np.where(a == b, -1, np.where(a > b, 0, 1))
    codes = np.where(outcomes == longer, 0, 1)
    codes = np.where(longer == -1, 2, codes)
    return np.where(outcomes == 2, 3, codes).astype(np.int64)


def _language(battles: Battles) -> Cut:
    """The commonest languages of the column ``language``, the others together."""
    column = battles.frame["language"].fill_null("unknown").str.slice(0, _NAME)
    common = column.value_counts(sort=True)["language"].head(_LANGUAGES).to_list()
    names = (*common, "others")
    place = {name: k for k, name in enumerate(common)}
    codes = np.array([place.get(name, len(common)) for name in column.to_list()], dtype=np.int64)
    return Cut("Language", names, codes)


def _script(battles: Battles) -> Cut:
    """The script of the prompt, where no column names its language."""
    text = battles.frame["prompt"].list.join("\n", ignore_nulls=True).fill_null("")
    size = np.maximum(text.str.len_chars().to_numpy().astype(np.float64), 1.0)
    codes = np.zeros(len(battles), dtype=np.int64)
    for place, name in reversed(list(enumerate(_SCRIPT_NAMES, start=1))):
        share = text.str.count_matches(SCRIPTS[name]).to_numpy() / size
        codes[share >= (_ACCENTED_SHARE if name == "accented" else _SHARE)] = place
    return Cut("Script of the prompt", ("Latin", *_SCRIPT_NAMES.values()), codes)
