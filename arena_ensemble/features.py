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

WORD: Final = r"[\p{L}\p{N}]+"

# Every pattern is counted in one answer (all turns joined by a newline). Patterns stay in ASCII
# classes where they can: Rust's regex engine is several times slower on Unicode ones.
PATTERNS: Final[dict[str, str]] = {
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
    "shouted": r"\b[A-Z]{3,}\b",
    "refusals": (
        r"(?i)\b(?:i (?:can['’]?t|cannot|can not|won['’]t|will not|do not feel)"
        r"|i(?:['’]m| am) (?:not able|unable|not allowed|not programmed)|unable to (?:assist|help|provide|fulfil)"
        r"|not (?:appropriate|ethical) to|against my)\b"
    ),
    "ai_mentions": r"(?i)\b(?:as an? (?:ai|artificial|(?:large )?language model)|language model)\b",
    "apologies": r"(?i)\b(?:sorry|apologi[sz]e|apologies|unfortunately)\b",
    "ignorance": (
        r"(?i)\b(?:i (?:do not|don['’]t) (?:know|have|understand)|not sure|no information"
        r"|more (?:context|information|details)|could you (?:please )?(?:clarify|provide|specify))\b"
    ),
    "hedges": r"(?i)\b(?:may|might|perhaps|possibly|however|although|depends|typically|generally)\b",
    "connectives": r"(?i)\b(?:because|therefore|thus|since|for example|for instance|such as|first|finally)\b",
    "openings": r"(?i)(?:^|\n)(?:sure|certainly|of course|absolutely|great question|yes|no|here(?:['’]s| is| are))\b",
    "closings": (
        r"(?i)\b(?:let me know|hope (?:this|that) helps|feel free|happy to (?:help|assist)|anything else"
        r"|any (?:other |more |further )?questions|in conclusion|in summary|overall,)"
    ),
    "first_person": r"\bI\b",
    "second_person": r"(?i)\byour?\b",
}

# Shares of an answer's characters, by script. Latin letters beyond ASCII stand alone: accents tell
# most European languages from English.
SCRIPTS: Final[dict[str, str]] = {
    "latin": r"[A-Za-z]",
    "accented": r"[À-ɏ]",
    "cyrillic": r"\p{Cyrillic}",
    "cjk": r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]",
    "arabic": r"[\p{Arabic}\p{Hebrew}]",
    "indic": r"[\p{Devanagari}\p{Bengali}\p{Tamil}\p{Telugu}\p{Thai}]",
}

# What the prompt asks for: even by nature, as it belongs to neither side.
PROMPT_PATTERNS: Final[dict[str, str]] = {
    "questions": r"[?？]",
    "digits": r"[0-9]",
    "lines": r"\n",
    "code": r"```|\bdef |\bclass |#include|\bimport |[;{}]\n|</|\bSELECT\b",
    "code_words": r"(?i)\b(?:code|python|javascript|java|c\+\+|sql|function|program|script|regex|html|bash)\b",
    "math": r"(?i)\\[a-z]+|\b(?:calculate|solve|equation|probability|integral|how many|sum of|prove)\b|[0-9] ?[-+*/=^] ?[0-9]",
    "writing": r"(?i)\b(?:write|compose|draft|essay|story|poem|blog|email|letter|song|lyrics|haiku)\b",
    "roleplay": r"(?i)\b(?:act as|pretend|imagine you|role ?play|you are an?|you['’]re an?|character)\b",
    "explain": r"(?i)\b(?:explain|why|how does|how do|describe|what is|what are|difference between|compare)\b",
    "rewrite": r"(?i)\b(?:summari[sz]e|rewrite|rephrase|edit|correct|translate|paraphrase|shorten)\b",
    "extract": r"(?i)\b(?:extract|classify|json|csv|table|list of|list the|identify|rate|evaluate|label)\b",
    "brief": r"(?i)\b(?:brief|briefly|short|concise|one sentence|in one word|only|just|no more than|at most)\b",
    "long": r"(?i)\b(?:detailed|in detail|comprehensive|in depth|step by step|thorough|at least)\b",
    "harm": r"(?i)\b(?:kill|bomb|weapon|hack|steal|drugs?|sex|porn|nsfw|illegal|racist|suicide)\b",
}


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
    parts = [_measure(chunk) for chunk in _chunks(battles.frame)]
    table = pl.concat(parts) if parts else _measure(battles.frame)
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
    texts = frame.select(
        *(
            pl.col(column).list.join("\n", ignore_nulls=True).fill_null("").alias(short)
            for column, short in (("prompt", "p"), ("response_a", "a"), ("response_b", "b"))
        ),
        pl.col("prompt").list.len().fill_null(0).alias("p_turns"),
        *(
            expression.alias(f"{short}_{name}")
            for column, short in (("response_a", "a"), ("response_b", "b"))
            for name, expression in _turn_measures(pl.col(column)).items()
        ),
    ).with_columns(
        pl.col(short).str.to_lowercase().str.extract_all(WORD).alias(f"{short}_words") for short in "pab"
    )
    texts = texts.with_columns(
        pl.col(f"{short}_words").list.unique().alias(f"{short}_set") for short in "pab"
    )
    columns = [
        expression.cast(pl.Float64).alias(f"{short}:{name}")
        for short, other in (("a", "b"), ("b", "a"))
        for name, expression in _side(short, other).items()
    ]
    columns += [
        expression.cast(pl.Float64).alias(f"pair:{name}")
        for name, expression in {**_prompt(), **_pair()}.items()
    ]
    return texts.select(columns)


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
    {
        *SCRIPTS,
        "distinct_words",
        "repeated_lines",
        "prompt_covered",
        "prompt_echoed",
        "novel_words",
        "word_length",
        "sentence_length",
        "line_length",
        "capital_share",
        "digit_share",
        "symbol_share",
        "script_mismatch",
        "ends_cleanly",
        "starts_lower",
        "empty",
    }
)


