"""The verb doctor: is this machine ready, and with ``--plan`` what each recipe would cost on a card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .plan_options import PANEL, PlanOptions
from .runner import Result, WorkspaceOption


def doctor(
    options: PlanOptions,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="parameters, memory and time of each recipe", rich_help_panel=PANEL),
    ] = False,
    workspace: WorkspaceOption = Path(),
) -> Result:
    """Say whether this machine is ready; --plan: what each recipe needs on a card."""
    from ..artifacts.workspace import Workspace

    if plan:
        from .plan import plan_recipes

        if options.data is not None and options.rows is not None:
            raise typer.BadParameter("give --data or --rows, not both")
        return plan_recipes(Workspace(workspace), options)
    from .health import check_machine

    return check_machine(Workspace(workspace))
