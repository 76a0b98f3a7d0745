"""Options of stack --labels for members that saw each battle in one order only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import typer

_OWN: Final = "Members that saw one order only (with --labels)"


@dataclass(frozen=True, kw_only=True)
class OneOrderOptions:
    """Which members may lean to what they saw first, and what that was."""

    one_order: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,…",
            help="members that saw each battle in one order only: they may lean to that response",
            rich_help_panel=_OWN,
        ),
    ] = None
    first: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN|FILE",
            help="what they saw first, a or b: a column of --labels, or a file of id and first",
            show_default="a",
            rich_help_panel=_OWN,
        ),
    ] = None
