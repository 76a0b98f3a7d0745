"""Other people's predictions and labels: files of probabilities → ``Predictions``, by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ..errors import InputError
from ..predictions import Floats, Predictions, average_folds, normalised
from .battles import column_of_ids
from .cells import WINNERS, RowProblem, one_hot_outcome, verdict_outcome
from .tables import Table, open_table

_LOGS: Final = ("logp_a", "logp_b", "logp_tie")
_SWAP_LOGS: Final = ("swap_logp_a", "swap_logp_b", "swap_logp_tie")
_PLAIN: Final = ("p_a", "p_b", "p_tie")
_LARGEST_FOLD: Final = 1 << 31
_TOLERANCE: Final = 1e-3
"""A row's probabilities may miss 1 by this much (files hold rounded numbers); then they are normalised."""


@dataclass(frozen=True)
class Member:
    """Where one member's three columns are, and whether they are logarithms."""

    name: str
    columns: tuple[str, ...]
    """A, B, tie; or A, B where no tie can be voted"""
    logs: bool = False
    swap: tuple[str, str, str] | None = None


def read_predictions(path: Path) -> dict[str, Predictions]:
    """The members of a predictions file, by name; of a row per (id, fold), the mean over folds.

    See :func:`read_fold_predictions`, which keeps the folds apart.
    """
    return {
        name: parts[0] if len(parts) == 1 else average_folds(parts)
        for name, parts in read_fold_predictions(path).items()
    }


def read_fold_predictions(path: Path) -> dict[str, list[Predictions]]:
    """The members of a predictions file, by name: one reading, or one of each fold's model.

    The columns say what the numbers are; values never do. Read are ``id`` with Kaggle's
    ``winner_model_a, winner_model_b, winner_tie``, or ``p_a, p_b, p_tie``, or one or more
    ``NAME_a, NAME_b, NAME_tie`` (all probabilities), or the first two of ``winner_model_*`` or ``p_*``
    where no tie can be voted, or our own ``logp_a, logp_b, logp_tie`` with
    ``swap_logp_*`` where both orders were read (natural logarithms). A column ``fold`` is kept, else
    fold is -1. Rows that miss a sum of 1 by at most 1e-3 are normalised. A file of ours that holds a row
    per (id, fold) becomes one reading a fold, in the order of their numbers, with the same ids.

    Returns
    -------
    dict
        Member's name (the file's stem where the file holds one) → readings in the file's order.

    Raises
    ------
    InputError
        Unknown columns, or a row that is no distribution, a NaN, a repeated id; named by row and id.
    """
    table = open_table(Path(path))
    members = _members(table)
    if "id" not in table.columns:
        raise InputError(f"{table.name} lacks the column id; its columns are {_shown(table)}")
    numbers = list(dict.fromkeys(name for m in members for name in (*m.columns, *(m.swap or ()))))
    with_fold = "fold" in table.columns
    ids: list[Any] = []
    folds: list[int] = []
    values: list[list[float]] = []
    for batch in table.batches(["id", *(["fold"] if with_fold else []), *numbers]):
        for row in batch:
            where = f"{table.name} row {len(ids) + 1} (id {row[0]})"
            cells = row[1:]
            if with_fold:
                folds.append(_whole(cells[0], where))
                cells = cells[1:]
            values.append([_number(cell, name, where) for cell, name in zip(cells, numbers, strict=True)])
            ids.append(row[0])
    if not ids:
        raise InputError(f"{table.path} has a header but no rows")
    array = np.array(values, dtype=np.float64)
    fold = np.array(folds or [-1] * len(ids), dtype=np.int64)
    per_fold = with_fold and len(set(ids)) < len(ids)
    series = column_of_ids(table, ids, unique=not per_fold)
    found: dict[str, list[Predictions]] = {}
    for member in members:
        logs = _log_probs(table, ids, array[:, [numbers.index(n) for n in member.columns]], logs=member.logs)
        swap = None
        if member.swap is not None:
            swap = _log_probs(table, ids, array[:, [numbers.index(n) for n in member.swap]], logs=True)
        if per_fold:
            found[member.name] = _fold_by_fold(table, series, logs, fold, swap)
        else:
            found[member.name] = [Predictions(series, logs, fold, swap)]
    return found


def read_labels(path: Path) -> pl.DataFrame:
    """Outcomes without texts: columns ``id`` (Int64 or String) and ``outcome`` (Int8, 0 A, 1 B, 2 tie).

    Reads ``id`` with Kaggle's winner columns, or ``label`` (0, 1, 2), or ``winner`` (model_a, …).

    Raises
    ------
    InputError
        Unknown columns, or a row whose outcome cannot be read, named by row and id.
    """
    table = open_table(Path(path))
    if "id" not in table.columns:
        raise InputError(f"{table.name} lacks the column id; its columns are {_shown(table)}")
    ways: list[Sequence[str]] = [WINNERS, ("label",), ("winner",)]
    columns = next((way for way in ways if set(way) <= set(table.columns)), None)
    if columns is None:
        raise InputError(f"{table.name} has no outcome; expected {', '.join(WINNERS)}, or label, or winner")
    ids: list[Any] = []
    outcomes: list[int] = []
    for batch in table.batches(["id", *columns]):
        for name, *cells in batch:
            try:
                outcomes.append(_outcome(columns, cells))
            except RowProblem as problem:
                raise InputError(f"{table.name} row {len(ids) + 1} (id {name}): {problem}") from None
            ids.append(name)
    if not ids:
        raise InputError(f"{table.path} has a header but no rows")
    series = column_of_ids(table, ids, unique=True)
    return pl.DataFrame({"id": series, "outcome": pl.Series(outcomes, dtype=pl.Int8)})


