"""Members of a workspace that another tool made: kept without votes, checked as soon as there are votes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ..artifacts.cards import MemberCard
from ..artifacts.members import TEST, MemberArtifacts
from ..artifacts.workspace import Workspace
from ..battles import Battles
from ..errors import InputError
from ..features import extract
from ..folds import Folds
from ..predictions import Predictions, average_folds
from .external_files import AS_WRITTEN, NamedFile, ReadingOptions, read_members
from .guards import check_members, check_tests, refuse_exchanged_columns
from .submission import load_test_predictions

log = logging.getLogger(__name__)


def import_member(
    workspace: Workspace,
    name: str,
    oof: Path,
    test: Path | None = None,
    reading: ReadingOptions = AS_WRITTEN,
    *,
    one_order: bool = False,
) -> MemberCard:
    """Keep predictions that another tool made as a member, ``oof/<name>/``, folds unverified.

    No outcome is known here: whether its columns and rows mean what they say is checked as soon as votes
    are read, before anything is trained.

    Parameters
    ----------
    one_order
        It saw each battle in one order only, the response in column A first: it may lean, and the stacker
        tries that.

    Raises
    ------
    InputError
        The files cannot be read, hold several members, a member of that name was trained here, or one of one
        order holds predictions of both.
    """
    artifacts = MemberArtifacts(workspace, name)
    (predictions,) = read_members([NamedFile(oof, name)], reading, oof=True).values()
    if one_order and predictions.swap_log_probs is not None:
        raise InputError(f"{oof} holds predictions of both orders; leave out --one-order")
    test_predictions = None
    if test is not None:
        (test_predictions,) = read_members([NamedFile(test, name)], reading).values()
    elif reading.test_ids is not None:
        raise InputError(f"--test-ids {reading.test_ids}: of no use without --test; leave it out")
    if test is None and (artifacts.predictions / TEST).is_file():
        log.warning("test predictions of an earlier import of %s are dropped; give --test for new ones", name)
    return artifacts.import_predictions(predictions, oof, test_predictions, test, one_order=one_order)


def check_imported(
    workspace: Workspace,
    names: Sequence[str],
    battles: Battles,
    folds: Folds,
    test: Battles | None = None,
    *,
    n_classes: int = 3,
) -> dict[str, list[str]]:
    """Check imported members against the votes, so that nothing is trained beside one that is wrong.

    Parameters
    ----------
    names
        Of external members.
    battles, folds
        With outcomes, and their folds.
    test
        Battles to predict.

    Returns
    -------
    Member → what looks wrong with it, which is also logged.

    Raises
    ------
    InputError
        A member lacks rows, or its columns are clearly exchanged, out of fold or in its test predictions.
    """
    if not names:
        return {}
    y = battles.outcomes()
    remedy = "import its predictions of these battles, or leave it out of --models"
    members = {
        name: MemberArtifacts(workspace, name)
        .load()[0]
        .aligned_to(
            battles.ids,
            name=f"member {name!r}",
            remedy=remedy,
        )
        for name in names
    }
    refuse_exchanged_columns(members, y, folds.group)
    if n_classes == 2:
        members = {name: member.without_ties() for name, member in members.items()}
    found = check_members(members, y, groups=folds.group, folds=folds.fold, external=names)
    for name, alarms in found.alarms.items():
        for alarm in alarms:
            log.warning("member %s %s", name, alarm)
    if test is not None:
        tests = _imported_tests(workspace, names, test, n_classes)
        check_tests(members, tests, external=names, features=extract(battles), test_features=extract(test))
    return found.alarms


def _imported_tests(
    workspace: Workspace, names: Sequence[str], test: Battles, n_classes: int
) -> dict[str, Predictions]:
    """The test predictions of imported members; a member that lacks them is named in the log."""
    found: dict[str, Predictions] = {}
    for name in names:
        try:
            predictions = average_folds(load_test_predictions(workspace, name, test))
        except InputError as error:
            log.warning("no submission can be written yet: %s", error)
            continue
        found[name] = predictions.without_ties() if n_classes == 2 else predictions
    return found


def is_external(workspace: Workspace, name: str) -> bool:
    """Whether ``oof/<name>`` holds external predictions, which need no recipe."""
    card = MemberArtifacts(workspace, name).card()
    return card is not None and card.is_external
