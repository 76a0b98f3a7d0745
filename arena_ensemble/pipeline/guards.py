"""Where a member enters an ensemble, its predictions are checked against the votes.

Every road leads through here: members trained here, imported ones, and files given on the command line.
Columns that are clearly exchanged stop the run, since the remedy is to name them rightly; whatever else
looks wrong is an alarm, which is shown and makes the exit code 4. The tests are in `diagnostics`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .. import metrics
from ..calibration import Temperature
from ..diagnostics.alignment import (
    best_column_order,
    best_test_column_order,
    exchanged_against,
    row_order_check,
    suspicious_perfection,
)
from ..diagnostics.collapse import CLEARLY_BETTER, SIGMAS, WORTHWHILE, collapse_warnings
from ..errors import InputError
from ..features import Features
from ..losses import LOG_FLOOR, best_beta, tie_aside
from ..predictions import Floats, Predictions, delta_tau
from ..stacking.sampling import FITTED_ROWS, whole_groups

log = logging.getLogger(__name__)

Ints = npt.NDArray[np.int64]
_CLASSES = ("A", "B", "tie")
_TEST_REMEDY = "name the columns of its test file rightly (p_a, p_b, p_tie) and give it again"


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
    """Check out-of-fold predictions against the outcomes; past a million rows, on a sample of whole groups.

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
    rows = whole_groups(metrics.group_codes(groups, len(y)), FITTED_ROWS, seed=0)
    if rows is not None:
        members = {name: member.take(rows) for name, member in members.items()}
        y, groups, folds = y[rows], *(None if part is None else part[rows] for part in (groups, folds))
    report = GuardReport()
    prior = metrics.prior_log_probs(y, folds)
    refuse_exchanged_columns({name: members[name] for name in members if name in external}, y, groups)
    for name, member in members.items():
        log_probs = member.combined().log_probs
        alarms: list[str] = []
        if name in external:
            collapse = collapse_warnings(log_probs, y, prior, groups, external=True)
            alarms += collapse.alarms
            report.notes[name] = [*collapse.notes, *_split_groups(member, groups)]
            if not alarms:
                alarms += _row_order(log_probs, y, groups) or _no_knowledge(log_probs, y, prior, groups)
        accuracy = suspicious_perfection(log_probs, y, groups)
        if accuracy is not None:
            alarms.append(
                f"is right in {accuracy:.1%} of {len(y):,} rows, which no model is on votes that it did not "
                "see: its training saw these rows, or a column was made from the outcomes; keep for each row "
                "the prediction of a model that did not train on it"
            )
        if alarms:
            report.alarms[name] = alarms
    return report


def refuse_exchanged_columns(members: Mapping[str, Predictions], y: Ints, groups: Ints | None = None) -> None:
    """Raise InputError where the columns of a member are clearly in another order than its file says.

    Where they are in the same one in all of several members, the labels are the likelier culprit.
    """
    tables = {name: member.combined().log_probs for name, member in members.items()}
    orders = {name: clear_order(table, y, groups) for name, table in tables.items()}
    named = [name for name, order in orders.items() if order is not None]
    if not named:
        return
    first = named[0]
    order = orders[first]
    assert order is not None
    given, other = (metrics.log_loss(rows, y) for rows in (tables[first], tables[first][:, list(order)]))
    figures = (
        f"taken as {in_words(order)} the log-loss of {len(y):,} rows is {other:.4f}, as given {given:.4f}"
    )
    if len(named) > 1 and len(named) == len(orders) and len(set(orders.values())) == 1:
        raise InputError(
            f"the columns of all {len(named)} external members ({', '.join(named)}) look exchanged in the "
            f"same way: {figures} for {first!r}; most likely the labels are coded otherwise (0 A wins, "
            "1 B wins, 2 tie): mend the labels, or name the columns of every file rightly (p_a, p_b, p_tie)"
        )
    more = f" (and those of {', '.join(named[1:])})" if len(named) > 1 else ""
    raise InputError(
        f"member {first!r}: its columns look exchanged{more}: {figures}; name the columns rightly in its "
        "file (p_a, p_b, p_tie) and give it again, or mend the labels if those are coded otherwise"
    )


def _split_groups(member: Predictions, groups: Ints | None) -> list[str]:
    """Folds of another tool that put rows of one group apart: a model may have seen the same prompt."""
    if groups is None or (member.fold < 0).any():
        return []
    pairs = np.unique(np.column_stack([groups, member.fold]), axis=0)
    group, count = np.unique(pairs[:, 0], return_counts=True)
    split = group[count > 1]
    if not len(split):
        return []
    row = int(np.flatnonzero(groups == split[0])[0])
    return [
        f"has rows of {len(split):,} groups of equal or alike prompts in different folds, the first with id "
        f"{member.ids[row]}: its models saw prompts that they were scored on, so its scores may be too good; "
        "fold by prompt where you can"
    ]


def clear_order(log_probs: Floats, y: Ints, groups: Ints | None) -> tuple[int, int, int] | None:
    """The better order of columns, if the rows then follow the votes.

    Of a member that knows nothing, another order may fit the frequencies of the votes better: that is no
    exchange, and the collapse alarm names it.
    """
    order = best_column_order(log_probs, y, groups)
    if order is None or not _follows_votes(log_probs[:, list(order)], y, groups):
        return None
    return order


