"""Length and formatting of each answer, as numbers that know what a swap does to them.

Every column of :class:`Features` is either *odd* (it changes sign when the two answers change
places) or *even* (it does not), so that a linear map of the odd columns is a delta and one of the
even columns a tau (see :mod:`arena_ensemble.predictions`). Both hold to the last bit: each side is
measured by the same expression, and only ``x - y``, ``x + y`` and ``|x - y|`` mix the two.

Reads texts only, never an outcome, a model name or the language column.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import polars as pl

from ..battles import Battles
from .characters import capitals, odd_ones
from .patterns import (
    ENDING,
    FOREIGN,
    IN_PART,
    LIST_HEADS,
    MARKS,
    OPENING,
    PHRASES,
    REQUESTS,
    SCRIPTS,
    SYMBOL,
)
from .words import word_counts

Floats = npt.NDArray[np.float64]
Kind = Literal["count", "share"]

CHUNK_ROWS: Final = 4096
"""Rows measured at a time."""

_KEPT_ROWS: Final = 256
_KEPT: Final[WeakKeyDictionary[Battles, Features]] = WeakKeyDictionary()
_NEWLINE: Final = pl.lit("\n")
ON_BYTES: Final = ("capitals", "shouted")
"""measures that are counted without their pattern"""


@dataclass(frozen=True, eq=False)
class Features:
    """Numbers about n battles, all finite.

    Parameters
    ----------
    odd
        (n, k) float64: negated when the two answers change places.
    even
        (n, m) float64: unchanged when they do.
    odd_names, even_names
        k and m names, ``<measure>.<form>``.
    """

    odd: Floats
    even: Floats
    odd_names: tuple[str, ...]
    even_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.odd)

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> Features:
        """The given rows, in the given order."""
        index = np.asarray(rows, dtype=np.int64)
        return Features(self.odd[index], self.even[index], self.odd_names, self.even_names)

    def level(self) -> Features:
        """As if both answers had the same length and format: odd columns and gaps are zero."""
        gaps = [name.endswith(".gap") for name in self.even_names]
        even = np.where(np.array(gaps, dtype=bool), 0.0, self.even)
        return Features(np.zeros_like(self.odd), even, self.odd_names, self.even_names)

    def swapped(self) -> Features:
        """The features of the swapped battles."""
        # Adding zero turns -0.0 into 0.0, so that equality holds for the bytes too.
        return Features(0.0 - self.odd, self.even, self.odd_names, self.even_names)


def extract(battles: Battles) -> Features:
    """Measure every battle; rows do not influence one another.

    Counts become ``log`` = ln(1+a) - ln(1+b) and ``rel`` = (a-b)/(a+b+1), odd, and ``sum`` =
    ln(1+a+b) and ``gap`` = abs(log), even. Shares become ``diff`` = a - b, odd, ``mean`` = (a+b)/2
    and ``gap`` = abs(diff), even. Measures of the prompt and of the pair are even. Small tables are measured
    once: several fold models ask for the same battles.
    """
    kept = _KEPT.get(battles)
    if kept is None:
        kept = _extracted(battles)
        if len(battles) <= _KEPT_ROWS:
            _KEPT[battles] = kept
    return kept


def _extracted(battles: Battles) -> Features:
    parts = battles.parts(CHUNK_ROWS)
    first = _of_table(_measure(next(parts).frame))
    if len(battles) <= CHUNK_ROWS:
        return first
    # filled a chunk at a time: what is held beside the 2 kB a row of the result does not grow with the rows
    odd, even = (np.empty((len(battles), part.shape[1])) for part in (first.odd, first.even))
    odd[:CHUNK_ROWS], even[:CHUNK_ROWS] = first.odd, first.even
    for number, battles_of_part in enumerate(parts, start=1):
        part = _of_table(_measure(battles_of_part.frame))
        rows = slice(number * CHUNK_ROWS, number * CHUNK_ROWS + len(part))
        odd[rows], even[rows] = part.odd, part.even
    return Features(odd, even, first.odd_names, first.even_names)


def _of_table(table: pl.DataFrame) -> Features:
    odd: dict[str, Floats] = {}
    even: dict[str, Floats] = {}
    for name in table.columns:
        prefix, _, measure = name.partition(":")
        if prefix == "pair":
            even[measure] = _column(table, name)
        elif prefix == "a":
            _mix(measure, _column(table, name), _column(table, f"b:{measure}"), odd, even)
    return Features(_stacked(odd, table.height), _stacked(even, table.height), tuple(odd), tuple(even))


def side_counts(battles: Battles) -> pl.DataFrame:
    """One row per battle: every measure of each side (``a:``, ``b:``) and of the pair (``pair:``)."""
    return pl.concat(_measure(part.frame) for part in battles.parts(CHUNK_ROWS))


def _mix(name: str, a: Floats, b: Floats, odd: dict[str, Floats], even: dict[str, Floats]) -> None:
    """Add the odd and even forms of one measure of the two sides."""
    if name in _SHARES:
        odd[f"{name}.diff"] = a - b
        even[f"{name}.mean"] = (a + b) / 2
        even[f"{name}.gap"] = np.abs(a - b)
        return
    ratio = np.log1p(a) - np.log1p(b)
    odd[f"{name}.log"] = ratio
    odd[f"{name}.rel"] = (a - b) / (a + b + 1)
    even[f"{name}.sum"] = np.log1p(a + b)
    even[f"{name}.gap"] = np.abs(ratio)


def _column(table: pl.DataFrame, name: str) -> Floats:
    return np.asarray(table[name].to_numpy(), dtype=np.float64)


def _stacked(columns: dict[str, Floats], n: int) -> Floats:
    return np.column_stack(list(columns.values())) if columns else np.empty((n, 0))


def _share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """``part / whole`` with 0/0 = 0."""
    return part.cast(pl.Float64) / pl.max_horizontal(whole.cast(pl.Float64), 1.0)


def _measure(frame: pl.DataFrame) -> pl.DataFrame:
    """Measures of one chunk, a float column each: ``a:name``, ``b:name``, ``pair:name``."""
    texts, parts, counts, measures = _steps()
    table = frame.select(texts).with_columns(parts)
    table = table.hstack([odd_ones(table[side]).alias(f"{side}_odd") for side in "abp"])
    table = table.hstack([one for side in "ab" for one in _capitals(side, table[side])])
    return table.with_columns(counts).hstack(word_counts(table)).select(measures)


def _capitals(side: str, text: pl.Series) -> list[pl.Series]:
    return [pl.Series(f"{side}#{name}", found) for name, found in zip(ON_BYTES, capitals(text), strict=True)]


@cache
def _steps() -> tuple[list[pl.Expr], ...]:
    """Texts, parts of them, counts in both, and the measures; built once, as it takes time."""
    columns = {"p": "prompt", "a": "response_a", "b": "response_b"}
    texts = [
        *(pl.col(c).list.join("\n", ignore_nulls=True).fill_null("").alias(s) for s, c in columns.items()),
        pl.col("prompt").list.len().fill_null(0).alias("p_turns"),
        *(
            expression.alias(f"{side}_{name}")
            for side in "ab"
            for name, expression in _turn_measures(pl.col(columns[side])).items()
        ),
    ]
    parts = [
        *(pl.col(s).str.to_lowercase().alias(f"{s}_low") for s in "abp"),
        *((_NEWLINE + pl.col(s)).str.extract_all(LIST_HEADS).list.join("").alias(f"{s}_head") for s in "ab"),
    ]
    counts = [
        *(
            count.alias(f"{s}#{name}")
            for s in "ab"
            for name, count in _counts(s).items()
            if name not in ON_BYTES
        ),
        _count("p", "foreign", FOREIGN).alias("p#foreign"),
    ]
    named = [(s, name, e) for s in "ab" for name, e in _side(s).items()]
    named += [("pair", name, e) for name, e in {**_prompt(), **_pair()}.items()]
    measures = [e.cast(pl.Float64).alias(f"{prefix}:{name}") for prefix, name, e in named]
    return texts, parts, counts, measures


def _count(own: str, name: str, pattern: str) -> pl.Expr:
    """Matches of the pattern in the text ``own``, counted in the part that holds them all."""
    part = IN_PART.get(name)
    return pl.col(f"{own}_{part}" if part else own).str.count_matches(pattern)


def _counts(own: str) -> dict[str, pl.Expr]:
    """Every pattern's matches in the answer ``own``, by the name of the measure."""
    patterns = {**MARKS, **SCRIPTS, "symbol": SYMBOL, "foreign": FOREIGN}
    counts = {name: _count(own, name, pattern) for name, pattern in patterns.items()}
    low, text = pl.col(f"{own}_low"), pl.col(own)
    counts |= {name: low.str.count_matches(pattern) for name, pattern in PHRASES.items()}
    # The same three kinds of ending one by one: pairs of characters are found much faster alone.
    inside, wide = (
        text.str.count_matches(r"[.!?][ \n\"')]"),
        pl.col(f"{own}_odd").str.count_matches("[。！？]"),
    )
    return {**counts, "sentences": inside + wide + text.str.contains(r"[.!?]$").cast(pl.UInt32)}


