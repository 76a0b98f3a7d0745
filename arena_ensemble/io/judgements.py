"""Judgements: files of verdicts, scores or probabilities → `Judgements` or `AnswerScores`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..judgements import AnswerScores, First, Judgements
from ..judgements.known import Known
from ..judgements.orders import place_words
from ..judgements.pair_names import exchange_note
from .answer_rows import answer_columns, answer_rows, sides_of_pairs
from .cells import is_missing
from .column_names import Columns
from .ids import id_column
from .item_rows import is_of_items, item_rows
from .judgement_layout import check_numbers, id_name, shape_of, with_judge
from .judgement_rows import Words, number
from .judgement_shapes import SHAPES, WideShape, coding_of
from .result_files import read_results, result_format
from .tables import Table, open_table
from .unread import Unread, unread_lines

log = logging.getLogger(__name__)


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
    known: Known = (),
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
        Names that are surely judges', or what a fitted panel remembers of them (`Panel.known_`): their
        columns are read whatever they hold, and their numbers as the panel learned them.

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
    known: Known = (),
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
    known: Known = (),
) -> LoadedJudgements:
    """Read one file; parameters and errors as for :func:`read_judgements`."""
    table = open_table(Path(path))
    columns = with_judge(table, Columns(table.columns, file=table.name))
    check_numbers(numbers)
    unread: dict[str, Unread] = {}
    results = read_results(table, format, unread)
    if results is not None:
        shape = f"a result file of {format or result_format(table)}"
        return _loaded(results, shape, unread, named=True)
    if (named := answer_columns(table, columns)) is not None:
        answers, notes = answer_rows(table, columns, *named, shapes=SHAPES, known=known)
        pairs = sides_of_pairs(answers) if named[0] == columns.find("id") else None
        if pairs is not None:
            return _loaded(pairs, "a row an answer of a pair", unread, *notes)
        return _loaded(answers, "scores of answers", unread, *notes, named=True)
    if (item := is_of_items(table, columns, known)) is not None:
        answers, notes = item_rows(table, columns, item, known=known)
        pairs = sides_of_pairs(answers, ("0", "1")) if item == columns.find("id") else None
        if pairs is not None:
            return _loaded(pairs, "a list of A's and B's score a judge", unread)
        return _loaded(answers, "judges of several answers, a row an item", unread, *notes, named=True)
    name = id_name(table, columns)
    layout = shape_of(table, columns, name, numbers, first, known)
    rows = [row for batch in table.batches(layout.columns) for row in batch]
    if not rows and layout.long:
        raise InputError(f"{table.path} has a header but no rows; fetch it again")
    given = [row[0] for row in rows]
    ids, _ = id_column(table, list(dict.fromkeys(given)) if layout.long else given, column=name)
    words: dict[str, Words] = {}
    found = layout.read(rows, known=known, unread=unread, words=words)
    coded = {judge: coding_of(judge, numbers, known) or "120" for judge, one in words.items() if one.digits}
    for judge, judged in found.items():
        place_words(judge, judged).check(table.name)
    if isinstance(layout, WideShape):
        return _loaded(Judgements(ids, found, numbers=coded), "a column a judge", unread, *layout.notes)
    cost = columns.find("cost")
    costs = _costs(table, str(columns.find("judge")), cost) if cost else {}
    repeats = layout.repeats_note(layout.repeats(rows))
    return _loaded(Judgements(ids, found, costs, coded), "a row a judgement", unread, *layout.notes, *repeats)


def _loaded(
    found: Judgements | AnswerScores,
    shape: str,
    unread: Mapping[str, Unread],
    *notes: str,
    named: bool = False,
) -> LoadedJudgements:
    answers = isinstance(found, AnswerScores)
    counted = (
        *missing_note(found.missing, len(found), "answers" if answers else "pairs"),
        *unread_lines(unread),
        *notes,
    )
    if isinstance(found, AnswerScores):
        return LoadedJudgements(None, found, counted, shape, unread, named)
    return LoadedJudgements(found, None, counted, shape, unread, named)


def missing_note(counts: Mapping[str, int], n: int, what: str) -> tuple[str, ...]:
    """How many of ``n`` answers each of the judges lacks that lack most; nothing where none lacks any."""
    lost = {name: count for name, count in counts.items() if count}
    if not lost:
        return ()
    worst = sorted(lost, key=lambda name: -lost[name])[:3]
    shown = ", ".join(f"{name} {lost[name]}" for name in worst)
    more = f" and {len(lost) - len(worst)} more judges" if len(lost) > len(worst) else ""
    return (f"missing, of {n} {what}: {shown}{more}",)


def _costs(table: Table, judge: str, cost: str) -> dict[str, float]:
    """Judge → mean cost of a call, of those that say one."""
    given: dict[str, list[float]] = {}
    for count, row in enumerate((row for batch in table.batches([judge, cost]) for row in batch), start=1):
        if not is_missing(row[1]):
            given.setdefault(str(row[0]), []).append(number(row[1], f"{table.name} row {count}: cost"))
    return {name: float(np.mean(values)) for name, values in given.items()}
