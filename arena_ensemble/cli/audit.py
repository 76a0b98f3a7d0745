"""The verb audit: does anything leak? Fails closed, with evidence."""

from __future__ import annotations

import argparse
import dataclasses

from ..artifacts import members, store
from ..battles import Battles
from ..errors import ArenaError, InputError
from ..folds import Folds, make_folds
from ..io import read_battles, read_columns
from ..pipeline import leak_audit
from . import Result, tables


def audit(options: argparse.Namespace) -> Result:
    """Check folds, members, canary, template and stacker of a data file."""
    battles = read_battles(options.data, format=options.format, need_outcomes=True)
    workspace = store.Workspace(options.workspace)
    made: Folds | None = None
    if options.fold_file is not None:
        frame = read_columns(options.fold_file, ["id", "fold"])
        fold = leak_audit.fold_of(frame, battles, str(options.fold_file))
        source = str(options.fold_file)
    elif (workspace.oof / members.FOLDS_CARD).is_file():
        made = members.read_folds(workspace, battles)
        fold, source = made.fold, str(workspace.oof / members.FOLDS_FILE)
    elif workspace.member_names():
        raise InputError(f"{workspace.oof} holds members and no fold file: nothing shows their folds")
    else:
        fold, source = make_folds(battles, seed=options.seed).fold, "folds that would be made"
    checks = leak_audit.inspect(
        battles,
        made,
        fold,
        workspace if made is not None else None,
        trust={name.strip() for name in (options.trust or "").split(",") if name.strip()},
        seed=options.seed,
        canary=not options.no_canary,
    )
    failed = [check.name for check in checks if check.status == leak_audit.FAIL]
    facts = {
        "battles": len(battles),
        "folds": source,
        "clean": not failed,
        "failed": failed,
        "checks": [dataclasses.asdict(check) for check in checks],
    }
    rows = [(check.name, f"{check.status}: {check.told}") for check in checks]
    return Result(facts, _text(battles, source, rows, failed), ArenaError.exit_code if failed else 0)


def _text(battles: Battles, source: str, rows: list[tuple[str, str]], failed: list[str]) -> str:
    verdict = f"leaks or unproven: {', '.join(failed)}" if failed else "nothing leaks as far as can be seen"
    return tables.facts_table(rows, title=f"{len(battles):,} battles, {source}") + f"\n\n{verdict}"
