"""Predictions of other tools: files of probabilities → ``Predictions``, by name."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ..errors import InputError
from ..predictions import Floats, Predictions, average_folds
from .array_files import id_list, is_array_file, read_arrays
from .column_names import Columns
from .ids import id_column
from .number_columns import NumberColumn
from .prediction_columns import Trio, find_trios, named_as_labels, one_or_named
from .probabilities import as_log_probs
from .repeated_rows import average_seeds, averaged_rows, refuse_repeated
from .tables import Table, open_table

log = logging.getLogger(__name__)

_LARGEST_FOLD: Final = 1 << 31
_IDS: Final = ("id", "question_id")


@dataclass(frozen=True)
class LoadedPredictions:
    """The members of a file, and what the reader changed or left out while it read them."""

    members: dict[str, list[Predictions]]
    """member's name → its predictions, or those of each fold's model, in the file's order"""
    notes: tuple[str, ...] = ()
    """what was changed: rows normalised, ids re-typed"""
    ignored: tuple[str, ...] = ()
    """columns that were not read"""
    columns_read: Mapping[str, str] = field(default_factory=dict)
    """column of the file → what it was taken for"""


@dataclass
class _Numbers:
    """The rows of a file before they are checked."""

    ids: pl.Series
    members: dict[str, tuple[Floats, Floats | None, bool]]
    """name → shown order, swapped order, and whether they are logarithms"""
    fold: npt.NDArray[np.int64]
    with_fold: bool = False
    notes: list[str] = field(default_factory=list)
    ignored: tuple[str, ...] = ()
    columns_read: dict[str, str] = field(default_factory=dict)


def read_predictions(
    path: Path, *, oof: bool = False, logits: bool = False, ids: Path | None = None, average: bool = False
) -> dict[str, Predictions]:
    """The members of a predictions file, by name; of a row per (id, fold), the mean over folds.

    Parameters and errors as for :func:`load_predictions`; what the reader changed is logged.
    """
    loaded = load_predictions(path, oof=oof, logits=logits, ids=ids, average=average)
    for note in loaded.notes:
        log.warning("%s: %s", Path(path).name, note)
    if loaded.ignored:
        log.info("%s: not read: %s", Path(path).name, ", ".join(loaded.ignored))
    return {
        name: parts[0] if len(parts) == 1 else average_folds(parts) for name, parts in loaded.members.items()
    }


def read_fold_predictions(path: Path) -> dict[str, list[Predictions]]:
    """The members of a predictions file, by name: one table, or one of each fold's model."""
    return load_predictions(path).members


def load_predictions(
    path: Path, *, oof: bool = False, logits: bool = False, ids: Path | None = None, average: bool = False
) -> LoadedPredictions:
    """Read a predictions file and report what was changed.

    The columns say what the numbers are; values never do. Read are our own ``logp_a, logp_b, logp_tie``
    with ``swap_logp_*`` where both orders were read (natural logarithms); or probabilities: Kaggle's
    ``winner_model_a, winner_model_b, winner_tie``, ``p_a, p_b, p_tie``, one or more members
    ``NAME_a, NAME_b, NAME_tie``, or the one set of three columns that differ in A, B and tie alone
    (``A, B, tie``; ``prob_model_a, …``), whatever their case; or the first two where no tie can be voted.
    A column ``fold`` is kept, else fold is -1; other columns are left alone. Where three columns hold
    nothing but 0 and 1 and another three do not, they are labels and no predictions.

    Rows that miss a sum of 1 by at most .02 (rounded to two decimals, a softmax in 16 bits) are
    normalised; past .001 this is noted.

    Parameters
    ----------
    oof
        The file holds out-of-fold predictions: an id that repeats is refused. Otherwise a row per
        (id, fold) becomes one table a fold, in the order of their numbers, with the same ids.
    logits
        The numbers are logits: their softmax is taken.
    ids
        File whose column ``id`` names the rows of an .npy or .npz array, in its order.
    average
        The file holds one member trained with several seeds, as rows that repeat an id or as several
        members: their mean in (delta, tau) is taken, the geometric mean of the probabilities.

    Returns
    -------
    LoadedPredictions
        A member's name is the file's stem where the file says none.

    Raises
    ------
    InputError
        Unknown columns, or a row that is no distribution, a NaN, a repeated id; named by row and id.
    """
    path = Path(path)
    stem = path.name.split(".")[0]
    if is_array_file(path):
        numbers = _from_arrays(path, ids)
    else:
        table = open_table(path)
        if ids is not None:
            raise InputError(f"{path} is a table and names its own rows; leave out the file of ids (--ids)")
        numbers = _from_table(table, stem)
    notes = numbers.notes
    found: dict[str, list[Predictions]] = {}
    given = numbers.ids
    repeats = given.n_unique() < len(given)
    if repeats and (oof or not numbers.with_fold) and not average:
        refuse_repeated(path.name, given.to_list(), numbers.fold if numbers.with_fold else None, oof=oof)
    for name, (rows, swap, logs) in numbers.members.items():
        if logits and logs:
            raise InputError(
                f"{path.name} holds logarithms of probabilities by its columns; leave out --logits"
            )
        shown = as_log_probs(path.name, given, rows, logs=logs, logits=logits, notes=notes)
        other = None if swap is None else as_log_probs(path.name, given, swap, logs=True, notes=notes)
        if repeats and average:
            found[name] = [averaged_rows(path.name, numbers.ids, shown, numbers.fold, other, oof=oof)]
        elif repeats:
            found[name] = _by_fold(path.name, numbers.ids, shown, numbers.fold, other)
        else:
            found[name] = [Predictions(numbers.ids, shown, numbers.fold, other)]
    if average and len(found) > 1:
        found = {stem: [average_seeds([parts[0] for parts in found.values()])]}
    if average:
        notes.append("several seeds were averaged (geometric mean)")
    return LoadedPredictions(found, tuple(dict.fromkeys(notes)), numbers.ignored, numbers.columns_read)


