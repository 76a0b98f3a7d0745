"""Temporary: doctor's arguments."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Annotated

import typer

from .runner import Result, WorkspaceOption

_PLAN = "Plan (estimates from shapes; nothing is downloaded)"


def doctor(
    plan: Annotated[
        bool,
        typer.Option("--plan", help="parameters, memory and time of each recipe", rich_help_panel=_PLAN),
    ] = False,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,…",
            help="recipes to plan",
            show_default="all with a real base",
            rich_help_panel=_PLAN,
        ),
    ] = None,
    card: Annotated[
        str, typer.Option(help="T4, L4, RTX4090, A100-40, A100-80, H100 or H200", rich_help_panel=_PLAN)
    ] = "H100",
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="battles whose lengths are planned for", rich_help_panel=_PLAN),
    ] = None,
    rows: Annotated[
        int, typer.Option(help="battles, where --data is not given (Kaggle's set)", rich_help_panel=_PLAN)
    ] = 57_477,
    tokens: Annotated[float, typer.Option(help="mean tokens of a battle", rich_help_panel=_PLAN)] = 830,
    folds: Annotated[int, typer.Option(help="cross-fitting folds", rich_help_panel=_PLAN)] = 5,
    utilisation: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="of the card's peak",
            show_default="0.4 fit, 0.5 read",
            rich_help_panel=_PLAN,
        ),
    ] = None,
    workspace: WorkspaceOption = Path(),
) -> Result:
    """Say whether this machine is ready; --plan: what each recipe needs on a card."""
    from . import doctor as work

    return work.doctor(argparse.Namespace(**locals()))
