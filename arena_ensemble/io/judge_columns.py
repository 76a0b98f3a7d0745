"""Which columns of a wide table are judges': verdicts, scores, probabilities, and which are people's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .cells import is_missing
from .column_names import QUESTIONS, canonical
from .judge_cells import spread_out
from .tables import Table
from .verdict_words import LOST, NUMBERED, verdict_of

ANNOTATORS: Final = re.compile(r"(annotator|expert|human|rater|vote)([_ -].*|\d*)\Z", re.IGNORECASE)
"""Columns of people, never of judges."""
_ABOUT_VOTES: Final = frozenset(
    (
        "age", "agreement", "comment", "comments", "confidence", "count", "country", "date", "duration",
        "email", "explanation", "gender", "id", "ids", "lang", "language", "note", "notes", "number",
        "rationale", "reason", "seconds", "time", "timestamp", "weight",
    )
)  # fmt: skip
"""Last words of names like ``annotator_id`` and ``vote_count``, which hold no votes."""
ABOUT_PAIRS: Final = frozenset(
    (
        "aspect", "category", "comment", "cost", "date", "document", "explanation", "fold", "group", "index",
        "language", "n_turns", "num_turns", "rank", "rationale", "reason", "reference", "round", "row",
        "sample", "seed", "source", "split", "subset", "task", "timestamp", "topic", "turn", "turns",
        "weight", "year",
    )
)  # fmt: skip
"""Names of columns about pairs, never of judges, though they may hold 1 and 2."""
TRUTH: Final = frozenset(
    (
        "best", "is_best", "correct", "is_correct", "label", "labels", "winner", "gold", "truth",
        "ground_truth", "target", "expected",
    )
)  # fmt: skip
"""Names of columns that hold what is to be learned: read as a judge's, they would be a perfect one."""
HEAD_ROWS: Final = 200
"""filled cells by which a column is judged"""
_VERDICTS: Final = 0.2
"""share of verdicts that makes a column a judge's: the rest are refusals and texts that nobody parsed"""
_STEPS, _MOST = 21, 10.0
"""distinct numbers, and the largest of them, that a column of ratings has at most"""


ABOUT_ANSWERS: Final = frozenset(
    (
        "winner_model", "model", "response", "answer", "output", "completion", "conversation", "messages",
        "text", "assistant", "length", "len", "chars", "characters", "tokens", "num_tokens", "words", "turns",
        "system", "id", "rank", "elo", "cost", "latency", "seconds", "name", "time", "duration", "runtime",
        "price", "temperature", "top_p", "perplexity", "ppl",
    )
)  # fmt: skip
"""What ``…_a`` and ``…_b`` say of the answers themselves, never a judge's probabilities."""


_FACT: Final = re.compile(
    r"(unnamed(_.*)?|level_0|.*_id|)\Z|(n|num|number_of|count)_.+|.*_(tokens?|words?|chars?|characters|length|len|count|lines|sentences|"
    r"turns|seconds|ms|latency|time|cost|price|rank|elo|perplexity|ppl|confidence|certainty)\Z|(tokens|words|chars|length|len)_.+"
)
"""Names that count or measure an answer"""


def is_fact(name: str) -> bool:
    """Whether a column is named like a fact about answers: ``n_tokens``, ``length``, ``latency``."""
    plain = canonical(name)
    return plain in ABOUT_ANSWERS or bool(_FACT.match(plain))


def facts_note(names: Sequence[str]) -> list[str]:
    """What to tell of columns that are not read since they are named like facts about answers."""
    if not names:
        return []
    return [
        f"not read, since they are named like facts about answers: {', '.join(names)}; if they are judges, "
        "give them other names"
    ]


def annotators_of(names: Sequence[str]) -> list[str]:
    """The columns that hold what people voted, not ``annotator_id``, ``vote_count`` and the like."""
    return [
        name
        for name in names
        if ANNOTATORS.match(name) and canonical(name).rpartition("_")[2] not in _ABOUT_VOTES
    ]


def is_no_judge(name: str) -> bool:
    """Whether a column of this name is about pairs, their texts, their votes or people, whatever it holds."""
    plain = canonical(name)
    side = plain.removesuffix("_a") if plain.endswith("_a") else plain.removesuffix("_b")
    return (
        plain in ABOUT_PAIRS | TRUTH
        or plain in QUESTIONS
        or is_fact(plain)
        or (side != plain and is_fact(side))
        or bool(ANNOTATORS.match(name))
    )


