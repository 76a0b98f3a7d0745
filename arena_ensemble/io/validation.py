"""What a reader found in a battles file: counts that ``arena-ensemble validate`` shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import polars as pl

from ..battles import Battles
from .battle_formats import Format
from .tables import Table

_SIDES: Final = ("prompt", "response_a", "response_b")
_SCRIPTS: Final = {
    "Cyrillic": r"\p{Cyrillic}",
    "Han": r"\p{Han}",
    "Kana": r"[\p{Hiragana}\p{Katakana}]",
    "Hangul": r"\p{Hangul}",
    "Arabic": r"\p{Arabic}",
    "Hebrew": r"\p{Hebrew}",
    "Greek": r"\p{Greek}",
    "Devanagari": r"\p{Devanagari}",
    "Thai": r"\p{Thai}",
    "Latin": r"\p{Latin}",
}
_SCRIPT_CHARS: Final = 400
"""characters of the first turn by which the script is decided"""


@dataclass(frozen=True)
class CharacterQuantiles:
    """Characters of a row (all turns): quantiles."""

    median: int
    p90: int
    p99: int
    max: int


@dataclass(frozen=True)
class SuspiciousRows:
    """Rows that can be used but that a person should look at."""

    what: str
    rows: int
    ids: tuple[int | str, ...]
    """the first few"""


@dataclass(frozen=True)
class BattlesReport:
    """What was found in a file; rows are counted, texts are not kept."""

    file: str
    format: str
    kind: str
    compression: str
    columns: tuple[str, ...]
    rows: int
    task_outcomes: int
    outcomes: dict[str, int]
    """rows by outcome: ``A``, ``B``, ``tie``, and ``none`` where the file has no outcome"""
    turns: dict[int, int]
    """rows by number of turns"""
    characters: dict[str, CharacterQuantiles]
    longer_wins: float | None
    """share of decided battles, of different length, won by the longer response"""
    duplicate_battles: int
    """rows whose three texts an earlier row already holds, in either order of the responses"""
    null_turns: int
    null_responses: int
    """responses in which every turn is null"""
    both_null: int
    surrogates_replaced: int
    languages: dict[str, int]
    scripts: dict[str, int]
    """rows by the commonest script of the first 400 characters of the prompt"""
    suspicious: tuple[SuspiciousRows, ...]
    notes: tuple[str, ...]
    columns_read: dict[str, str] = field(default_factory=dict)
    """column of the file → what it was taken for; other columns were not read"""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def describe(
    battles: Battles,
    table: Table,
    form: Format,
    surrogates: int,
    notes: Sequence[str],
    columns_read: Mapping[str, str],
) -> BattlesReport:
    """Count what the battles hold; vectorised, a second or two for 57,477 rows."""
    frame = battles.facts
    looked = [(_sides(part.frame), _pair_keys(part.frame), _scripts(part.frame)) for part in battles.parts()]
    sides, pairs = pl.concat(one[0] for one in looked), pl.concat(one[1] for one in looked)
    scripts = sum((one[2] for one in looked), Counter[str]())
    counts = dict(frame["outcome"].value_counts().iter_rows())
    outcomes = {label: int(counts.get(code, 0)) for label, code in (("A", 0), ("B", 1), ("tie", 2))}
    if frame["outcome"].null_count():
        outcomes["none"] = frame["outcome"].null_count()
    null_a, null_b = (pl.col(f"nulls_{side}") == pl.col("turns") for side in _SIDES[1:])
    null_rows = sides.select(a=null_a, b=null_b, both=null_a & null_b).sum().row(0)
    languages = (
        frame["language"].drop_nulls().value_counts(sort=True) if "language" in frame.columns else None
    )
    return BattlesReport(
        file=str(table.path),
        format=form.name,
        kind=table.kind,
        compression=table.compression,
        columns=table.columns,
        rows=frame.height,
        task_outcomes=3 if outcomes["tie"] else form.outcomes,
        outcomes=outcomes,
        turns={int(k): int(v) for k, v in sides["turns"].value_counts().sort("turns").iter_rows()},
        characters={side: _spread(sides[f"chars_{side}"]) for side in _SIDES},
        longer_wins=_longer_wins(sides),
        duplicate_battles=pairs.height - pairs.n_unique(),
        null_turns=int(sum(sides[f"nulls_{side}"].sum() for side in _SIDES)),
        null_responses=int(null_rows[0] + null_rows[1]),
        both_null=int(null_rows[2]),
        surrogates_replaced=surrogates,
        languages={} if languages is None else {str(k): int(v) for k, v in languages.head(30).iter_rows()},
        scripts=dict(scripts.most_common()),
        suspicious=_suspicious(sides),
        notes=(*_notes(form, outcomes), *notes),
        columns_read=dict(columns_read),
    )


def suspicious_rows(battles: Battles) -> pl.DataFrame:
    """The rows that a person should look at: ``why``, id, outcome and the texts, one row per reason."""
    frame, sides = battles.frame, _sides(battles.frame)
    texts = [pl.col(name).list.join("\n", ignore_nulls=True) for name in _SIDES]
    rows = frame.select("id", "outcome", *texts)
    found = [rows.filter(sides.select(check).to_series().fill_null(False)) for check in _CHECKS.values()]
    return pl.concat(
        part.select(pl.lit(why).alias("why"), pl.all()) for why, part in zip(_CHECKS, found, strict=True)
    )


def _sides(frame: pl.DataFrame) -> pl.DataFrame:
    """Lengths and nulls of each row."""
    return frame.select(
        "id",
        "outcome",
        *(
            pl.col(name).list.join("", ignore_nulls=True).str.len_chars().alias(f"chars_{name}")
            for name in _SIDES
        ),
        *(
            pl.col(name).list.eval(pl.element().is_null()).list.sum().alias(f"nulls_{name}")
            for name in _SIDES
        ),
        pl.col("prompt").list.len().alias("turns"),
        (pl.col("response_a") == pl.col("response_b")).alias("same"),
    )


def _spread(chars: pl.Series) -> CharacterQuantiles:
    median, p90, p99 = (int(chars.quantile(q, "nearest") or 0) for q in (0.5, 0.9, 0.99))
    return CharacterQuantiles(median, p90, p99, int(chars.max() or 0))  # type: ignore[arg-type]


def _longer_wins(sides: pl.DataFrame) -> float | None:
    decided = sides.filter(
        pl.col("outcome").is_in([0, 1]) & (pl.col("chars_response_a") != pl.col("chars_response_b"))
    )
    longer_a = pl.col("chars_response_a") > pl.col("chars_response_b")
    share = decided.select((longer_a == (pl.col("outcome") == 0)).mean()).item()
    return None if share is None else float(share)


def _pair_keys(frame: pl.DataFrame) -> pl.DataFrame:
    """Hashes of each row's three texts, alike for either order of the responses."""
    return frame.select(*(pl.col(side).hash(seed=1).alias(side) for side in _SIDES)).select(
        "prompt",
        pl.min_horizontal("response_a", "response_b").alias("low"),
        pl.max_horizontal("response_a", "response_b").alias("high"),
    )


