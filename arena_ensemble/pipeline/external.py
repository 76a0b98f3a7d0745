"""External predictions: labels and OOF files that other tools made → the same stacker, joined by id."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from ..artifacts import cards, result_folder
from ..artifacts.cards import CARD, EnsembleCard
from ..battles import align_rows
from ..errors import InputError
from ..features import Features
from ..io import (
    read_columns,
    read_labels,
    write_submission,
    write_winners,
)
from ..predictions import Predictions
from ..stacking import Stacker
from .build import ensemble_card
from .ensemble import Ensemble, write_folder
from .executors import STACKING, Event, with_label
from .external_files import AS_WRITTEN, NamedFile, ReadingOptions, read_members
from .guards import check_members, check_tests
from .text_pass import read_texts

log = logging.getLogger(__name__)

SUBMISSION = "submission.csv"


@dataclass(frozen=True, eq=False)
class ExternalData:
    """Everything that the stacker needs, on the rows and in the order of the labels file."""

    ids: pl.Series
    outcomes: npt.NDArray[np.int64]
    members: dict[str, Predictions]
    tests: dict[str, Predictions]
    features: Features | None
    test_features: Features | None
    groups: npt.NDArray[np.int64] | None
    one_order: tuple[str, ...] = ()
    first: npt.NDArray[np.str_] | None = None
    """(n,) what the members of one order saw first, ``a`` or ``b``; None: a in every row"""
    test_first: npt.NDArray[np.str_] | None = None

    @property
    def n_classes(self) -> int:
        """2 where nothing is a tie: no label, and no member ever gives one a chance; else 3."""
        tables = [
            table
            for predictions in self.members.values()
            for table in (predictions.log_probs, predictions.swap_log_probs)
        ]
        possible = any(table is not None and bool((table[:, 2] > -np.inf).any()) for table in tables)
        return 3 if possible or bool((self.outcomes == 2).any()) else 2


def read_external(
    labels: Path,
    oof: Sequence[NamedFile],
    *,
    tests: Sequence[NamedFile] = (),
    text: Path | None = None,
    text_format: str | None = None,
    test_text: Path | None = None,
    groups: str | None = None,
    common: bool = False,
    skip_unvoted: bool = False,
    reading: ReadingOptions = AS_WRITTEN,
    one_order: Sequence[str] = (),
    first: str | None = None,
    scratch: Path | None = None,
) -> ExternalData:
    """Read, join by id and check what another tool predicted.

    Parameters
    ----------
    labels
        File with ``id`` and the outcome; its rows are the rows that count.
    oof, tests
        Out-of-fold and test predictions; a file may hold several members.
    text, test_text, text_format
        Battles with the texts of the same ids, for length and formatting features, and their format
        where it is not to be told from the columns.
    groups
        A column of the labels file, or a file with columns ``id, group``: rows that belong together.
        Without it, the groups come from ``text`` (first prompt turn), or every row is its own.
    common
        Keep only the ids that every member has, instead of refusing when some are missing.
    skip_unvoted
        Leave out the rows without a vote, with a note that counts them, instead of refusing them.
    reading
        How the numbers of the predictions are to be taken.
    one_order
        Members that saw each battle in one order only, so that they may lean to the response seen first.
    first
        What those saw first, ``a`` or ``b``: a column of the labels file, or a file of ``id, first`` that
        holds the test rows too. Without it, a in every row.
    scratch
        A folder for what does not fit in memory, see `text_pass.read_texts`.

    Raises
    ------
    InputError
        Any file that cannot be read or joined; a member named twice; test members that differ from
        the OOF members; test texts given without texts or the other way round.
    """
    if not oof:
        raise InputError("no members: give at least one --oof NAME=FILE")
    if first is not None and not one_order:
        raise InputError("--first is what members of one order saw: name them with --one-order")
    table = read_labels(labels, skip_unvoted=skip_unvoted)
    members = read_members(oof, reading, oof=True)
    if common:
        table = common_rows(table, members, labels)
    ids = table["id"]
    aligned = {name: _aligned(name, member, ids) for name, member in members.items()}
    test_members = _test_members(tests, aligned, reading)
    test_ids = next(iter(test_members.values())).ids if test_members else None
    if (text is None) != (test_text is None) and test_members:
        raise InputError("features need the texts of both: give --text and --test-text, or neither")
    facts = test_facts = None
    if text is not None:
        facts = read_texts(text, ids, text_format, groups=groups is None, scratch=scratch)
    if test_text is not None and test_ids is not None:
        test_facts = read_texts(test_text, test_ids, text_format, groups=False, scratch=scratch)
    return ExternalData(
        ids=ids,
        outcomes=table["outcome"].to_numpy().astype(np.int64),
        members=aligned,
        tests=test_members,
        features=None if facts is None else facts.features,
        test_features=None if test_facts is None else test_facts.features,
        groups=_groups(groups, labels, ids) if facts is None or groups is not None else facts.groups,
        one_order=_of_one_order(one_order, aligned),
        first=_first(first, labels, ids),
        test_first=None if test_ids is None else _first(first, labels, test_ids, test=True),
    )


def _aligned(name: str, member: Predictions, ids: pl.Series) -> Predictions:
    try:
        return member.aligned_to(ids, name=f"member {name!r}")
    except InputError as error:
        remedy = "predict those rows too, or keep the rows that every member has (--common)"
        if member.ids.dtype != ids.dtype:
            remedy = "write the ids as they are in the labels"
        raise InputError(f"{error} ({len(member)} rows for {len(ids)} labels); {remedy}") from None


def _test_members(
    tests: Sequence[NamedFile], members: Mapping[str, Predictions], reading: ReadingOptions
) -> dict[str, Predictions]:
    """Test predictions of the same members, on the rows of the first."""
    found = read_members(tests, reading)
    if not found:
        return {}
    if set(found) != set(members):
        odd = sorted(set(found) ^ set(members))
        raise InputError(
            f"members with only OOF or only test predictions: {', '.join(odd)}; give both for each"
        )
    ids = next(iter(found.values())).ids
    return {name: found[name].aligned_to(ids, name=f"test predictions of {name!r}") for name in members}


def common_rows(table: pl.DataFrame, members: Mapping[str, Predictions], labels: Path) -> pl.DataFrame:
    """The labelled rows that every member has; a warning counts the others.

    Raises
    ------
    InputError
        There is none, or the ids are of another type.
    """
    kept = table
    for name, member in members.items():
        if member.ids.dtype != table.schema["id"]:
            raise InputError(
                f"member {name!r}: ids are {member.ids.dtype}, those of {labels} {table.schema['id']}; "
                "write the ids alike in both"
            )
        kept = kept.filter(pl.col("id").is_in(member.ids.implode()))
    if kept.is_empty():
        raise InputError(f"no id of {labels} is in every member's file; write the ids of the labels")
    if len(kept) < len(table):
        log.warning(
            "%d of %d labelled rows are in every member's file; the others are left out",
            len(kept),
            len(table),
        )
    return kept


def _of_one_order(names: Sequence[str], members: Mapping[str, Predictions]) -> tuple[str, ...]:
    for name in names:
        if name not in members:
            raise InputError(f"--one-order: no member {name!r}; name some of {', '.join(sorted(members))}")
        if members[name].swap_log_probs is not None:
            raise InputError(f"--one-order: member {name!r} predicted both orders; leave it out")
    return tuple(names)


def _first(
    given: str | None, labels: Path, ids: pl.Series, *, test: bool = False
) -> npt.NDArray[np.str_] | None:
    """(n,) ``a`` or ``b`` of each id, by a column of the labels or a file of ``id, first``."""
    if given is None:
        return None
    path = Path(given)
    if test and not path.is_file():
        raise InputError(
            f"--first {given}: a column of the labels says nothing of the test rows; give a file of id and "
            "first that holds both"
        )
    frame = read_columns(path, ["id", "first"]) if path.is_file() else read_columns(labels, ["id", given])
    frame.columns = ["id", "first"]
    rows = align_rows(frame["id"], ids.cast(pl.String), name="first", missing="without a or b")
    found = frame["first"][rows].str.to_lowercase().fill_null("").to_numpy()
    if (bad := np.flatnonzero(~np.isin(found, ("a", "b")))).size:
        row = int(bad[0])
        raise InputError(f"first of id {ids[row]} is {str(found[row])!r}; write a or b, what was shown first")
    return np.asarray(found, dtype=np.str_)


def _groups(given: str | None, labels: Path, ids: pl.Series) -> npt.NDArray[np.int64] | None:
    """(n,) groups by a column of the labels or a file of ``id, group``, numbered by their names."""
    if given is None:
        return None
    path = Path(given)
    frame = read_columns(path, ["id", "group"]) if path.is_file() else read_columns(labels, ["id", given])
    frame.columns = ["id", "group"]
    rows = align_rows(frame["id"], ids.cast(pl.String), name="groups", missing="without a group")
    named = frame["group"][rows]
    if named.null_count():
        row = int(named.is_null().arg_max() or 0)
        raise InputError(f"the group of id {ids[row]} is empty; name one for every row")
    return named.rank("dense").to_numpy().astype(np.int64) - 1


def stack_external(
    data: ExternalData, out: Path, *, seed: int = 0, on_event: Event | None = None
) -> Ensemble:
    """Fit the stacker on external predictions and keep it in ``out`` with its honest OOF and its table.

    With test predictions, ``out/submission.csv`` is written too; where no tie can be voted it is of that
    kind, ``id,winner``. Only the other tools know the folds behind the members: the card says
    ``"folds_verified": false``.

    Raises
    ------
    InputError
        The columns of a member look exchanged, the stacker refuses its input, or ``out`` holds other
        files.
    """
    folder = check_out(out)
    found = check_members(data.members, data.outcomes, groups=data.groups, external=data.members)
    if data.tests:
        check_tests(
            data.members,
            data.tests,
            external=data.members,
            features=data.features,
            test_features=data.test_features,
        )
    stacker = Stacker(random_state=seed)
    stacker.fit(
        data.members,
        data.outcomes,
        features=data.features,
        groups=data.groups,
        one_order=data.one_order,
        first=data.first,
        on_progress=with_label(on_event, STACKING),
    )
    table = list(stacker.table_)
    honest = Predictions(data.ids, stacker.oof_log_proba_, np.full(len(data.ids), -1))
    card = ensemble_card(
        stacker, honest, data.members, data.outcomes, data.groups, n_classes=data.n_classes
    ).model_copy(update={"seed": seed, "alarms": found.alarms, "notes": found.notes})
    honest = honest.without_ties() if data.n_classes == 2 else honest
    card = write_folder(folder, honest, stacker, table, card)
    if data.tests:
        log_probs = stacker.predict_log_proba(data.tests, features=data.test_features, first=data.test_first)
        write_file = write_winners if data.n_classes == 2 else write_submission
        write_file(folder / SUBMISSION, next(iter(data.tests.values())).ids, log_probs)
    return Ensemble(stacker, table, card)


def check_out(out: Path) -> Path:
    """The folder to write to, absolute: new, empty, or with nothing in it but what `stack_external` wrote.

    Raises
    ------
    InputError
        A file of that name, or a folder with other files, which would be lost.
    """
    return result_folder.check_out(out, _written)


def _written(folder: Path) -> set[str]:
    card = cards.read_card(folder, EnsembleCard)
    return {*(card.files if card else ()), CARD, SUBMISSION, "report.html"}
