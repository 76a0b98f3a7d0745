"""Whether a run that lost members may go on."""

from __future__ import annotations

from ..errors import InputError, MemberError
from .run_result import RunResult


def raise_if_none_finished(result: RunResult) -> None:
    """With nothing to go on with, a bug leaves as one; else it costs its member alone."""
    if not result.finished:
        if result.bugs:
            raise result.bugs[0]
        raise InputError(f"no member is finished: {result.failures() or 'none was named'}")


def raise_if_failed(result: RunResult) -> None:
    """Raise the first bug, or one MemberError that names every failed member."""
    if result.bugs:
        raise result.bugs[0]
    if result.failed:
        raise MemberError(result.failures())