def filled_heads(table: Table, names: Sequence[str]) -> dict[str, list[Any]]:
    """The first filled cells of each column, about ``HEAD_ROWS``; of a list of samples each one is a cell.

    A judge that was asked late has none in the first rows, so these are looked for down to the last row.
    """
    found: dict[str, list[Any]] = {name: [] for name in names}
    if not names:
        return found
    for batch in table.batches(names):
        for row in batch:
            for cells, cell in zip(found.values(), row, strict=True):
                if len(cells) < HEAD_ROWS and not is_missing(cell):
                    cells += [one for one in spread_out([None], [cell])[1] if not is_missing(one)]
        if all(len(cells) >= HEAD_ROWS for cells in found.values()):
            break
    return found


def numeric_columns(table: Table, names: Sequence[str]) -> bool:
    """Whether the first filled cells are numbers."""
    cells = [cell for own in filled_heads(table, names).values() for cell in own]
    return bool(cells) and all(map(is_number, cells))


def unread_note(heads: Mapping[str, Sequence[Any]]) -> list[str]:
    """What to tell of columns that were not read and may have been meant as a judge's.

    Parameters
    ----------
    heads
        Column → its first filled cells.
    """
    scales, words, flags, signed = [], [], [], []
    for name, cells in heads.items():
        if cells and all(map(is_number, cells)):
            values = {float(cell) for cell in cells}
            if 2 < len(values) <= _STEPS and min(values) >= -_MOST and max(values) <= _MOST:
                scales.append(f"{name} ({min(values):g} to {max(values):g})")
            elif len(values) > 2 and min(values) < 0 < max(values):
                signed.append(name)
        elif cells and all(str(cell).strip().lower() in ("true", "false") for cell in cells):
            flags.append(name)
        elif share := verdict_share(cells):
            words.append(f"{name} ({share:.0%} verdicts)")
    notes = []
    if scales:
        notes.append(
            f"not read, though they hold few numbers, as scores do: {', '.join(scales)}; one score of a pair "
            "does not say who wins: give NAME:score_a and NAME:score_b"
        )
    if signed:
        notes.append(
            f"not read, though they hold numbers on both sides of 0, as margins do: {', '.join(signed)}; a "
            "margin of A over B is named NAME_margin"
        )
    if flags:
        notes.append(
            f"not read, since true may be A or B: {', '.join(flags)}; if they are judges, write model_a, "
            "model_b, tie"
        )
    if words:
        notes.append(
            f"not read, since few of their texts are verdicts: {', '.join(words)}; if they are judges, keep "
            "the verdict alone in each cell"
        )
    return notes


def names_note(table: Table, names: Sequence[str]) -> list[str]:
    """What to tell of columns that hold verdicts in words and are not read for their names.

    Numbers are passed over: a column ``turn`` of 1 and 2 is what its name says. So are texts of the pairs,
    whose columns are not opened.
    """
    known_so = ABOUT_PAIRS | TRUTH | ABOUT_ANSWERS
    told = [one for one in names if canonical(one) in known_so or ANNOTATORS.match(one)]
    head = table.head(told, HEAD_ROWS) if told else []
    found = []
    for place, name in enumerate(told):
        cells = [cell for cell in spread_out(head, [row[place] for row in head])[1] if not is_missing(cell)]
        words = [cell for cell in cells if not is_number(cell)]
        if 2 * len(words) >= len(cells) and holds_verdicts(words):
            found.append(name)
    if not found:
        return []
    return [
        f"not read, since they are named like truths, people or facts about pairs: {', '.join(found)}; if "
        "they are judges, give them other names"
    ]


def is_number(cell: Any) -> bool:
    """Whether a cell is a number, or the text of one."""
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


def holds_verdicts(cells: Sequence[Any]) -> bool:
    """Whether a fifth or more of the filled cells are verdicts; a column of any other text is no judge."""
    return verdict_share(cells) >= _VERDICTS


def verdict_share(cells: Sequence[Any]) -> float:
    """Share of verdicts among filled cells; 0 where there are none."""
    return sum(verdict_of(cell, numbers=NUMBERED) != LOST for cell in cells) / max(len(cells), 1)
