"""The verb report: one page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from . import options as o
from .runner import Result, WorkspaceOption


def report(
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="the battles it was made from: adds loss by length, surprising battles"
        ),
    ] = None,
    format: o.FormatOption = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="page to write", show_default="report.html beside the ensemble"),
    ] = None,
    external: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="an ensemble of external predictions or a panel: --out of stack, panel"
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="another workspace or folder to compare with; needs --data"),
    ] = None,
    brought: Annotated[Path | None, typer.Option(hidden=True)] = None,
    workspace: WorkspaceOption = Path(),
) -> Result:
    """Write one page to look at: scores, calibration, members, battles."""
    from ..artifacts.workspace import Workspace
    from ..panels.choice_files import is_best_of_n
    from ..report import page

    if format is not None and data is None:
        raise InputError("--format is that of --data FILE; give both, or leave it out")
    o.renamed([], [str(brought)] if brought else [], "--external", "--brought")
    target = page.write(
        Workspace(workspace), out, folder=external or brought, data=data, form=format, against=against
    )
    alone = data or (external is not None and is_best_of_n(external))
    more = "" if alone else "; with --data FILE, the battles it was made from, it shows where it loses too"
    return Result({"report": str(target)}, f"{target}: open it in a browser{more}")
