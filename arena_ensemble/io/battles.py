"""A battles file of any known format → ``Battles`` and a report of what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ..battles import TEXTS, TURNS, Battles
from ..errors import InputError
from .cells import LIST, BattleRow, RowProblem
from .column_names import MAKE
from .detection import Detected, detect
from .filed_battles import MANY_ROWS, FiledBattles, TextFiles
from .ids import checked_id, id_column, replaced_surrogates
from .tables import Table, open_table
from .validation import BattlesReport, describe

_SHOWN_PROBLEMS: Final = 3
_IS_TEXT: Final = pl.element().is_not_null() & (pl.element() != "")


@dataclass(frozen=True)
class LoadedBattles:
    """The battles of a file and what the reader saw while it read them."""

    battles: Battles
    report: BattlesReport
    groups: pl.Series | None = None
    """(n,) strings: rows of one question, where a ``question_id`` repeats and so cannot be the id"""

    @property
    def n_classes(self) -> int:
        """How many outcomes the task has: 3, or 2 where a tie cannot be voted."""
        return self.report.task_outcomes


def read_battles(
    path: Path,
    *,
    format: str | None = None,
    need_outcomes: bool = False,
    need_votes: bool = False,
    need_ids: bool = True,
    skip_unvoted: bool = False,
    scratch: Path | None = None,
) -> Battles:
    """The battles of a file; see :func:`load_battles`."""
    return load_battles(
        path,
        format=format,
        need_outcomes=need_outcomes,
        need_votes=need_votes,
        need_ids=need_ids,
        skip_unvoted=skip_unvoted,
        scratch=scratch,
    ).battles


def load_battles(
    path: Path,
    *,
    format: str | None = None,
    need_outcomes: bool = False,
    need_votes: bool = False,
    need_ids: bool = True,
    skip_unvoted: bool = False,
    isolated: bool = False,
    scratch: Path | None = None,
) -> LoadedBattles:
    """Read a battles file and report on it.

    Rows keep the file's order; none is dropped but by ``skip_unvoted``. Ids are integers where every id
    is a whole number, else strings exactly as written (``007`` stays a string). Where ``question_id``
    stands for the id but repeats, the rows are numbered and it becomes their group; if such a file says
    the judged ``turn``, later turns are not shown. A lone surrogate is replaced by U+FFFD and counted.

    Parameters
    ----------
    path
        CSV (comma, semicolon or tab), JSON or parquet, plain or packed by gzip, zstandard or zip.
    format
        A key of ``FORMATS``; by default decided from the columns and the first rows.
    need_outcomes
        Refuse rows without a vote, and a file with one outcome only: nothing can be trained on it.
    need_votes
        Refuse rows without a vote.
    need_ids
        False: a file without ids is read all the same, and its rows are numbered from 1.
    skip_unvoted
        Leave out the rows without a vote, with a note in the report, instead of refusing them.
    isolated
        Read a parquet file in another process first; see :func:`tables.open_table`.
    scratch
        A folder for the texts of more than 200,000 battles, see `filed_battles`; None: they are in memory. A
        file that says which turn was judged is read into memory all the same.

    Raises
    ------
    InputError
        The file cannot be read, fits no format, or has rows that cannot be used: the first few are
        named by row number (1 = the first row of data) and id, and all are counted.
    """
    table = open_table(Path(path), isolated=isolated)
    found = detect(table, format, need_ids=need_ids)
    rows = _read_rows(table, found, scratch)
    found.votes.check()
    notes = list(found.notes)
    ids, groups, note = _ids_of(table, found, rows.ids)
    notes += [note] if note else []
    if rows.texts is not None:
        rows.texts.finish()
    frame = pl.concat(rows.parts, rechunk=True).insert_column(0, ids)
    if groups is not None or rows.judged:
        frame, note = judged_turns(frame, rows.turns)
        notes += [note] if note else []
    if not rows.asks and (
        found.form.paired or (found.layout.question and found.layout.question.kind != LIST)
    ):
        _refuse_no_question(table, found)
    unvoted, places = np.flatnonzero(frame["outcome"].is_null().to_numpy()), np.arange(len(frame))
    if 0 < len(unvoted) < len(frame) and (skip_unvoted or need_outcomes or need_votes):
        count = f"{len(unvoted)} of {len(frame)} rows without a vote"
        where = f"row {unvoted[0] + 1} (id {frame['id'][int(unvoted[0])]})"
        if not skip_unvoted:
            raise InputError(
                f"{table.name}: {count}, the first in {where}; fill them in, or leave these rows out with "
                "--skip-unvoted "
                "(skip_unvoted=True)"
            )
        kept = frame["outcome"].is_not_null()
        frame, groups = frame.filter(kept), None if groups is None else groups.filter(kept)
        places = np.flatnonzero(kept.to_numpy())
        notes.append(f"left out: {count}, the first in {where}")
    known = [name for name in ("model_a", "model_b", "language") if frame[name].null_count() < len(frame)]
    if rows.texts is not None:
        battles: Battles = FiledBattles(rows.texts, frame.select("id", "outcome", *known), places)
    else:
        battles = Battles(frame.select("id", *TEXTS, "outcome", *known))
    if need_outcomes or need_votes:
        _check_outcomes(table, battles, several=need_outcomes)
    report = describe(battles, table, found.form, rows.surrogates, notes, found.columns_read or {})
    return LoadedBattles(battles, report, groups)


@dataclass
class _Rows:
    """What the rows of a file hold, in columns, before they are put together."""

    parts: list[pl.DataFrame] = field(default_factory=list)
    """without the texts, where those are in files"""
    texts: TextFiles | None = None
    asks: bool = False
    """whether any row says what was asked"""
    ids: list[Any] = field(default_factory=list)
    turns: list[Any] = field(default_factory=list)
    judged: bool = False
    """whether the file names a judge, so that ``turn`` says which turn was judged"""
    surrogates: int = 0

    def add(self, part: pl.DataFrame, scratch: Path | None) -> None:
        """Keep further rows; from `MANY_ROWS` on, the texts of all of them in files."""
        self.asks = self.asks or bool(part["prompt"].list.eval(_IS_TEXT).list.any().any())
        self.parts.append(part)
        if scratch is not None and self.texts is None and sum(map(len, self.parts)) > MANY_ROWS:
            self.texts = TextFiles(scratch)
            for one in self.parts[:-1]:
                self.texts.add(one)
            self.parts = [one.drop(TEXTS) for one in self.parts[:-1]] + [part]
        if self.texts is not None:
            self.texts.add(part)
            self.parts[-1] = part.drop(TEXTS)


def _read_rows(table: Table, found: Detected, scratch: Path | None) -> _Rows:
    fields = list(found.fields)
    lead = [name for name in (found.id_column, found.turn_column) if name is not None]
    columns = [*lead, *found.votes.columns, *found.fields.values()]
    first_vote, first_text = len(lead), len(lead) + len(found.votes.columns)
    result = _Rows(judged="judge" in (name.lower() for name in table.columns))
    numbered, with_turn = found.id_column is None, found.turn_column is not None
    read, layout, vote = found.form.read, found.layout, found.votes.read
    has_votes = found.votes.place is not None
    problems: list[str] = []
    bad = rows = 0
    for batch in table.batches(columns):
        good: list[BattleRow] = []
        outcomes: list[int | None] = []
        for row in batch:
            rows += 1
            name = rows if numbered else row[0]
            try:
                result.ids.append(checked_id(name))
                good.append(read(dict(zip(fields, row[first_text:], strict=True)), layout))
                if has_votes:
                    outcomes.append(vote(row[first_vote:first_text], rows, name))
            except RowProblem as problem:
                bad += 1
                if len(problems) < _SHOWN_PROBLEMS:
                    problems.append(f"row {rows} (id {str(name)[:60]}): {problem}")
        if with_turn:
            result.turns += [row[len(lead) - 1] for row in batch]
        if not bad:
            part, replaced = frame_of(good, outcomes if has_votes else [row.outcome for row in good])
            result.add(part, None if with_turn else scratch)
            result.surrogates += replaced
    if bad:
        raise InputError(bad_rows(table.name, problems, bad, f"{rows}"))
    if not rows:
        raise InputError(f"{table.path} has a header but no rows; fetch it again")
    return result


def _ids_of(table: Table, found: Detected, ids: list[Any]) -> tuple[pl.Series, pl.Series | None, str | None]:
    """The ids, the groups where they repeat by right, and a note on either."""
    column = found.id_column
    if column is None:
        note = "no ids in the file: the rows were numbered from 1" if found.form.needs_id else None
        return pl.Series("id", range(1, len(ids) + 1), dtype=pl.Int64), None, note
    if column.lower() == "id" or found.form.ids[0] in table.columns or len(set(ids)) == len(ids):
        series, note = id_column(table, ids, column=column)
        return series, None, note
    series, _ = id_column(table, ids, column=column, unique=False)
    numbers = pl.Series("id", range(1, len(ids) + 1), dtype=pl.Int64)
    note = f"{column} repeats: the rows were numbered from 1 and {column} is their group"
    return numbers, series.cast(pl.String).alias("group"), note


def judged_turns(frame: pl.DataFrame, turns: list[Any]) -> tuple[pl.DataFrame, str | None]:
    """Only the turns up to the judged one; ``turn`` counts from 1."""
    judged = [_whole_turn(turn) for turn in turns]
    if not any(judged):
        return frame, None
    limit = pl.Series("turn", judged, dtype=pl.Int64)
    longer = (limit < frame["prompt"].list.len()).fill_null(False)
    if not longer.any():
        return frame, None
    sides = ("prompt", "response_a", "response_b")
    cut = [pl.col(side).list.head(pl.coalesce("turn", pl.col(side).list.len())) for side in sides]
    frame = frame.with_columns(limit).with_columns(cut).drop("turn")
    return frame, f"{int(longer.sum())} rows show the turns up to the judged one only (column turn)"


def _whole_turn(value: Any) -> int | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() and 1 <= number < 1 << 31 else None


def _refuse_no_question(table: Table, found: Detected) -> None:
    """Refuse a file in which no row at all says what was asked."""
    question = found.layout.question
    where = (
        "no column holds the question" if question is None else f"{question.columns[0]} is empty in every row"
    )
    columns = ", ".join(name[:24] for name in table.columns[:10])
    raise InputError(f"{table.name}: {where}; its columns are {columns}; fill in the question, or {MAKE}")


def frame_of(rows: Sequence[BattleRow], outcomes: Sequence[int | None]) -> tuple[pl.DataFrame, int]:
    """Rows as columns, and how many lone surrogates were replaced."""
    replaced = 0
    data: dict[str, pl.Series] = {}
    for place, name in enumerate(("prompt", "response_a", "response_b")):
        lists: list[list[str | None]] = [row[place] for row in rows]  # type: ignore[misc]
        data[name], count = _turn_series(name, lists)
        replaced += count
    data["outcome"] = pl.Series("outcome", outcomes, dtype=pl.Int8)
    for name in ("model_a", "model_b", "language"):
        values = [getattr(row, name) for row in rows]
        data[name] = pl.Series(name, [v and replaced_surrogates(v) for v in values], dtype=pl.String)
    return pl.DataFrame(data), replaced


def _turn_series(name: str, lists: list[list[str | None]]) -> tuple[pl.Series, int]:
    # one flat column grouped back into lists: six times faster than a Series of Python lists
    flat = [turn for turns in lists for turn in turns]
    replaced = 0
    try:
        column = pl.Series("turn", flat, dtype=pl.String)
    except UnicodeEncodeError:
        clean = [turn if turn is None else replaced_surrogates(turn) for turn in flat]
        replaced = sum(
            after.count("\ufffd") - before.count("\ufffd")
            for before, after in zip(flat, clean, strict=True)
            if before is not None and after is not None
        )
        column = pl.Series("turn", clean, dtype=pl.String)
    row: npt.NDArray[np.int64] = np.repeat(np.arange(len(lists)), [len(turns) for turns in lists])
    grouped = pl.DataFrame({"row": row, "turn": column}).group_by("row", maintain_order=True).agg("turn")
    return grouped["turn"].cast(TURNS).alias(name), replaced


def _check_outcomes(table: Table, battles: Battles, *, several: bool) -> None:
    outcome = battles.facts["outcome"]
    if outcome.null_count() == len(outcome):
        raise InputError(
            f"{table.path} holds no outcomes; training needs the winner columns: add them, or a column "
            "winner (model_a, "
            "model_b or tie)"
        )
    if several and outcome.n_unique() == 1:
        kind = ("A wins", "B wins", "a tie")[int(outcome[0])]
        raise InputError(
            f"{table.path} holds one outcome only ({kind} in all {len(outcome)} rows); nothing can be "
            "learned: check "
            "the votes"
        )


def bad_rows(name: str, problems: list[str], bad: int, rows: str) -> str:
    """The first few rows that cannot be used, and how many of which ``rows``."""
    if bad == 1:
        return f"{name} {problems[0]}"
    rest = f"; and {bad - len(problems)} more" if bad > len(problems) else ""
    return f"{name}: {bad} of {rows} rows cannot be used: {'; '.join(problems)}{rest}"
