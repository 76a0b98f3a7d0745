"""Where a member enters an ensemble, its predictions are checked against the votes.

Every road leads through here: members trained here, imported ones, and files given on the command line.
Columns that are clearly exchanged stop the run, since the remedy is to name them rightly; whatever else
looks wrong is an alarm, which is shown and makes the exit code 4. The tests are in `diagnostics`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .. import metrics
from ..diagnostics.alignment import (
    best_column_order,
    best_test_column_order,
    exchanged_against,
    row_order_check,
    suspicious_perfection,
)
from ..diagnostics.collapse import collapse_warnings
from ..errors import InputError
from ..features import Features
from ..predictions import Floats, Predictions, delta_tau

Ints = npt.NDArray[np.int64]
_CLASSES = ("A", "B", "tie")


@dataclass(frozen=True)
class GuardReport:
    """Member → what looks wrong (``alarms``), and what is worth knowing (``notes``)."""

    alarms: dict[str, list[str]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)


def check_members(
    members: Mapping[str, Predictions],
    y: Ints,
    *,
    groups: Ints | None = None,
    folds: Ints | None = None,
    external: Collection[str] = (),
) -> GuardReport:
    """Check out-of-fold predictions against the outcomes.

    Parameters
    ----------
    members
        Name → predictions, in the order of ``y``.
    y
        (n,) outcomes.
    groups, folds
        (n,) groups that standard errors are clustered by, and folds for the class prior of the others.
    external
        Names of the members that another tool made: those alone can have columns or rows exchanged. What
        collapsed among the others is in their own cards already.

    Raises
    ------
    InputError
        The columns of an external member are clearly in another order.
    """
    report = GuardReport()
    prior = metrics.prior_log_probs(y, folds)
    for name, member in members.items():
        log_probs = member.combined().log_probs
        alarms: list[str] = []
        if name in external:
            _refuse_exchanged_columns(name, log_probs, y, groups)
            collapse = collapse_warnings(log_probs, y, prior, groups, external=True)
            alarms += collapse.alarms
            report.notes[name] = list(collapse.notes)
            if not alarms:
                alarms += _row_order(log_probs, y, groups)
        accuracy = suspicious_perfection(log_probs, y, groups)
        if accuracy is not None:
            alarms.append(
                f"is right in {accuracy:.1%} of {len(y):,} rows, which no model is on votes that it did not "
                "see: its training saw these rows, or a column was made from the outcomes"
            )
        if alarms:
            report.alarms[name] = alarms
    return report


def _refuse_exchanged_columns(name: str, log_probs: Floats, y: Ints, groups: Ints | None) -> None:
    order = best_column_order(log_probs, y, groups)
    if order is None:
        return
    given, other = (metrics.log_loss(rows, y) for rows in (log_probs, log_probs[:, list(order)]))
    raise InputError(
        f"member {name!r}: its columns look exchanged: taken as {_names(order)} its log-loss is {other:.4f}, "
        f"as given {given:.4f}; name the columns rightly in its file (p_a, p_b, p_tie) and give it again"
    )


def _row_order(log_probs: Floats, y: Ints, groups: Ints | None) -> list[str]:
    found = row_order_check(log_probs, y, groups)
    if found is None:
        return []
    return [
        f"is no better than its own rows shuffled ({found.gain:+.4f} ± {found.gain_se:.4f} nats, while its "
        f"probabilities claim {found.claimed:.4f}): its rows are in another order than its ids, or the ids "
        "are another file's; write the ids from the same table as the predictions and give it again"
    ]


def check_tests(
    members: Mapping[str, Predictions],
    tests: Mapping[str, Predictions],
    *,
    external: Collection[str],
    features: Features | None = None,
    test_features: Features | None = None,
) -> None:
    """Check external members' test predictions against their out-of-fold ones, by distribution.

    No outcome is known there. Columns in another place show where the classes are distributed unlike each
    other; A and B exchanged show against other members, or against the odd features where both are given.

    Parameters
    ----------
    members, tests
        Name → predictions: out of fold, all of the same ids in one order, and of the test battles likewise.
    external
        The members to check.
    features, test_features
        Of the rows of ``members`` and of ``tests``.

    Raises
    ------
    InputError
        The columns of a test file are clearly in another order than those of the OOF file.
    """
    for name in external:
        oof, test = (found[name].combined().log_probs for found in (members, tests))
        remedy = "name the columns of the test file rightly and give it again"
        order = best_test_column_order(oof, test)
        if order is not None:
            raise InputError(
                f"member {name!r}: the columns of its test predictions look exchanged: they are distributed "
                f"as those of its out-of-fold predictions if taken as {_names(order)}; {remedy}"
            )
        odd, test_odd = _odd_columns(name, members, tests, features, test_features)
        if odd.shape[1] and exchanged_against(oof, test, odd, test_odd):
            raise InputError(
                f"member {name!r}: A and B look exchanged in its test predictions: out of fold it agrees "
                f"with the other members or the lengths of the answers, here it says the opposite; {remedy}"
            )


def _odd_columns(
    name: str,
    members: Mapping[str, Predictions],
    tests: Mapping[str, Predictions],
    features: Features | None,
    test_features: Features | None,
) -> tuple[Floats, Floats]:
    """What an exchange of the answers negates, of both sets of rows: other members' delta, odd features."""
    others = [other for other in members if other != name and other in tests]
    columns = [
        [delta_tau(found[other].combined().log_probs)[0][:, None] for other in others]
        for found in (members, tests)
    ]
    if features is not None and test_features is not None:
        columns[0].append(features.odd)
        columns[1].append(test_features.odd)
    empty = [np.empty((len(next(iter(found.values()))), 0)) for found in (members, tests)]
    first, second = (np.hstack([one, *more]) for one, more in zip(empty, columns, strict=True))
    return first, second


def _names(order: tuple[int, int, int]) -> str:
    return ", ".join(_CLASSES[k] for k in order)
