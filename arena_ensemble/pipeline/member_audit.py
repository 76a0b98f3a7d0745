"""The audit's check of members that another tool made: columns, rows, perfection, collapse.

The same guards as where a member enters an ensemble, with the figures that they rest on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .. import metrics
from ..artifacts.members import TEST, MemberArtifacts
from ..artifacts.workspace import Workspace
from ..battles import Battles
from ..diagnostics.alignment import best_column_order, constant_share, row_order_check
from ..diagnostics.collapse import prediction_summary
from ..errors import ArenaError, InputError
from ..predictions import Predictions, average_folds
from .audit_check import FAIL, OK, SKIPPED, Check
from .guards import check_members, check_tests

Ints = npt.NDArray[np.int64]
_NAME: Final = "members"


def check_members_of(workspace: Workspace, battles: Battles, fold: Ints | None, group: Ints | None) -> Check:
    """Do the columns and rows of external members mean what they say, and do they know anything?

    Of members that were trained here only perfection is looked at: collapse is on their cards.

    Parameters
    ----------
    battles
        With outcomes.
    fold, group
        (n,), for the class prior of the other folds and for clustered standard errors.
    """
    problems: list[str] = []
    evidence: dict[str, Any] = {}
    members: dict[str, Predictions] = {}
    external: list[str] = []
    for name in workspace.member_names():
        try:
            predictions, card = MemberArtifacts(workspace, name).load()
            members[name] = predictions.aligned_to(battles.ids, name=f"member {name!r}")
        except ArenaError as error:
            problems.append(f"member {name}: {error}")
            continue
        if card.is_external:
            external.append(name)
    y = battles.outcomes()
    for name, member in members.items():
        found, notes = _oof_problems(name, member, y, fold, group, external)
        if name in external:
            evidence[name] = {**_evidence(member, y, fold, group), "notes": notes}
            found = found or _test_problems(workspace, name, members, external)
        problems += found
    if problems:
        return Check(_NAME, FAIL, "; ".join(dict.fromkeys(problems)), evidence)
    if not members:
        return Check(_NAME, SKIPPED, "no members in this workspace yet")
    message = (
        f"{len(members)} members ({len(external)} external) on {len(battles):,} battles: columns and rows of "
        "the external ones fit the votes, and none knows nothing or everything"
    )
    return Check(_NAME, OK, message, evidence)


def _oof_problems(
    name: str, member: Predictions, y: Ints, fold: Ints | None, group: Ints | None, external: Collection[str]
) -> tuple[list[str], list[str]]:
    """What looks wrong with a member's out-of-fold predictions, and what is worth knowing."""
    try:
        found = check_members({name: member}, y, groups=group, folds=fold, external=external)
    except InputError as error:
        return [str(error)], []
    return [f"member {name!r} {alarm}" for alarm in found.alarms.get(name, [])], found.notes.get(name, [])


def _test_problems(
    workspace: Workspace, name: str, members: dict[str, Predictions], external: list[str]
) -> list[str]:
    """Its test predictions, against its OOF ones and against members that predicted the same battles."""
    tests: dict[str, Predictions] = {}
    for other in [name, *(other for other in members if other != name)]:
        artifacts = MemberArtifacts(workspace, other)
        if not (artifacts.predictions / TEST).is_file():
            continue
        try:
            averaged = average_folds(artifacts.load_test())
            tests[other] = averaged if other == name else averaged.aligned_to(tests[name].ids, name=other)
        except (ArenaError, KeyError) as error:
            if other == name:
                return [f"member {name!r}: {error}"]
    if name not in tests:
        return []
    known = {other: members[other] for other in tests}
    others = [other for other in external if other in known and other != name]
    try:
        check_tests(known, tests, external=[name, *others])
    except InputError as error:
        return [str(error)]
    return []


def _evidence(member: Predictions, y: Ints, fold: Ints | None, group: Ints | None) -> dict[str, Any]:
    """The figures of one member, as plain JSON values."""
    log_probs = member.combined().log_probs
    order = best_column_order(log_probs, y, group)
    rows = row_order_check(log_probs, y, group)
    return {
        **prediction_summary(log_probs, y, metrics.prior_log_probs(y, fold)),
        "rows": len(y),
        "standard_error": metrics.standard_error(metrics.row_losses(log_probs, y), group),
        "better_column_order": None if order is None else [["A", "B", "tie"][k] for k in order],
        "row_order": None if rows is None else dataclasses.asdict(rows),
        "constant_share": constant_share(log_probs),
    }