def _turn_measures(turns: pl.Expr) -> dict[str, pl.Expr]:
    """Measures that need the turns apart: sizes of the first and the last one, and empty ones."""
    sizes = turns.list.eval(pl.element().fill_null("").str.strip_chars().str.len_chars())
    return {
        "first": sizes.list.first().fill_null(0),
        "last": sizes.list.last().fill_null(0),
        "blank": turns.list.eval(pl.element().fill_null("").str.strip_chars() == "").list.sum().fill_null(0),
        "least": sizes.list.min().fill_null(0),
    }


_SHARES: Final = frozenset(
    (
        *SCRIPTS,
        *("latin", "script_mismatch", "distinct_words", "repeated_lines", "prompt_covered", "prompt_echoed"),
        *("novel_words", "word_length", "sentence_length", "line_length", "capital_share", "digit_share"),
        *("symbol_share", "opens_politely", "ends_cleanly", "starts_lower", "empty"),
    )
)
"""Measures whose sizes compare as they are; all others are counts and are compared by their logarithms."""


def _side(own: str) -> dict[str, pl.Expr]:
    """Measures of the answer ``own`` (``a`` or ``b``) in the table that :func:`_measure` builds."""
    # Constants multiply and never divide: polars rounds ``column / 5`` by the number of rows (a single
    # row is divided, more are multiplied by 0.2), and a row must not depend on its neighbours.
    text, low = pl.col(own), pl.col(f"{own}_low")
    chars, size, vocabulary = text.str.len_chars(), pl.col(f"{own}_words"), pl.col(f"{own}_vocabulary")
    counts = {name: pl.col(f"{own}#{name}") for name in _counts(own)}
    in_prompt, in_other = pl.col(f"p{own}"), pl.col("ab")
    lines = text.str.split("\n").list.eval(pl.element().filter(pl.element().str.len_bytes() > 3))
    stripped = text.str.strip_chars_end()
    return {
        "chars": chars,
        "words": size,
        "vocabulary": vocabulary,
        "first_turn": pl.col(f"{own}_first"),
        "last_turn": pl.col(f"{own}_last"),
        "least_turn": pl.col(f"{own}_least"),
        "blank_turns": pl.col(f"{own}_blank"),
        "own_words": vocabulary - in_other,
        **{name: counts[name] for name in (*MARKS, *PHRASES)},
        **{name: _share(counts[name], chars) for name in SCRIPTS},
        "latin": 1.0 - _foreign(own),
        "script_mismatch": (_foreign(own) - _foreign("p")).abs(),
        "distinct_words": _share(vocabulary, size),
        "repeated_lines": 1.0 - _share(lines.list.n_unique() + 1, lines.list.len() + 1),
        "prompt_covered": _share(in_prompt, pl.col("p_vocabulary")),
        "prompt_echoed": _share(in_prompt, vocabulary),
        "novel_words": 1.0 - _share(in_other, vocabulary),
        "word_length": _share(chars, size + 1).clip(0, 30) * 0.1,
        "sentence_length": _share(size, counts["sentences"] + 1).clip(0, 100) * 0.05,
        "line_length": _share(chars, counts["lines"] + 1).log1p() * 0.2,
        "capital_share": _share(counts["capitals"], chars) * 10,
        "digit_share": _share(counts["digits"], chars) * 10,
        "symbol_share": _share(counts["symbol"], chars) * 10,
        "opens_politely": low.str.contains(OPENING),
        "ends_cleanly": stripped.str.contains(ENDING),
        "starts_lower": text.str.contains(r"^\s*[a-z]"),
        "empty": stripped == "",
    }