def _side(own: str, other: str) -> dict[str, pl.Expr]:
    """Measures of the answer ``own``, given that the other one is ``other``."""
    text, words, distinct = pl.col(own), pl.col(f"{own}_words"), pl.col(f"{own}_set")
    chars, size, vocabulary = text.str.len_chars(), words.list.len(), distinct.list.len()
    counts = {name: text.str.count_matches(pattern) for name, pattern in PATTERNS.items()}
    scripts = {name: _share(text.str.count_matches(pattern), chars) for name, pattern in SCRIPTS.items()}
    in_prompt = distinct.list.set_intersection(pl.col("p_set")).list.len()
    in_other = distinct.list.set_intersection(pl.col(f"{other}_set")).list.len()
    lines = text.str.split("\n").list.eval(pl.element().filter(pl.element().str.len_chars() > 3))
    foreign, prompt_foreign = _foreign(own), _foreign("p")
    stripped = text.str.strip_chars_end()
    return {
        "chars": chars,
        "words": size,
        "vocabulary": vocabulary,
        "first_turn": pl.col(f"{own}_first"),
        "last_turn": pl.col(f"{own}_last"),
        "least_turn": pl.col(f"{own}_least"),
        "blank_turns": pl.col(f"{own}_blank"),
        **counts,
        "own_words": vocabulary.cast(pl.Int64) - in_other.cast(pl.Int64),
        **scripts,
        "distinct_words": _share(vocabulary, size),
        "repeated_lines": _share(
            lines.list.len().cast(pl.Int64) - lines.list.n_unique().cast(pl.Int64), lines.list.len()
        ),
        "prompt_covered": _share(in_prompt, pl.col("p_set").list.len()),
        "prompt_echoed": _share(in_prompt, vocabulary),
        "novel_words": 1.0 - _share(in_other, vocabulary),
        "word_length": _share(chars, size + 1).clip(0, 30) / 10,
        "sentence_length": (_share(size, counts["sentences"] + 1) / 20).clip(0, 10),
        "line_length": ((_share(chars, counts["lines"] + 1) + 1).log() / 5),
        "capital_share": _share(counts["capitals"], chars) * 10,
        "digit_share": _share(counts["digits"], chars) * 10,
        "symbol_share": _share(text.str.count_matches(r"[^\p{L}\p{N}\s.,!?'\"-]"), chars) * 10,
        "script_mismatch": (foreign - prompt_foreign).abs(),
        "ends_cleanly": stripped.str.contains(r"[.!?:;)\]}>\"'”`*|。！？…~]$"),
        "starts_lower": text.str.contains(r"^\s*[a-z]"),
        "empty": stripped.str.len_chars() == 0,
    }


def _foreign(name: str) -> pl.Expr:
    """Share of the characters that are neither ASCII nor accented Latin nor usual punctuation."""
    text = pl.col(name)
    return _share(text.str.count_matches(r"[^\x00-ɏ\x{2000}-\x{206F}]"), text.str.len_chars())


def _prompt() -> dict[str, pl.Expr]:
    text = pl.col("p")
    counts = {
        f"prompt_{name}": (text.str.count_matches(pattern).cast(pl.Float64) + 1).log()
        for name, pattern in PROMPT_PATTERNS.items()
    }
    return {
        "prompt_chars": (text.str.len_chars().cast(pl.Float64) + 1).log(),
        "prompt_words": (pl.col("p_words").list.len().cast(pl.Float64) + 1).log(),
        "prompt_turns": (pl.col("p_turns").cast(pl.Float64) + 1).log(),
        "prompt_foreign": _foreign("p"),
        "prompt_ends_asking": text.str.strip_chars_end().str.ends_with("?"),
        **counts,
    }


def _pair() -> dict[str, pl.Expr]:
    a, b = pl.col("a_set"), pl.col("b_set")
    shared = a.list.set_intersection(b).list.len().cast(pl.Float64)
    union = a.list.len().cast(pl.Float64) + b.list.len().cast(pl.Float64) - shared
    smaller = pl.min_horizontal(a.list.len(), b.list.len())
    same = pl.col("a").str.strip_chars() == pl.col("b").str.strip_chars()
    start = [pl.col(f"{short}_words").list.head(5) for short in "ab"]
    return {
        "pair_jaccard": _share(shared, union),
        "pair_contained": _share(shared, smaller),
        "pair_identical": same,
        "pair_near_identical": _share(shared, union) > 0.9,
        "pair_same_start": start[0] == start[1],
    }