def _outcome(columns: Sequence[str], cells: Sequence[Any]) -> int:
    if columns == WINNERS:
        return one_hot_outcome(cells)
    if columns == ("label",):
        text = str(cells[0]).strip()
        if text not in ("0", "1", "2"):
            raise RowProblem(f"label is {text[:30]!r}, expected 0 (A), 1 (B) or 2 (tie)")
        return int(text)
    outcome = verdict_outcome(cells[0])
    if outcome is None:
        raise RowProblem("winner is empty, expected model_a, model_b or a kind of tie")
    return outcome


def _members(table: Table) -> list[Member]:
    columns = table.columns
    stem = table.name.split(".")[0]
    if set(_LOGS) <= set(columns):
        return [Member(stem, _LOGS, logs=True, swap=_SWAP_LOGS if set(_SWAP_LOGS) <= set(columns) else None)]
    for names in (WINNERS, _PLAIN):
        if set(names) <= set(columns):
            return [Member(stem, names)]
    found = []
    for name in columns:
        base = name.removesuffix("_tie")
        trio = (f"{base}_a", f"{base}_b", name)
        if base and base != name and set(trio) <= set(columns):
            found.append(Member(base, trio))
    two = next((n[:2] for n in (WINNERS, _PLAIN) if set(n[:2]) <= set(columns) and n[2] not in columns), None)
    if not found and two is not None:
        return [Member(stem, two)]
    if not found:
        raise InputError(
            f"{table.name} holds no predictions: its columns are {_shown(table)}; expected id with "
            f"{', '.join(WINNERS)}, or {', '.join(_PLAIN)}, or NAME_a, NAME_b, NAME_tie"
        )
    return found


def _log_probs(table: Table, ids: Sequence[Any], rows: Floats, *, logs: bool) -> Floats:
    """Checked natural log-probabilities (n, 3); the first bad row is named and all are counted."""
    with np.errstate(all="ignore"):
        probs: Floats = np.exp(rows) if logs else rows
    total: Floats = probs.sum(axis=1)
    in_range = np.all((probs >= 0) & (probs <= 1 + _TOLERANCE), axis=1)  # also false for NaN
    off: Floats = np.abs(total - 1)
    bad = np.flatnonzero(~(in_range & (off <= _TOLERANCE)))
    if len(bad):
        row = int(bad[0])
        shown = "[" + ", ".join(f"{value:.6g}" for value in rows[row]) + "]"
        reason = f"sum to {total[row]:.6g}, expected 1" if in_range[row] else "are not between 0 and 1"
        more = f" ({len(bad)} of {len(rows)} rows are like this)" if len(bad) > 1 else ""
        raise InputError(
            f"{table.name} row {row + 1} (id {ids[row]}): the {'exponentials of the ' if logs else ''}"
            f"probabilities {shown} {reason}{more}"
        )
    if rows.shape[1] == 2:
        rows = np.column_stack([rows, np.zeros(len(rows))])
    with np.errstate(divide="ignore"):
        return normalised(rows if logs else np.log(rows))


def _fold_by_fold(
    table: Table, ids: pl.Series, logs: Floats, fold: npt.NDArray[np.int64], swap: Floats | None
) -> list[Predictions]:
    parts: list[Predictions] = []
    for k in np.unique(fold):
        rows = np.flatnonzero(fold == k)
        try:
            part = Predictions(ids[rows], logs[rows], fold[rows], None if swap is None else swap[rows])
            parts.append(part if not parts else part.aligned_to(parts[0].ids, name=f"fold {k}"))
        except InputError as error:
            raise InputError(f"{table.name}, fold {k}: {error}") from None
        if len(part) != len(parts[0]):
            raise InputError(f"{table.name}: fold {k} holds {len(part)} ids, another holds {len(parts[0])}")
    return parts


def _number(cell: Any, name: str, where: str) -> float:
    try:
        value = float(cell)
    except (TypeError, ValueError):
        told = "empty" if cell is None or cell == "" else repr(str(cell)[:30])
        raise InputError(f"{where}: {name} is {told}, expected a number") from None
    if math.isnan(value):
        raise InputError(f"{where}: {name} is NaN; a prediction may not be missing")
    return value


def _whole(cell: Any, where: str) -> int:
    try:
        value = float(cell)
        if value == int(value) and abs(value) < _LARGEST_FOLD:
            return int(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InputError(f"{where}: fold is {str(cell)[:30]!r}, expected a whole number")


def _shown(table: Table) -> str:
    return ", ".join(name[:30] for name in table.columns[:12])