def _from_table(table: Table, stem: str) -> _Numbers:
    columns = Columns(table.columns, file=table.name)
    trios = find_trios(columns, stem)
    name = next((found for found in map(columns.find, _IDS) if found is not None), None)
    if name is None:
        raise InputError(f"{table.name} lacks the column id; its columns are {columns.shown}; add it")
    names = list(dict.fromkeys(column for m in trios for column in (*m.columns, *(m.swap or ()))))
    fold_column = columns.find("fold")
    ids: list[Any] = []
    folds: list[npt.NDArray[np.int64]] = []
    lead = 1 + (fold_column is not None)
    numbers_of = {column: NumberColumn() for column in names}
    for batch in table.batches([name, *([fold_column] if fold_column else []), *names]):
        if fold_column is not None:
            found = [
                _whole(row[1], f"{table.name} row {number} (id {row[0]})")
                for number, row in enumerate(batch, start=len(ids) + 1)
            ]
            folds.append(np.array(found, dtype=np.int64))
        for place, column in enumerate(numbers_of.values(), start=lead):
            column.add([row[place] for row in batch])
        ids += [row[0] for row in batch]
    if not ids:
        raise InputError(f"{table.path} has a header but no rows; fetch it again")
    trios, labels = _without_labels(trios, numbers_of)
    trios = one_or_named(trios, table.name)
    series, note = id_column(table, ids, column=name, unique=False)
    used = {name, fold_column, *(column for m in trios for column in (*m.columns, *(m.swap or ())))}
    numbers = _Numbers(
        series,
        {},
        np.concatenate(folds) if folds else np.full(len(ids), -1, dtype=np.int64),
        fold_column is not None,
        [note] if note else [],
        tuple(column for column in table.columns if column not in used),
    )
    numbers.columns_read[name] = "id"
    if fold_column is not None:
        numbers.columns_read[fold_column] = "fold"
    for trio in trios:
        numbers.columns_read |= trio.meanings()
    if labels:
        numbers.notes.append(f"{', '.join(labels)} hold 0 and 1 alone: taken for labels and not read")
    for trio in trios:
        rows = _array(table, ids, numbers_of, trio.columns)
        swap = None if trio.swap is None else _array(table, ids, numbers_of, trio.swap)
        numbers.members[trio.name] = (rows, swap, trio.logs)
    return numbers


def _without_labels(trios: list[Trio], columns: Mapping[str, NumberColumn]) -> tuple[list[Trio], list[str]]:
    """Leave out sets of columns that are called labels and are one-hot in every row, where others are not.

    A member that gives hard verdicts is one-hot too, so the name must say that it is a label.
    """
    if len(trios) < 2:
        return trios, []
    one_hot = {
        trio
        for trio in trios
        if named_as_labels(trio) and _is_one_hot([columns[name] for name in trio.columns])
    }
    if len(one_hot) == len(trios):
        return trios, []
    kept = [trio for trio in trios if trio not in one_hot]
    labels = [name for trio in trios if trio in one_hot for name in trio.columns]
    return kept, labels