def _row_order(log_probs: Floats, y: Ints, groups: Ints | None) -> list[str]:
    found = row_order_check(log_probs, y, groups)
    if found is None:
        return []
    return [
        f"is no better than its own rows shuffled ({found.gain:+.4f} ± {found.gain_se:.4f} nats in "
        f"{len(y):,} rows, while its probabilities claim {found.claimed:.4f}): its rows are in another order "
        "than its ids, or the ids are another file's; write the ids from the same table as the predictions "
        "and give it again"
    ]


def _no_knowledge(log_probs: Floats, y: Ints, prior: Floats, groups: Ints | None) -> list[str]:
    """No better than the prior, in so many rows that a gain worth having is ruled out."""
    log_probs = tie_aside(log_probs, y)
    best = Temperature(best_beta(log_probs, y)).apply(log_probs)
    gain = metrics.row_losses(prior, y) - metrics.row_losses(best, y)
    mean, se = float(gain.mean()), metrics.standard_error(gain, groups)
    if not mean < CLEARLY_BETTER * se or mean + SIGMAS * se >= WORTHWHILE or _follows_votes(best, y, groups):
        return []
    return [
        f"knows nothing of the votes: at its best temperature it gains {mean:+.4f} ± {se:.4f} nats on the "
        f"class prior in {len(y):,} rows, which rules out {WORTHWHILE} or more; likely causes: a model that "
        "was not trained, features of other rows, predictions of one and the same text; leave it out or "
        "make it anew"
    ]


def _follows_votes(log_probs: Floats, y: Ints, groups: Ints | None) -> bool:
    """Whether its rows are clearly better than the same rows shuffled, as where only its tie rate is off."""
    frequency = np.bincount(y, minlength=3) / len(y)
    gain = -np.maximum(log_probs, LOG_FLOOR) @ frequency - metrics.row_losses(log_probs, y)
    return bool(gain.mean() > SIGMAS * metrics.standard_error(gain, groups))


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
    other; A and B exchanged show against members that were trained here and the odd features, where there
    are any, else against the other external members.

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
    members, features = _some_rows(members, features)
    tests, test_features = _some_rows(tests, test_features)
    tables = {
        name: (members[name].combined().log_probs, tests[name].combined().log_probs)
        for name in members
        if name in tests
    }
    given = [name for name in external if name in tables]
    for name in given:
        order = best_test_column_order(*tables[name])
        if order is not None:
            raise InputError(
                f"member {name!r}: the columns of its test predictions look exchanged: its "
                f"{len(tests[name]):,} rows are distributed as those of its out-of-fold predictions if taken "
                f"as {in_words(order)}; {_TEST_REMEDY}"
            )
    deltas = {name: tuple(delta_tau(table)[0][:, None] for table in pair) for name, pair in tables.items()}
    trusted = [deltas[name] for name in tables if name not in external]
    if features is not None and test_features is not None:
        trusted.append((features.odd, test_features.odd))
    if trusted:
        odd, test_odd = (np.hstack(columns) for columns in zip(*trusted, strict=True))
        for name in given:
            if exchanged_against(*tables[name], odd, test_odd):
                raise InputError(
                    f"member {name!r}: A and B look exchanged in its test predictions ({len(tests[name]):,} "
                    "rows): out of fold it agrees with the other members or the lengths of the answers, here "
                    f"it says the opposite; {_TEST_REMEDY}"
                )
    elif len(given) == 1:
        log.warning(
            "member %s: nothing tells whether A and B are exchanged in its test predictions; give the texts "
            "(--text, --test-text) or a second member to compare with",
            given[0],
        )
    _check_against_each_other(given, tables, deltas)


def _some_rows(
    members: Mapping[str, Predictions], features: Features | None
) -> tuple[Mapping[str, Predictions], Features | None]:
    """At most a million rows."""
    count = max((len(member) for member in members.values()), default=0)
    rows = whole_groups(np.arange(count), FITTED_ROWS, seed=0)
    if rows is None:
        return members, features
    some = {name: member.take(rows) for name, member in members.items()}
    return some, None if features is None else features.take(rows)


def _check_against_each_other(
    names: Sequence[str],
    tables: Mapping[str, tuple[Floats, Floats]],
    deltas: Mapping[str, tuple[Floats, ...]],
) -> None:
    """Of external members that agree out of fold and contradict each other here, name the odd one out."""
    against = {
        name: [
            other
            for other in names
            if other != name and exchanged_against(*tables[name], deltas[other][0], deltas[other][1])
        ]
        for name in names
    }
    most = max(map(len, against.values()), default=0)
    if not most:
        return
    suspected = [name for name in names if len(against[name]) == most]
    who = f"member {suspected[0]!r}" if len(suspected) == 1 else f"one of the members {', '.join(suspected)}"
    raise InputError(
        f"{who}: A and B look exchanged in its test predictions ({len(tables[suspected[0]][1]):,} rows): "
        f"out of fold it agrees with {against[suspected[0]][0]!r}, here it says the opposite; {_TEST_REMEDY}"
    )


def in_words(order: tuple[int, int, int]) -> str:
    """An order of columns as a person reads it: ``A, tie, B``."""
    return ", ".join(_CLASSES[k] for k in order)
