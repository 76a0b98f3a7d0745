"""Options of every verb that reads judgements, and what their texts mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from ..errors import InputError
from ..io.format_names import FORMAT_NAMES, RESULT_NAMES

if TYPE_CHECKING:
    from ..judgements import First

_FIRST: Final = ("a", "b", "none")

NumbersOption = Annotated[
    str | None,
    typer.Option(
        metavar="012|120", help="numbers as verdicts: 0 A, 1 B, 2 tie; or 1 A, 2 B, 0 tie", show_default="120"
    ),
]
FirstOption = Annotated[
    str,
    typer.Option(metavar="a|b|none", help="answer that judges saw first, where no column first says it"),
]


def result_format(name: str | None) -> str | None:
    """``--format`` of a panel, which names result files.

    Raises
    ------
    InputError
        It is none of them.
    """
    if name is None or name in RESULT_NAMES:
        return name
    if name in FORMAT_NAMES:
        raise InputError(f"--format {name} is a format of battles; for the texts say --text-format {name}")
    raise InputError(f"--format {name}: no result file of that name; name one of {', '.join(RESULT_NAMES)}")


def first_seen(text: str) -> First:
    """``--first`` as a `First`.

    Raises
    ------
    InputError
        It is neither a, nor b, nor none.
    """
    from ..judgements import First

    if text.lower() not in _FIRST:
        raise InputError(f"--first {text}: expected {', '.join(_FIRST[:-1])} or {_FIRST[-1]}")
    return (First.A, First.B, First.UNKNOWN)[_FIRST.index(text.lower())]