def _is_one_hot(columns: Sequence[NumberColumn]) -> bool:
    if any(column.wrong is not None for column in columns):
        return False
    parts = zip(*(column.parts for column in columns), strict=True)
    return all(bool((np.sort(np.stack(part), axis=0)[-2:].T == (0, 1)).all()) for part in parts)


def _array(
    table: Table, ids: Sequence[Any], columns: Mapping[str, NumberColumn], own: Sequence[str]
) -> Floats:
    wrong = [(*cell, name) for name in own if (cell := columns[name].wrong) is not None]
    if wrong:
        row, cell, name = min(wrong, key=lambda one: one[0])  # of one row, the first column's
        _number(cell, name, table.name, row, ids[row])
    found = np.empty((len(ids), len(own)))
    for place, name in enumerate(own):
        np.concatenate(columns[name].parts, out=found[:, place])
    return found


def _from_arrays(path: Path, ids_file: Path | None) -> _Numbers:
    arrays, inside = read_arrays(path)
    if ids_file is not None:
        table = open_table(ids_file)
        columns = Columns(table.columns, file=table.name)
        name = next((found for found in map(columns.find, _IDS) if found is not None), None)
        if name is None:
            raise InputError(f"{table.name} lacks the column id; its columns are {columns.shown}; add it")
        ids = [row[0] for batch in table.batches([name]) for row in batch]
        series, note = id_column(table, ids, column=name, unique=False)
    elif inside is not None:
        short = ("id",) if np.asarray(inside).dtype == np.float32 else ()
        table = replace(Table(path, "npz", "", ("id",)), float32=short)
        series, note = id_column(table, id_list(inside, path), unique=False)
    else:
        raise InputError(
            f"{path} is a NumPy array and does not say which row is which battle; give a file whose column "
            "id names "
            "the rows in this order (--ids FILE)"
        )
    for name, rows in arrays.items():
        if len(rows) != len(series):
            where = ids_file.name if ids_file is not None else "its ids"
            raise InputError(
                f"{path.name} ({name}) has {len(rows)} rows, {where} {len(series)}; give the ids of this "
                "array"
            )
        bad = np.flatnonzero(np.isnan(rows).any(axis=1))
        if len(bad):
            raise InputError(
                f"{path.name} row {bad[0] + 1} (id {series[int(bad[0])]}): NaN in {len(bad)} of {len(rows)} "
                "rows; a "
                "prediction may not be missing: predict these rows again, or leave them out"
            )
    members: dict[str, tuple[Floats, Floats | None, bool]] = {
        name: (rows, None, False) for name, rows in arrays.items()
    }
    if len(members) == 1:
        members = {path.name.split(".")[0]: next(iter(members.values()))}
    return _Numbers(series, members, np.full(len(series), -1), notes=[note] if note else [])


def _by_fold(
    file: str, ids: pl.Series, logs: Floats, fold: npt.NDArray[np.int64], swap: Floats | None
) -> list[Predictions]:
    parts: list[Predictions] = []
    for k in np.unique(fold):
        rows = np.flatnonzero(fold == k)
        try:
            part = Predictions(ids[rows], logs[rows], fold[rows], None if swap is None else swap[rows])
            parts.append(part if not parts else part.aligned_to(parts[0].ids, name=f"fold {k}"))
        except InputError as error:
            raise InputError(
                f"{file}, fold {k}: {error}; give every fold's model the same ids once, or average seeds "
                "(--average)"
            ) from None
        if len(part) != len(parts[0]):
            raise InputError(
                f"{file}: fold {k} holds {len(part)} ids, another holds {len(parts[0])}; give every fold's "
                "model the "
                "same ids"
            )
    return parts


def _number(cell: Any, name: str, file: str, row: int, key: Any) -> float:
    try:
        value = float(cell)
    except (TypeError, ValueError):
        shown = "empty" if cell is None or cell == "" else repr(str(cell)[:30])
        comma = isinstance(cell, str) and cell.count(",") == 1 and cell.replace(",", "").strip("-").isdigit()
        remedy = "write decimal points, not commas" if comma else "fill in the probability"
        raise InputError(
            f"{file} row {row + 1} (id {key}): {name} is {shown}, expected a number; {remedy}"
        ) from None
    if math.isnan(value):
        raise InputError(
            f"{file} row {row + 1} (id {key}): {name} is NaN; a prediction may not be missing: predict this "
            "row again, "
            "or leave it out"
        )
    return value


def _whole(cell: Any, where: str) -> int:
    try:
        value = float(cell)
        if value == int(value) and abs(value) < _LARGEST_FOLD:
            return int(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InputError(f"{where}: fold is {str(cell)[:30]!r}, expected a whole number; number the folds from 0")
