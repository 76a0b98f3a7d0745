"""The verb audit: does anything leak? Fails closed, with evidence."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ArenaError, ArtifactError, InputError
from . import options as o
from .runner import Result, WorkspaceOption

if TYPE_CHECKING:
    from ..artifacts.workspace import Workspace
    from ..battles import Battles


def audit(
    data: o.DataOption,
    format: o.FormatOption = None,
    fold_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="folds of another tool: columns id and fold")
    ] = None,
    trust: Annotated[
        str | None,
        typer.Option(metavar="NAME,…", help="external members and teachers whose folds you vouch for"),
    ] = None,
    seed: Annotated[int, typer.Option(help="seed of the canary")] = 0,
    no_canary: Annotated[
        bool, typer.Option("--no-canary", help="leave out the shuffled-label canary")
    ] = False,
    skip_unvoted: o.SkipUnvotedOption = False,
    workspace: WorkspaceOption = Path(),
) -> Result:
    """Look for leaks: folds, members, canary, template, stacker."""
    from ..artifacts.fold_file import FOLDS_FILE, read_folds
    from ..artifacts.workspace import FOLDS_CARD, Workspace
    from ..folds import Folds, make_folds
    from ..io import read_battles, read_columns
    from ..pipeline import leak_audit
    from ..pipeline.audit_check import FAIL

    battles = read_battles(data, format=format, need_outcomes=True, skip_unvoted=skip_unvoted)
    place = Workspace(workspace)
    made: Folds | None = None
    if fold_file is not None:
        fold = leak_audit.fold_of(read_columns(fold_file, ["id", "fold"]), battles, str(fold_file))
        source = str(fold_file)
    elif (place.oof / FOLDS_CARD).is_file():
        made = read_folds(place, battles)
        fold, source = made.fold, str(place.oof / FOLDS_FILE)
    elif any(not _is_external(place, name) for name in place.member_names()):
        raise InputError(
            f"{place.oof} holds members and no fold file: nothing shows their folds; restore folds.parquet "
            "and folds.json, or give --fold-file"
        )
    else:
        fold, source = make_folds(battles, seed=seed).fold, "folds that would be made"
    checks = leak_audit.run_checks(
        battles,
        made,
        fold,
        place if made is not None or (fold_file is None and place.member_names()) else None,
        trust=set(o.names(trust)),
        seed=seed,
        canary=not no_canary,
    )
    failed = [check.name for check in checks if check.status == FAIL]
    facts = {
        "battles": len(battles),
        "folds": source,
        "clean": not failed,
        "failed": failed,
        "checks": [dataclasses.asdict(check) for check in checks],
    }
    rows = [(check.name, f"{check.status}: {check.message}") for check in checks]
    return Result(facts, _text(battles, source, rows, failed), ArenaError.exit_code if failed else 0)


def _is_external(place: Workspace, name: str) -> bool:
    """Whether another tool made a member; of a damaged card nothing is believed."""
    from ..pipeline.imported import is_external

    try:
        return is_external(place, name)
    except ArtifactError:
        return False


def _text(battles: Battles, source: str, rows: list[tuple[str, str]], failed: list[str]) -> str:
    from . import tables

    verdict = f"leaks or unproven: {', '.join(failed)}" if failed else "nothing leaks as far as can be seen"
    return tables.facts_table(rows, title=f"{len(battles):,} battles, {source}") + f"\n\n{verdict}"
