"""The verbs about files: sample, validate."""

from __future__ import annotations

import argparse

from ..artifacts import store
from ..errors import InputError
from ..io import load_battles, spreadsheet_csv, suspicious_rows
from . import Result, tables


def sample(options: argparse.Namespace) -> Result:
    """Write the sample arena."""
    from .. import sample as arena

    if options.rows < 1 or options.test_rows < 1:
        raise InputError(f"--rows {options.rows} --test-rows {options.test_rows}: both must be at least 1")
    made = arena.files(options.rows, options.test_rows, seed=options.seed)
    for name, text in made.items():
        store.write_bytes(options.out / name, text.encode())
    facts = {
        "folder": str(options.out),
        "files": sorted(made),
        "rows": options.rows,
        "test_rows": options.test_rows,
    }
    return Result(
        facts, f"{options.out}: {', '.join(made)} ({options.rows:,} and {options.test_rows:,} battles)"
    )


def validate(options: argparse.Namespace) -> Result:
    """Say what a file of battles holds."""
    loaded = load_battles(options.file, format=options.format, isolated=True)
    facts = loaded.report.as_dict()
    if options.suspicious is not None:
        rows = suspicious_rows(loaded.battles)
        store.write_bytes(options.suspicious, spreadsheet_csv(rows.columns, rows.iter_rows()))
    return Result(facts, tables.facts_table(list(facts.items()), title=str(options.file)))


def import_member(options: argparse.Namespace) -> Result:
    """Keep predictions that another tool made as a member."""
    from ..pipeline import external  # with the stackers behind it, which `validate` need not wait for

    workspace = store.Workspace(options.workspace)
    with workspace.locked("arena-ensemble import"):
        card = external.keep(workspace, options.name, options.oof, options.test)
    text = f"{workspace.oof / options.name}: {card['rows']:,} rows, folds unverified; name it in --models"
    return Result(card, text)


def report(options: argparse.Namespace) -> Result:
    """Write the ensemble's page."""
    from .. import report as pages  # with the stackers behind it, which `validate` need not wait for

    workspace = store.Workspace(options.workspace)
    target = pages.write(workspace, options.out, folder=options.brought)
    return Result({"report": str(target)}, f"{target}: open it in a browser")