def _scripts(frame: pl.DataFrame) -> Counter[str]:
    head = frame.select(pl.col("prompt").list.first().str.slice(0, _SCRIPT_CHARS).fill_null("").alias("text"))
    counted = head.select(
        pl.col("text").str.count_matches(mark).alias(name) for name, mark in _SCRIPTS.items()
    )
    table = counted.to_numpy()
    names = [*_SCRIPTS]
    best = zip(table.argmax(1).tolist(), table.sum(1).tolist(), strict=True)
    return Counter(names[k] if total else "none" for k, total in best)


_EMPTY_A, _EMPTY_B = (pl.col(f"chars_{side}") == 0 for side in _SIDES[1:])
_LONGEST: Final = pl.max_horizontal("chars_response_a", "chars_response_b")
_CHECKS: Final = {
    "both responses empty": _EMPTY_A & _EMPTY_B,
    "an empty response won": (_EMPTY_A & (pl.col("outcome") == 0) | _EMPTY_B & (pl.col("outcome") == 1))
    & ~(_EMPTY_A & _EMPTY_B),
    "the prompt is empty": pl.col("chars_prompt") == 0,
    "equal responses, yet one won": pl.col("same") & pl.col("outcome").is_in([0, 1]) & ~_EMPTY_A,
    "a response of over 100,000 characters": _LONGEST > 100_000,
}


def _suspicious(sides: pl.DataFrame) -> tuple[SuspiciousRows, ...]:
    found = []
    for what, check in _CHECKS.items():
        ids = sides.filter(check)["id"]
        if len(ids):
            found.append(SuspiciousRows(what, len(ids), tuple(ids.head(5).to_list())))
    return tuple(found)


def _notes(form: Format, outcomes: dict[str, int]) -> tuple[str, ...]:
    notes = [form.note] if form.note else []
    labelled = sum(count for label, count in outcomes.items() if label != "none")
    if labelled and sum(outcomes[label] > 0 for label in ("A", "B", "tie")) == 1:
        notes.append("one outcome only: nothing can be learned from this file")
    if labelled and outcomes.get("none"):
        notes.append(f"{outcomes['none']} rows have no outcome")
    if labelled and form.outcomes == 3 and not outcomes["tie"]:
        notes.append("no tie in a format that has ties")
    return tuple(notes)
