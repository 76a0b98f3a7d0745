"""What a run of many tasks came to: members finished, failed and late, and why."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

from ..artifacts.members import MemberArtifacts
from ..artifacts.workspace import Workspace
from ..errors import ArenaError
from ..predictions import Predictions

log = logging.getLogger(__name__)

EXPECTED: Final = (ArenaError, ArithmeticError, MemoryError, OSError, RuntimeError, ValueError)
"""What a member may fail with and be named for; anything else is a bug and shows its traceback."""


@dataclass
class RunResult:
    """What a run of many tasks came to."""

    workspace: Workspace
    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """member → why, with the fold where there is one"""
    alarms: dict[str, list[str]] = field(default_factory=dict)
    """member → signs that it has learned nothing"""
    partly: dict[str, str] = field(default_factory=dict)
    """member → which of its fold models failed in a prediction and why; the others have predicted"""
    bugs: list[Exception] = field(default_factory=list)
    """errors that are no member's fault; they do not stop the others either"""
    late: dict[str, str] = field(default_factory=dict)
    """member → what of it the time was not enough for"""
    second_order: dict[str, float] = field(default_factory=dict)
    """member → the share of its test rows in the second order, where time cut it"""
    unplanned: dict[str, ArenaError] = field(default_factory=dict)
    """members among the failed whose fitted models could not even be looked at"""

    def oof(self, member: str) -> Predictions:
        """The out-of-fold predictions of a finished member, a row per training battle, in their order.

        Raises
        ------
        InputError
            The member is not finished.
        """
        return MemberArtifacts(self.workspace, member).load()[0]

    def test(self, member: str) -> list[Predictions]:
        """Each fold model's predictions of the test battles.

        Raises
        ------
        InputError
            There are none.
        """
        return MemberArtifacts(self.workspace, member).load_test()

    def failures(self) -> str:
        """Every failed member and why, in one line."""
        return "; ".join(f"member {name}: {why}" for name, why in self.failed.items())

    def fail(self, member: str, what: str, error: Exception) -> None:
        """Name a member's first error, and a bug with its traceback."""
        bug = not isinstance(error, EXPECTED)
        if bug:
            self.bugs.append(error)
        where = what.removeprefix(f"{member} ")  # the member is named where the message is shown
        message = f"{where}: {described(error)}" if where else described(error)
        known = member in self.failed
        self.failed.setdefault(member, message + (" (a bug)" if bug else ""))
        level = logging.ERROR if bug or not known else logging.DEBUG  # its other folds say the same
        log.log(level, "%s failed: %s", what or member, described(error), exc_info=error if bug else None)


def described(error: Exception) -> str:
    """An error in one line, with its type where it is none of ours."""
    return str(error) if isinstance(error, ArenaError) else f"{type(error).__name__}: {error}"
