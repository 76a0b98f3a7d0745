"""Bring your own predictions: labels and OOF files of other tools → the same stacker, joined by id."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from .. import metrics
from ..artifacts import members as member_files
from ..artifacts import store
from ..battles import Battles
from ..diagnostics.alignment import best_column_order
from ..errors import InputError
from ..features import Features, extract
from ..folds import group_keys
from ..io import read_battles, read_columns, read_labels, read_predictions, write_submission, write_winners
from ..predictions import Predictions
from ..stacking import Stacker
from .ensemble import Ensemble, accounts, write

log = logging.getLogger(__name__)

IMPORTED: Final = "imported"

NamedFile = tuple[str | None, Path]
"""A member's name, or None to take the names that the file itself gives, and the file."""


@dataclass(frozen=True, eq=False)
class Brought:
    """Everything that the stacker needs, on the rows and in the order of the labels file."""

    ids: pl.Series
    outcomes: npt.NDArray[np.int64]
    members: dict[str, Predictions]
    tests: dict[str, Predictions]
    features: Features | None
    test_features: Features | None
    groups: npt.NDArray[np.int64] | None

    @property
    def task_outcomes(self) -> int:
        """2 where nothing is a tie: no label, and no member ever gives one a chance; else 3."""
        readings = [rows for said in self.members.values() for rows in (said.log_probs, said.swap_log_probs)]
        possible = any(rows is not None and bool((rows[:, 2] > -np.inf).any()) for rows in readings)
        return 3 if possible or bool((self.outcomes == 2).any()) else 2


def named_file(text: str) -> NamedFile:
    """``NAME=FILE`` or ``FILE``.

    Raises
    ------
    InputError
        The name is no plain member name.
    """
    name, equals, path = text.partition("=")
    if not equals:
        return None, Path(text)
    return store.check_name(name), Path(path)