def _foreign(name: str) -> pl.Expr:
    """Share of the characters that are neither Latin letters nor common punctuation."""
    return _share(pl.col(f"{name}#foreign"), pl.col(name).str.len_chars())


def _prompt() -> dict[str, pl.Expr]:
    """What is asked: its size and kind."""
    low = pl.col("p_low")
    return {
        "prompt_chars": _log(pl.col("p").str.len_chars()),
        "prompt_words": _log(pl.col("p_words")),
        "prompt_turns": _log(pl.col("p_turns")),
        "prompt_foreign": _foreign("p"),
        "prompt_ends_asking": low.str.strip_chars_end().str.ends_with("?"),
        **{f"prompt_{name}": _log(low.str.count_matches(pattern)) for name, pattern in REQUESTS.items()},
    }


def _pair() -> dict[str, pl.Expr]:
    """How alike the two answers are: alike answers tie."""
    size_a, size_b = (pl.col(f"{s}_vocabulary") for s in "ab")
    shared, union = pl.col("ab"), size_a + size_b - pl.col("ab")
    return {
        "pair_jaccard": _share(shared, union),
        "pair_contained": _share(shared, pl.min_horizontal(size_a, size_b)),
        "pair_identical": pl.col("a").str.strip_chars() == pl.col("b").str.strip_chars(),
        "pair_near_identical": _share(shared, union) > 0.9,
        "pair_same_start": pl.col("same_start"),
    }


def _log(count: pl.Expr) -> pl.Expr:
    return count.cast(pl.Float64).log1p()
