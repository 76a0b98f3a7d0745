"""Judgements: files of verdicts, scores or probabilities → `Judgements` or `AnswerScores`."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Final

import numpy as np
import polars as pl

from ..errors import InputError
from ..judgements import AnswerScores, First, JudgeColumn, Judgements
from ..judgements.pair_names import exchange_note
from .answer_rows import answer_rows
from .cells import is_missing
from .column_names import WINNERS, Columns, canonical
from .ids import id_column
from .judge_columns import (
    filled_heads,
    holds_verdicts,
    is_no_judge,
    numeric_columns,
    suffixed,
    unread_note,
)
from .judgement_rows import (
    first_of,
    number,
    probability_column,
    score_column,
    verdict_column,
)
from .result_files import read_results, result_format
from .tables import Table, open_table
from .unread import Unread, unread_lines, unread_texts
from .verdict_words import LOST, NUMBERED, verdict_of
from .votes import WORD_COLUMNS

log = logging.getLogger(__name__)

_IDS: Final = ("id", "pair_id", "question_id")
_SHAPES: Final = (
    "id, judge, verdict; id, judge, score_a, score_b; id with a column of verdicts a judge, or NAME_a, "
    "NAME_b, or NAME:score_a, NAME:score_b; item, answer, judge, score; or item, answer with a column of "
    "scores a judge"
)


@dataclass(frozen=True)
class LoadedJudgements:
    """What a file holds: judgements of pairs, or scores of answers."""

    judgements: Judgements | None
    answers: AnswerScores | None
    notes: tuple[str, ...] = ()
    """missing answers counted per judge, their texts, columns that may have been meant and were not read"""
    shape: str = ""
    """what the file was taken for, in words"""
    unread: Mapping[str, Unread] = field(default_factory=dict)
    """judge → texts of its answers that are no verdict"""
    named: bool = False
    """whether ids ``item|a|b`` were made here, of answers or of a result file"""

    def as_pairs(self) -> Judgements:
        """Judgements of pairs; of scores of answers: all pairs of one item."""
        if self.judgements is not None:
            return self.judgements
        assert self.answers is not None
        return self.answers.all_pairs()[0]


def read_judgements(
    *paths: Path | str,
    numbers: str | None = None,
    first: First = First.A,
    format: str | None = None,
    known: Collection[str] = (),
) -> Judgements:
    """Judgements of pairs from one or more files of different judges; scores of answers become all pairs.

    Parameters
    ----------
    paths
        CSV, TSV, JSON, JSON lines or parquet, plain or packed; the shapes are those of docs/panels.md.
    numbers
        What numbers mean as verdicts: ``"120"`` (1 A, 2 B, 0 tie) or ``"012"`` (0 A, 1 B, 2 tie).
    first
        What judges saw first where a file of verdicts or probabilities has no column ``first``: as a rule the
        pair as it stands, so answer A. Scores without it are taken as given to each answer alone.
    format
        A benchmark's result file, by its name in `RESULT_NAMES`, where its columns are not to tell.
    known
        Names that are surely judges' (those of a fitted panel): their columns are read whatever they hold.

    Raises
    ------
    InputError
        A file that cannot be read, of unknown columns, or with verdicts of unclear meaning.
    """
    if not paths:
        raise InputError("no judgements; give at least one file")
    return joined_pairs(load_all(paths, numbers=numbers, first=first, format=format, known=known))


def joined_pairs(loaded: Sequence[LoadedJudgements]) -> Judgements:
    """The files' judgements of pairs as one table; a warning where pairs are joined the other way round.

    Raises
    ------
    InputError
        As for `Judgements.joined`.
    """
    parts = [one.as_pairs() for one in loaded]
    joined = Judgements.joined(parts)
    if not all(one.named for one in loaded):
        for part in parts[1:]:
            if part.ids.dtype == joined.ids.dtype and (note := exchange_note(joined.ids, part.ids)):
                log.warning("judgements: %s", note)
    return joined


def load_all(
    paths: Sequence[Path | str],
    *,
    numbers: str | None = None,
    first: First = First.A,
    format: str | None = None,
    known: Collection[str] = (),
) -> list[LoadedJudgements]:
    """Every file as it is, its notes logged; parameters and errors as for :func:`read_judgements`."""
    found = []
    for path in paths:
        loaded = load_judgements(Path(path), numbers=numbers, first=first, format=format, known=known)
        for note in loaded.notes:
            log.warning("%s: %s", Path(path).name, note)
        found.append(loaded)
    return found


def load_judgements(
    path: Path,
    *,
    numbers: str | None = None,
    first: First = First.A,
    format: str | None = None,
    known: Collection[str] = (),
) -> LoadedJudgements:
    """Read one file; parameters and errors as for :func:`read_judgements`."""
    table = open_table(Path(path))
    columns = Columns(table.columns, file=table.name)
    if numbers not in (None, "120", "012"):
        raise InputError(
            f"numbers {numbers!r}: give 120 (1 is A, 2 is B, 0 is a tie) or 012 (0 is A, 1 is B)"
        )
    unread: dict[str, Unread] = {}
    results = read_results(table, format, unread)
    if results is not None:
        shape = f"a result file of {format or result_format(table)}"
        return _loaded(results, shape, unread, named=True)
    if "item" in columns and "answer" in columns:
        answers = answer_rows(table, columns, shapes=_SHAPES)
        return _loaded(answers, "scores of answers", unread, named=True)
    name = next((found for found in map(columns.find, _IDS) if found is not None), None)
    if name is None:
        raise InputError(f"{table.name} lacks the column id; its columns are {columns.shown}; give {_SHAPES}")
    if "judge" in columns:
        judgements = _long(table, columns, name, numbers, first, unread, known)
        return _loaded(judgements, "a row a judgement", unread, *_repeats(table, columns, name))
    judgements, notes = _wide(table, columns, name, numbers, first, unread, known)
    return _loaded(judgements, "a column a judge", unread, *notes)


def _loaded(
    found: Judgements | AnswerScores,
    shape: str,
    unread: Mapping[str, Unread],
    *notes: str,
    named: bool = False,
) -> LoadedJudgements:
    answers = isinstance(found, AnswerScores)
    counted = (
        *_missing(found.missing, len(found), "answers" if answers else "pairs"), *unread_lines(unread), *notes
    )  # fmt: skip
    if isinstance(found, AnswerScores):
        return LoadedJudgements(None, found, counted, shape, unread, named)
    return LoadedJudgements(found, None, counted, shape, unread, named)


def _missing(counts: dict[str, int], n: int, what: str) -> tuple[str, ...]:
    lost = {name: count for name, count in counts.items() if count}
    if not lost:
        return ()
    worst = sorted(lost, key=lambda name: -lost[name])[:3]
    shown = ", ".join(f"{name} {lost[name]}" for name in worst)
    more = f" and {len(lost) - len(worst)} more judges" if len(lost) > len(worst) else ""
    return (f"missing, of {n} {what}: {shown}{more}",)


def _long(table: Table, columns: Columns, id_name: str, numbers: str | None, first: First,
          unread: dict[str, Unread], known: Collection[str]) -> Judgements:  # fmt: skip
    """Rows of one judge each."""
    probs = [columns.find(name) for name in ("p_a", "p_b", "p_tie")]
    scores = [columns.find(name) for name in ("score_a", "score_b")]
    verdict = columns.find("verdict")
    judge, order = str(columns.find("judge")), columns.find("first")
    if verdict is not None:
        names: list[str] = [verdict]
    elif None not in scores:
        names = [str(name) for name in scores]
    elif None not in probs[:2]:
        names = [name for name in probs if name is not None]
    else:
        raise InputError(
            f"{table.name} has judges, but neither verdict, nor score_a and score_b, nor p_a and p_b; its "
            f"columns are {columns.shown}; name them so"
        )
    rows = [
        row for batch in table.batches([id_name, judge, *([order] if order else []), *names]) for row in batch
    ]
    ids, _ = _unique_ids(table, [row[0] for row in rows], id_name)
    index = {value: place for place, value in enumerate(dict.fromkeys(row[0] for row in rows))}
    default = First.UNKNOWN if verdict is None and None not in scores else first
    by_judge: dict[str, tuple[list[tuple[int, First]], list[Sequence[Any]]]] = {}
    skip = 3 if order else 2
    for count, row in enumerate(rows, start=1):
        where = f"{table.name} row {count} (id {row[0]})"
        if is_missing(row[1]):
            raise InputError(f"{where}: judge is empty; name the judge")
        slot = first_of(row[2], where) if order else default
        places, cells = by_judge.setdefault(str(row[1]), ([], []))
        places.append((index[row[0]], slot))
        given = row[skip:]
        cells.append(
            given
            if verdict is not None
            else [number(cell, f"{where}: {name}") for cell, name in zip(given, names, strict=True)]
        )
    found: dict[str, JudgeColumn] = {}
    # One judge that failed everywhere is missing; a file of which nothing can be read is a mistake.
    heard = verdict is not None and any(verdict_of(row[skip], numbers=NUMBERED) != LOST for row in rows)
    for name, (places, cells) in by_judge.items():
        if verdict is not None:
            flat = [one[0] for one in cells]
            unread[name] = unread_texts(flat)
            found[name] = verdict_column(
                name, places, flat, len(ids), file=table.name, coding=numbers, known=heard or name in known
            )
        elif None not in scores:
            found[name] = score_column(places, [(one[0], one[1]) for one in cells], len(ids))
        else:
            found[name] = probability_column(name, places, cells, len(ids), file=table.name)
    cost = columns.find("cost")
    return Judgements(ids, found, _costs(table, judge, cost) if cost else {})


def _repeats(table: Table, columns: Columns, id_name: str) -> list[str]:
    """A note where rows repeat a sample, as those of a file that was joined with itself do."""
    if (sample := columns.find("sample")) is None:
        return []
    names = [id_name, str(columns.find("judge")), sample, *filter(None, [columns.find("first")])]
    rows = [tuple(map(str, row)) for batch in table.batches(names) for row in batch]
    if not (count := len(rows) - len(set(rows))):
        return []
    repeated = "row repeats" if count == 1 else "rows repeat"
    return [f"{count} {repeated} {', '.join(names)} and count as more samples; leave out what is there twice"]


def _costs(table: Table, judge: str, cost: str) -> dict[str, float]:
    """Judge → mean cost of a call, of those that say one."""
    given: dict[str, list[float]] = {}
    for count, row in enumerate((row for batch in table.batches([judge, cost]) for row in batch), start=1):
        if not is_missing(row[1]):
            given.setdefault(str(row[0]), []).append(number(row[1], f"{table.name} row {count}: cost"))
    return {name: float(np.mean(values)) for name, values in given.items()}


def _unique_ids(table: Table, given: list[Any], name: str) -> tuple[pl.Series, str | None]:
    """The distinct ids in order of appearance, typed as ids are."""
    if not given:
        raise InputError(f"{table.path} has a header but no rows; fetch it again")
    return id_column(table, list(dict.fromkeys(given)), column=name)


def _wide(table: Table, columns: Columns, id_name: str, numbers: str | None, first: First,
          unread: dict[str, Unread], known: Collection[str]) -> tuple[Judgements, list[str]]:  # fmt: skip
    """A row a pair, one or more columns a judge; and notes on columns that may have been meant."""
    scores = suffixed(table, (":score_a", ":score_b"))
    probs = suffixed(table, ("_a", "_b"))
    if "score" in probs:  # of the file's one judge, who has no other name
        scores[PurePath(table.name).name.partition(".")[0]] = probs.pop("score")[:2]
    rest = [
        name
        for name in table.columns
        if not any(name in names for names in (*scores.values(), *probs.values()))
    ]
    order = columns.find("first")
    left_out = {id_name, order, *WINNERS, *WORD_COLUMNS}
    asked = [name for name in rest if name not in left_out and canonical(name) not in left_out]
    heads = filled_heads(table, [name for name in asked if name in known or not is_no_judge(name)])
    verdicts = [name for name, head in heads.items() if name in known or holds_verdicts(head)]
    probs = {name: own for name, own in probs.items() if numeric_columns(table, own)}
    used = list(
        dict.fromkeys([*verdicts, *(name for own in (*scores.values(), *probs.values()) for name in own)])
    )
    if not used:
        raise InputError(f"{table.name} holds no judge; its columns are {columns.shown}; give {_SHAPES}")
    rows = [row for batch in table.batches([id_name, *([order] if order else []), *used]) for row in batch]
    ids, _ = id_column(table, [row[0] for row in rows], column=id_name)
    skip = 2 if order else 1
    slots = [
        first_of(row[1], f"{table.name} row {k} (id {row[0]})") if order else first
        for k, row in enumerate(rows, start=1)
    ]
    alone = slots if order else [First.UNKNOWN] * len(rows)
    place_of = {name: skip + k for k, name in enumerate(used)}

    def cells(name: str) -> list[Any]:
        return [row[place_of[name]] for row in rows]

    def numbers_of(names: Sequence[str]) -> list[tuple[float, ...]]:
        return [
            tuple(
                number(row[place_of[name]], f"{table.name} row {k} (id {row[0]}): {name}") for name in names
            )
            for k, row in enumerate(rows, start=1)
        ]

    n = len(rows)
    places, unordered = list(enumerate(slots)), list(enumerate(alone))
    found: dict[str, JudgeColumn] = {
        name: verdict_column(
            name, places, cells(name), n, file=table.name, coding=numbers, known=name in known
        )
        for name in verdicts
    }
    for name, own in scores.items():
        found[name] = score_column(unordered, [(one[0], one[1]) for one in numbers_of(own)], n)
    for name, own in probs.items():
        found[name] = probability_column(name, places, numbers_of(own), n, file=table.name)
    unread.update({name: unread_texts(cells(name)) for name in verdicts})
    return Judgements(ids, found), unread_note({k: head for k, head in heads.items() if k not in verdicts})