def gather(
    labels: Path,
    oof: Sequence[NamedFile],
    *,
    tests: Sequence[NamedFile] = (),
    text: Path | None = None,
    text_format: str | None = None,
    test_text: Path | None = None,
    groups: str | None = None,
    common: bool = False,
) -> Brought:
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

    Raises
    ------
    InputError
        Any file that cannot be read or joined; a member named twice; test members that differ from
        the OOF members; test texts given without texts or the other way round.
    """
    if not oof:
        raise InputError("no members: give at least one --oof NAME=FILE")
    table = read_labels(labels)
    members = _members(oof)
    if common:
        table = _kept(table, members, labels)
    ids = table["id"]
    aligned = {name: member.aligned_to(ids, name=f"member {name!r}") for name, member in members.items()}
    read_tests = _members(tests)
    if read_tests and set(read_tests) != set(members):
        odd = sorted(set(read_tests) ^ set(members))
        raise InputError(
            f"members with only OOF or only test predictions: {', '.join(odd)}; give both for each"
        )
    test_ids = next(iter(read_tests.values())).ids if read_tests else None
    if (text is None) != (test_text is None) and read_tests:
        raise InputError("features need the texts of both: give --text and --test-text, or neither")
    battles = None if text is None else _texts(text, ids, text_format)
    return Brought(
        ids=ids,
        outcomes=table["outcome"].to_numpy().astype(np.int64),
        members=aligned,
        tests={
            name: read_tests[name].aligned_to(test_ids, name=f"test predictions of {name!r}")
            for name in members
            if test_ids is not None
        },
        features=None if battles is None else extract(battles),
        test_features=(
            None
            if test_text is None or test_ids is None
            else extract(_texts(test_text, test_ids, text_format))
        ),
        groups=_groups(groups, labels, ids, battles),
    )


def _members(files: Sequence[NamedFile]) -> dict[str, Predictions]:
    found: dict[str, Predictions] = {}
    for name, path in files:
        held = read_predictions(path)
        if name is not None and len(held) > 1 and name not in held:
            raise InputError(
                f"{path} holds the members {', '.join(held)}, none named {name!r}; give {path} alone"
            )
        if name is not None:
            held = {name: held[name] if name in held else next(iter(held.values()))}
        for key, predictions in held.items():
            if key in found:
                raise InputError(f"the member {key!r} is given twice (again in {path}); name it NAME={path}")
            found[store.check_name(key)] = predictions
    return found


def _kept(table: pl.DataFrame, members: Mapping[str, Predictions], labels: Path) -> pl.DataFrame:
    kept = table
    for name, member in members.items():
        if member.ids.dtype != table.schema["id"]:
            raise InputError(
                f"member {name!r}: ids are {member.ids.dtype}, those of {labels} {table.schema['id']}"
            )
        kept = kept.filter(pl.col("id").is_in(member.ids.implode()))
    if kept.is_empty():
        raise InputError(f"no id of {labels} is in every member's file")
    if len(kept) < len(table):
        log.warning(
            "%d of %d labelled rows are in every member's file; the others are left out",
            len(kept),
            len(table),
        )
    return kept


def _texts(path: Path, ids: pl.Series, form: str | None) -> Battles:
    battles = read_battles(path, format=form)
    if battles.ids.dtype != ids.dtype:
        raise InputError(f"{path}: ids are {battles.ids.dtype}, those of the predictions {ids.dtype}")
    place = pl.DataFrame({"id": battles.ids, "row": np.arange(len(battles))})
    rows = pl.DataFrame({"id": ids}).join(place, on="id", how="left", maintain_order="left")["row"]
    if rows.null_count():
        missing = ids.filter(rows.is_null())
        raise InputError(f"{path}: {len(missing)} ids have no text, the first is {missing[0]!r}")
    return battles.take(rows.to_numpy())


def _groups(
    given: str | None, labels: Path, ids: pl.Series, battles: Battles | None
) -> npt.NDArray[np.int64] | None:
    if given is None:
        return None if battles is None else group_keys(battles)
    path = Path(given)
    frame = read_columns(path, ["id", "group"]) if path.is_file() else read_columns(labels, ["id", given])
    frame.columns = ["id", "group"]
    joined = pl.DataFrame({"id": ids.cast(pl.String)}).join(frame, on="id", how="left", maintain_order="left")
    if joined["group"].null_count():
        missing = ids.filter(joined["group"].is_null())
        raise InputError(f"groups: {len(missing)} ids have none, the first is {missing[0]!r}")
    return np.asarray(np.unique(joined["group"].to_numpy(), return_inverse=True)[1], dtype=np.int64)


def stacked(brought: Brought, out: Path, *, seed: int = 0) -> Ensemble:
    """Fit the stacker on brought predictions and keep it in ``out`` with its honest OOF and its table.

    With test predictions, ``out/submission.csv`` is written too; where no tie can be voted it is of that
    kind, ``id,winner``. The folds behind the members are
    the other tool's word: the card says ``"folds_verified": false``.

    Raises
    ------
    InputError
        The columns of a member look exchanged, the stacker refuses its input, or ``out`` holds other
        files.
    """
    out = check_out(out)
    check_columns(brought.members, brought.outcomes)
    stacker = Stacker(random_state=seed)
    stacker.fit(brought.members, brought.outcomes, features=brought.features, groups=brought.groups)
    table = list(stacker.table_)
    honest = Predictions(brought.ids, stacker.oof_log_proba_, np.full(len(brought.ids), -1))
    if brought.task_outcomes == 2:
        honest = honest.without_ties()
    facts = {
        "members": dict.fromkeys(brought.members),
        "folds_verified": False,
        "rows": len(brought.ids),
        "seed": seed,
        "choice": stacker.choice_,
        "selection_frequency": stacker.selection_frequency_,
        "temperature": stacker.temperature_,
        "outcomes": brought.task_outcomes,
        "log_loss": metrics.log_loss(honest.log_probs, brought.outcomes),
        **accounts(brought.members, brought.outcomes, brought.groups, chosen=honest.log_probs),
    }
    card = write(out, honest, stacker, table, facts)
    if brought.tests:
        log_probs = stacker.predict_log_proba(brought.tests, features=brought.test_features)
        write_file = write_winners if brought.task_outcomes == 2 else write_submission
        write_file(out / "submission.csv", next(iter(brought.tests.values())).ids, log_probs)
    return Ensemble(stacker, table, card)


def check_out(out: Path) -> Path:
    """The folder to write to, absolute: new, empty, or with nothing in it but what `stacked` wrote.

    Raises
    ------
    InputError
        A file of that name, or a folder with other files, which would be lost.
    """
    folder = out.resolve()
    if not folder.exists():
        return folder
    if not folder.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    card = store.read_card(folder) or {}
    ours = {*card.get("files", ()), store.CARD, "submission.csv", "report.html"}
    if others := sorted(path.name for path in folder.iterdir() if path.name not in ours):
        raise InputError(
            f"--out {out} holds other files ({', '.join(others[:3])}{', …' if len(others) > 3 else ''}); "
            "name a new or an empty folder: it is replaced as a whole"
        )
    return folder


def keep(workspace: store.Workspace, name: str, oof: Path, test: Path | None = None) -> store.Card:
    """Keep predictions that another tool made as a member, ``oof/<name>/``, folds unverified.

    Raises
    ------
    InputError
        The files cannot be read, hold several members, or a member of that name was trained here.
    """
    said = workspace.oof / store.check_name(name)
    old = store.read_card(said)
    if old is not None and old.get("backbone") != IMPORTED:
        raise InputError(f"{said} holds a member that was trained here; import under another name")
    (member,) = _members([(name, oof)]).values()
    frame = member_files.reading_frame(member.ids, member.fold, member.log_probs, member.swap_log_probs)
    store.write_bytes(said / member_files.OOF, store.parquet_bytes(frame))
    if test is not None:
        (read,) = _members([(name, test)]).values()
        frame = member_files.reading_frame(read.ids, read.fold, read.log_probs, read.swap_log_probs)
        member_files.write_shard(said / member_files.TEST, frame, {"member": name, "source": str(test)})
    facts = {
        "member": name,
        "backbone": IMPORTED,
        "folds_verified": False,
        "note": "folds unverified: only the other tool knows whether a model saw a row's group",
        "source": str(oof),
        "source_sha256": store.digest_file(oof),
        "rows": len(member),
    }
    return store.write_card(said, facts, [member_files.OOF])


def is_imported(workspace: store.Workspace, name: str) -> bool:
    """Whether ``oof/<name>`` holds imported predictions, which need no recipe."""
    card = store.read_card(workspace.oof / store.check_name(name))
    return card is not None and card.get("backbone") == IMPORTED


def check_columns(members: Mapping[str, Predictions], y: npt.NDArray[np.int64]) -> None:
    """Stop when another order of a member's three columns fits the outcomes clearly better.

    Raises
    ------
    InputError
        Naming the member and the order that its columns seem to have.
    """
    for name, member in members.items():
        log_probs = member.combined().log_probs
        order = best_column_order(log_probs, y)
        if order is not None:
            names = ", ".join(("A", "B", "tie")[k] for k in order)
            given, other = (metrics.log_loss(rows, y) for rows in (log_probs, log_probs[:, list(order)]))
            raise InputError(
                f"member {name!r}: its columns look exchanged: read as {names} its log-loss is {other:.4f}, "
                f"as given {given:.4f}; name the columns rightly"
            )
