"""A battles file of any known format → ``Battles`` and a report of what was found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from ..battles import TURNS, Battles
from ..errors import InputError
from .battle_formats import FORMATS, Format, detect, require_columns, shared_columns
from .cells import ReadRow, RowProblem
from .tables import Row, Table, open_table
from .validation import BattlesReport, describe

_SHOWN_PROBLEMS: Final = 3
_WHOLE_NUMBER: Final = re.compile(r"-?(0|[1-9]\d{0,18})\Z")
_FLOAT_ID: Final = re.compile(r"-?\d+(\.\d*([eE][+-]?\d+)?|[eE]\+\d+)\Z")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_INT64: Final = 1 << 63


@dataclass(frozen=True)
class LoadedBattles:
    """The battles of a file and what the reader saw while it read them."""

    battles: Battles
    report: BattlesReport

    @property
    def n_classes(self) -> int:
        """How many outcomes the task has: 3, or 2 where a tie cannot be voted."""
        return self.report.task_outcomes


def read_battles(path: Path, *, format: str | None = None, need_outcomes: bool = False) -> Battles:
    """The battles of a file; see :func:`load_battles`."""
    return load_battles(path, format=format, need_outcomes=need_outcomes).battles


def load_battles(
    path: Path, *, format: str | None = None, need_outcomes: bool = False, isolated: bool = False
) -> LoadedBattles:
    """Read a battles file and report on it.

    Rows keep the file's order and none is dropped. Ids are integers where every id is a plain whole
    number, else strings exactly as written (``007`` stays a string). A lone surrogate is replaced by
    U+FFFD and counted.

    Parameters
    ----------
    path
        CSV, JSON lines or parquet, plain or compressed by gzip or zstandard.
    format
        A key of ``FORMATS``; by default told from the columns.
    need_outcomes
        Refuse a file without outcomes, or with one outcome only: nothing can be trained on it.
    isolated
        Read a parquet file in another process first; see :func:`tables.open_table`.

    Raises
    ------
    InputError
        The file cannot be read, fits no format, or has rows that cannot be used: the first few are
        named by row number (1 = the first row of data) and id, and all are counted.
    """
    table = open_table(Path(path), isolated=isolated)
    form = _format_of(table, format)
    columns, numbered = _columns_of(table, form)
    parts: list[pl.DataFrame] = []
    ids: list[Any] = []
    problems: list[str] = []
    bad = rows = surrogates = 0
    for batch in table.batches(columns):
        good: list[ReadRow] = []
        for row in batch:
            rows += 1
            name = rows if numbered else row[0]
            try:
                ids.append(_checked_id(name))
                good.append(form.read(dict(zip(columns, row, strict=True))))
            except RowProblem as problem:
                bad += 1
                if len(problems) < _SHOWN_PROBLEMS:
                    problems.append(f"row {rows} (id {str(name)[:60]}): {problem}")
        if not bad:
            part, replaced = _frame_of(good)
            parts.append(part)
            surrogates += replaced
    if bad:
        raise InputError(_told(table.name, problems, bad, rows))
    if not rows:
        raise InputError(f"{table.path} has a header but no rows")
    series = column_of_ids(table, ids)
    frame = pl.concat(parts, rechunk=True).insert_column(0, series)
    known = [name for name in ("model_a", "model_b", "language") if frame[name].null_count() < rows]
    battles = Battles(frame.select("id", "prompt", "response_a", "response_b", "outcome", *known))
    if need_outcomes:
        _check_outcomes(table, battles)
    return LoadedBattles(battles, describe(battles, table, form, surrogates))


def _format_of(table: Table, wanted: str | None) -> Format:
    if wanted is not None:
        if wanted not in FORMATS:
            raise InputError(f"unknown format {wanted!r}; known formats: {', '.join(FORMATS)}")
        form = FORMATS[wanted]
    else:
        first: Sequence[Row] = ()
        if shared_columns(table.columns):
            first = next(table.batches(["prompt"]), [])[:50]
        form = detect(table.columns, [row[0] for row in first], file=table.name)
    require_columns(form, table.columns, file=table.name)
    return form


def _columns_of(table: Table, form: Format) -> tuple[list[str], bool]:
    """The columns to read, the id first where there is one, and whether rows are numbered instead."""
    found = [name for name in form.ids if name in table.columns][:1]
    others = [
        name for name in (*form.required, *form.optional) if name in table.columns and name not in found
    ]
    return [*found, *others], not found


def _checked_id(value: Any) -> Any:
    if value is None or value == "":
        raise RowProblem("the id is empty")
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise RowProblem(f"the id is a {type(value).__name__}, expected an integer or a string")
    return value


def column_of_ids(table: Table, ids: list[Any], *, unique: bool = True) -> pl.Series:
    """Ids as one Series, Int64 or String, never re-typed.

    Raises
    ------
    InputError
        An id is empty or of another type than the rest, or (``unique``) repeats; named by row.
    """
    for row, value in enumerate(ids, start=1):
        try:
            _checked_id(value)
        except RowProblem as problem:
            raise InputError(f"{table.name} row {row} (id {value}): {problem}") from None
    whole = all(type(value) is int and -_INT64 <= value < _INT64 for value in ids)
    if not whole and table.kind == "csv":
        if all(
            _WHOLE_NUMBER.match(value) and -_INT64 <= int(value) < _INT64 and value != "-0" for value in ids
        ):
            ids, whole = [int(value) for value in ids], True
        floats = [] if whole else [row for row, value in enumerate(ids) if _FLOAT_ID.match(value)]
        if floats and all(_WHOLE_NUMBER.match(value) or _FLOAT_ID.match(value) for value in ids):
            row = floats[0]
            raise InputError(
                f"{table.name} row {row + 1} (id {ids[row]}): the id is a float; another tool re-typed "
                "the ids, write them as the integers or strings that they were"
            )
    if not whole:
        row = next((row for row, value in enumerate(ids) if not isinstance(value, str)), -1)
        if row >= 0:
            kind = (
                "an integer among strings" if any(isinstance(v, str) for v in ids) else "too large an integer"
            )
            raise InputError(
                f"{table.name} row {row + 1} (id {ids[row]}): the id is {kind}; use one type for all ids"
            )
    if unique and len(set(ids)) < len(ids):
        seen: dict[Any, int] = {}
        repeats = [
            (row, value) for row, value in enumerate(ids, start=1) if seen.setdefault(value, row) != row
        ]
        row, value = repeats[0]
        told = f"{table.name} row {row} (id {value}): the id repeats row {seen[value]}; ids must be unique"
        raise InputError(told + (f" ({len(repeats)} rows repeat an id)" if len(repeats) > 1 else ""))
    return pl.Series(
        "id",
        ids if whole else [replaced_surrogates(value) for value in ids],
        dtype=pl.Int64 if whole else pl.String,
    )


def _frame_of(rows: list[ReadRow]) -> tuple[pl.DataFrame, int]:
    """Rows as columns, and how many lone surrogates were replaced."""
    replaced = 0
    data: dict[str, pl.Series] = {}
    for place, name in enumerate(("prompt", "response_a", "response_b")):
        lists: list[list[str | None]] = [row[place] for row in rows]  # type: ignore[misc]
        data[name], count = _turn_series(name, lists)
        replaced += count
    data["outcome"] = pl.Series("outcome", [row.outcome for row in rows], dtype=pl.Int8)
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
    row = np.repeat(np.arange(len(lists)), [len(turns) for turns in lists])
    grouped = pl.DataFrame({"row": row, "turn": column}).group_by("row", maintain_order=True).agg("turn")
    return grouped["turn"].cast(TURNS).alias(name), replaced


def replaced_surrogates(text: str) -> str:
    """The text with surrogate pairs joined and every lone surrogate replaced by U+FFFD."""
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _check_outcomes(table: Table, battles: Battles) -> None:
    outcome = battles.frame["outcome"]
    if outcome.null_count() == len(outcome):
        raise InputError(f"{table.path} holds no outcomes; training needs the winner columns")
    if outcome.null_count():
        row = int(outcome.is_null().arg_max() or 0)
        raise InputError(
            f"{table.name} row {row + 1} (id {battles.ids[row]}): no outcome; training needs one in each row"
        )
    if outcome.n_unique() == 1:
        kind = ("A wins", "B wins", "a tie")[int(outcome[0])]
        raise InputError(
            f"{table.path} holds one outcome only ({kind} in all {len(outcome)} rows); nothing can be learned"
        )


def _told(name: str, problems: list[str], bad: int, rows: int) -> str:
    if bad == 1:
        return f"{name} {problems[0]}"
    rest = f"; and {bad - len(problems)} more" if bad > len(problems) else ""
    return f"{name}: {bad} of {rows} rows cannot be used: {'; '.join(problems)}{rest}"
