"""The verb export: a member's model for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options as o
from .runner import Result, WorkspaceOption


def export(
    name: Annotated[str, typer.Argument(help="a member that was trained here")],
    peft: Annotated[
        Path | None, typer.Option(metavar="DIR", help="new folder for a PEFT adapter with its head")
    ] = None,
    merged: Annotated[
        Path | None, typer.Option(metavar="DIR", help="new folder for the whole model, adapters merged in")
    ] = None,
    fold: Annotated[int, typer.Option(help="which fold's model", min=0)] = 0,
    dtype: Annotated[str, typer.Option(help="fp32, bf16 or fp16: type of the merged weights")] = "bf16",
    base: o.BaseOption = None,
    workspace: WorkspaceOption = Path(),
) -> Result:
    """Write a member's model for other tools: PEFT adapter or merged weights."""
    if (peft is None) == (merged is None):
        raise typer.BadParameter("give one of --peft DIR and --merged DIR")
    from ..artifacts.workspace import Workspace
    from ..pipeline.export import export_member
    from .option_texts import bases

    target = peft or merged
    assert target is not None
    export_member(
        Workspace(workspace),
        name,
        target,
        fold=fold,
        merged=merged is not None,
        dtype=dtype,
        bases=bases(base),
    )
    files = sorted(path.name for path in target.iterdir())
    size = sum(path.stat().st_size for path in target.iterdir()) / 1e6
    facts = {"member": name, "fold": fold, "folder": str(target), "files": files}
    return Result(facts, f"{target}: fold {fold} of {name}, {', '.join(files)} ({size:,.1f} MB)")
