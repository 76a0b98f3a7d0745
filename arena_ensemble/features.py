"""Length and formatting of each answer, as numbers that know what a swap does to them.

Every column of :class:`Features` is either *odd* (it changes sign when the two answers change
places) or *even* (it does not), so that a linear map of the odd columns is a delta and one of the
even columns a tau (see :mod:`arena_ensemble.predictions`). Both hold to the last bit: each side is
measured by the same expression, and only ``x - y``, ``x + y`` and ``|x - y|`` mix the two.

Reads texts only, never an outcome, a model name or the language column.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from .battles import Battles

Floats = npt.NDArray[np.float64]
Kind = Literal["count", "share"]

CHUNK_ROWS: Final = 4096
"""Rows measured at a time: word lists of this many answers are held at once (about 100 MB)."""

WORD: Final = r"[a-z0-9\x{c0}-\x{1fff}]+|[\x{2c00}-\x{2fff}\x{3040}-\x{fdff}\x{ff10}-\x{10ffff}]"
"""A word of lowercased text. Scripts without spaces (Chinese, Japanese, Korean) give a word a character."""

# Every pattern is counted in one answer (all turns joined by a newline). Rust's regex engine is
# fast on ASCII classes and on plain alternatives, 30 times slower on case-blind or Unicode ones:
# so phrases are counted in the lowercased text.
MARKS: Final[dict[str, str]] = {
    "lines": r"\n",
    "paragraphs": r"\n[ \t]*\n",
    "sentences": r"[.!?](?:[ \n\"')]|$)|[。！？]",
    "headings": r"(?m)^ {0,3}#{1,6} ",
    "bullets": r"(?m)^[ \t]*[-*•+] ",
    "numbered": r"(?m)^[ \t]*[0-9]{1,3}[.)] ",
    "nested": r"(?m)^(?: {2,}|\t+)(?:[-*•+]|[0-9]{1,3}[.)]) ",
    "bold": r"\*\*[^*\n]+\*\*",
    "italics": r"(?:^|[ (\n])[*_][A-Za-z][^*_\n]*[*_](?:[ ).,;:!?\n]|$)",
    "code_fences": r"```",
    "inline_code": r"`[^`\n]+`",
    "table_rows": r"(?m)^[ \t]*\|.*\|",
    "links": r"https?://|\]\(",
    "questions": r"[?？]",
    "exclamations": r"[!！]",
    "commas": r"[,，、]",
    "colons": r":(?:\s|$)",
    "parentheses": r"\(",
    "quotes": r"[\"“”«»]",
    "ellipses": r"\.\.\.|…",
    "latex": r"\\[a-zA-Z]+|\\[(\[]|\$[^$\n]+\$",
    "json_keys": r"\"[A-Za-z_][^\"\n]*\"[ \t]*:",
    "emoji": r"[\x{1F300}-\x{1FAFF}\x{2600}-\x{27BF}]",
    "digits": r"[0-9]",
    "capitals": r"[A-Z]",
    "shouted": r"[A-Z]{3,}",
    "first_person": r"\bI\b",
}
PHRASES: Final[dict[str, str]] = {
    "refusals": (
        r"\b(?:i (?:can['’]?t|cannot|can not|won['’]t|will not|do not feel)"
        r"|i(?:['’]m| am) (?:not able|unable|not allowed|not programmed)"
        r"|unable to (?:assist|help|provide|fulfil)|not (?:appropriate|ethical) to|against my)\b"
    ),
    "ai_mentions": r"\b(?:as an? (?:ai|artificial|(?:large )?language model)|language model)\b",
    "apologies": r"\b(?:sorry|apologi[sz]e|apologies|unfortunately)\b",
    "ignorance": (
        r"\b(?:i (?:do not|don['’]t) (?:know|have|understand)|not sure|no information"
        r"|more (?:context|information|details)|could you (?:please )?(?:clarify|provide|specify))\b"
    ),
    "hedges": r"\b(?:may|might|perhaps|possibly|however|although|depends|typically|generally)\b",
    "connectives": r"\b(?:because|therefore|thus|since|for example|for instance|such as)\b",
    "closings": (
        r"\b(?:let me know|hope (?:this|that) helps|feel free|happy to (?:help|assist)|anything else"
        r"|any (?:other |more |further )?questions|in conclusion|in summary|overall,)"
    ),
    "second_person": r"\byour?\b",
}

# Shares of an answer's characters, by script; what is left is Latin. Letters with accents stand
# alone: they tell most European languages from English.
SCRIPTS: Final[dict[str, str]] = {
    "accented": r"[À-ɏ]",
    "cyrillic": r"\p{Cyrillic}",
    "cjk": r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]",
    "arabic": r"[\p{Arabic}\p{Hebrew}]",
    "indic": r"[\p{Devanagari}\p{Bengali}\p{Tamil}\p{Telugu}\p{Thai}]",
}

# What the lowercased prompt asks for: even by nature, as it belongs to neither side.
REQUESTS: Final[dict[str, str]] = {
    "questions": r"[?？]",
    "digits": r"[0-9]",
    "lines": r"\n",
    "code": r"```|\bdef |\bclass |#include|\bimport |[;{}]\n|</|\bselect ",
    "code_words": r"\b(?:code|python|java(?:script)?|c\+\+|sql|function|program|script|regex|html|bash)\b",
    "math": (
        r"\\[a-z]+|\b(?:calculate|solve|equation|probability|integral|how many|sum of|prove)\b"
        r"|[0-9] ?[-+*/=^] ?[0-9]"
    ),
    "writing": r"\b(?:write|compose|draft|essay|story|poem|blog|email|letter|song|lyrics|haiku)\b",
    "roleplay": r"\b(?:act as|pretend|imagine you|role ?play|you(?: a|['’])re an?|character)\b",
    "explain": r"\b(?:explain|why|how do(?:es)?|describe|what (?:is|are)|difference between|compare)\b",
    "rewrite": r"\b(?:summari[sz]e|rewrite|rephrase|edit|correct|translate|paraphrase|shorten)\b",
    "extract": r"\b(?:extract|classify|json|csv|table|list (?:of|the)|identify|rate|evaluate|label)\b",
    "brief": r"\b(?:brief(?:ly)?|short|concise|one sentence|in one word|only|just|no more than|at most)\b",
    "long": r"\b(?:detailed|in detail|comprehensive|in depth|step by step|thorough|at least)\b",
    "harm": r"\b(?:kill|bomb|weapon|hack|steal|drugs?|sex|porn|nsfw|illegal|racist|suicide)\b",
}

_OPENING: Final = (
    r"^\s*(?:sure|certainly|of course|absolutely|great question|yes|no|here(?:['’]s| is| are))\b"
)
_ENDING: Final = r"[.!?:;)\]}>\"'”`*|。！？…~]$"
_SYMBOL: Final = r"[^\p{L}\p{N}\s.,!?'\"-]"
_FOREIGN: Final = r"[^\x00-ɏ\x{2000}-\x{206F}]"


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

    def swapped(self) -> Features:
        """The features of the swapped battles."""
        # Adding zero turns -0.0 into 0.0, so that equality holds for the bytes too.
        return Features(0.0 - self.odd, self.even, self.odd_names, self.even_names)


def extract(battles: Battles) -> Features:
    """Measure every battle; rows do not influence one another.

    Counts become ``log`` = ln(1+a) - ln(1+b) and ``rel`` = (a-b)/(a+b+1), odd, and ``sum`` =
    ln(1+a+b) and ``gap`` = abs(log), even. Shares become ``diff`` = a - b, odd, ``mean`` = (a+b)/2
    and ``gap`` = abs(diff), even. Measures of the prompt and of the pair are even.
    """
    table = side_counts(battles)
    odd: dict[str, Floats] = {}
    even: dict[str, Floats] = {}
    for name in table.columns:
        prefix, _, measure = name.partition(":")
        if prefix == "pair":
            even[measure] = _column(table, name)
        elif prefix == "a":
            _mix(measure, _column(table, name), _column(table, f"b:{measure}"), odd, even)
    return Features(_stacked(odd, len(battles)), _stacked(even, len(battles)), tuple(odd), tuple(even))


def side_counts(battles: Battles) -> pl.DataFrame:
    """One row per battle: every measure of each side (``a:``, ``b:``) and of the pair (``pair:``)."""
    parts = [_measure(chunk) for chunk in _chunks(battles.frame)]
    return pl.concat(parts) if parts else _measure(battles.frame)


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


def _chunks(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    for start in range(0, frame.height, CHUNK_ROWS):
        yield frame.slice(start, CHUNK_ROWS)


def _share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """``part / whole`` with 0/0 = 0."""
    return part.cast(pl.Float64) / pl.max_horizontal(whole.cast(pl.Float64), 1.0)


def _measure(frame: pl.DataFrame) -> pl.DataFrame:
    """Measures of one chunk, a float column each: ``a:name``, ``b:name``, ``pair:name``."""
    columns = {"p": "prompt", "a": "response_a", "b": "response_b"}
    texts = frame.select(
        *(pl.col(c).list.join("\n", ignore_nulls=True).fill_null("").alias(s) for s, c in columns.items()),
        pl.col("prompt").list.len().fill_null(0).alias("p_turns"),
        *(
            expression.alias(f"{side}_{name}")
            for side in "ab"
            for name, expression in _turn_measures(pl.col(columns[side])).items()
        ),
    )
    texts = texts.with_columns(pl.col(s).str.to_lowercase().alias(f"{s}_low") for s in "pab")
    texts = texts.with_columns(pl.col(f"{s}_low").str.extract_all(WORD).alias(f"{s}_words") for s in "pab")
    texts = texts.with_columns(pl.col(f"{s}_words").list.unique().alias(f"{s}_set") for s in "pab")
    texts = texts.with_columns(
        pl.col(f"{x}_set").list.set_intersection(pl.col(f"{y}_set")).list.len().cast(pl.Int64).alias(x + y)
        for x, y in ("pa", "pb", "ab")
    )
    measures = [(s, name, e) for s in "ab" for name, e in _side(s).items()]
    measures += [("pair", name, e) for name, e in {**_prompt(), **_pair()}.items()]
    return texts.select(e.cast(pl.Float64).alias(f"{prefix}:{name}") for prefix, name, e in measures)


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
    text, low, distinct = pl.col(own), pl.col(f"{own}_low"), pl.col(f"{own}_set")
    chars, size = text.str.len_chars(), pl.col(f"{own}_words").list.len()
    vocabulary = distinct.list.len().cast(pl.Int64)
    marks = {name: text.str.count_matches(pattern) for name, pattern in MARKS.items()}
    phrases = {name: low.str.count_matches(pattern) for name, pattern in PHRASES.items()}
    scripts = {name: _share(text.str.count_matches(pattern), chars) for name, pattern in SCRIPTS.items()}
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
        **marks,
        **phrases,
        **scripts,
        "latin": 1.0 - _foreign(own),
        "script_mismatch": (_foreign(own) - _foreign("p")).abs(),
        "distinct_words": _share(vocabulary, size),
        "repeated_lines": 1.0 - _share(lines.list.n_unique() + 1, lines.list.len() + 1),
        "prompt_covered": _share(in_prompt, pl.col("p_set").list.len()),
        "prompt_echoed": _share(in_prompt, vocabulary),
        "novel_words": 1.0 - _share(in_other, vocabulary),
        "word_length": _share(chars, size + 1).clip(0, 30) * 0.1,
        "sentence_length": _share(size, marks["sentences"] + 1).clip(0, 100) * 0.05,
        "line_length": _share(chars, marks["lines"] + 1).log1p() * 0.2,
        "capital_share": _share(marks["capitals"], chars) * 10,
        "digit_share": _share(marks["digits"], chars) * 10,
        "symbol_share": _share(text.str.count_matches(_SYMBOL), chars) * 10,
        "opens_politely": low.str.contains(_OPENING),
        "ends_cleanly": stripped.str.contains(_ENDING),
        "starts_lower": text.str.contains(r"^\s*[a-z]"),
        "empty": stripped == "",
    }


def _foreign(name: str) -> pl.Expr:
    """Share of the characters that are neither Latin letters nor common punctuation."""
    text = pl.col(name)
    return _share(text.str.count_matches(_FOREIGN), text.str.len_chars())


def _prompt() -> dict[str, pl.Expr]:
    """What is asked: its size and kind."""
    low = pl.col("p_low")
    return {
        "prompt_chars": _log(pl.col("p").str.len_chars()),
        "prompt_words": _log(pl.col("p_words").list.len()),
        "prompt_turns": _log(pl.col("p_turns")),
        "prompt_foreign": _foreign("p"),
        "prompt_ends_asking": low.str.strip_chars_end().str.ends_with("?"),
        **{f"prompt_{name}": _log(low.str.count_matches(pattern)) for name, pattern in REQUESTS.items()},
    }


def _pair() -> dict[str, pl.Expr]:
    """How alike the two answers are: alike answers tie."""
    size_a, size_b = (pl.col(f"{s}_set").list.len().cast(pl.Int64) for s in "ab")
    shared, union = pl.col("ab"), size_a + size_b - pl.col("ab")
    start_a, start_b = (pl.col(f"{s}_words").list.head(5) for s in "ab")
    return {
        "pair_jaccard": _share(shared, union),
        "pair_contained": _share(shared, pl.min_horizontal(size_a, size_b)),
        "pair_identical": pl.col("a").str.strip_chars() == pl.col("b").str.strip_chars(),
        "pair_near_identical": _share(shared, union) > 0.9,
        "pair_same_start": start_a == start_b,
    }


def _log(count: pl.Expr) -> pl.Expr:
    return count.cast(pl.Float64).log1p()
