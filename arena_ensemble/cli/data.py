"""The verbs about files: import, sample and validate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from . import options as o
from .runner import Result, WorkspaceOption
from .validate import validate

__all__ = ["import_member", "sample", "validate"]


def import_member(
    name: Annotated[str, typer.Argument(help="the member's name from now on")],
    oof: Annotated[Path | None, typer.Option(metavar="FILE", help="its out-of-fold predictions")] = None,
    test: Annotated[Path | None, typer.Option(metavar="FILE", help="its test predictions")] = None,
    logits: o.LogitsOption = False,
    ids: o.IdsOption = None,
    test_ids: o.TestIdsOption = None,
    average: o.AverageOption = False,
    one_order: Annotated[
        bool,
        typer.Option(
            "--one-order", help="it saw one order only, the response in A first: it may lean to that one"
        ),
    ] = False,
    adapter: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="instead: its PEFT adapter, or fold-0, fold-1, …"),
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="BASE", help="hub id or folder of the adapter's base")
    ] = None,
    workspace: WorkspaceOption = Path(),
) -> Result:
    """Keep what another tool made as a member: predictions, or an adapter."""
    if (oof is None) == (adapter is None):
        raise typer.BadParameter("give one of --oof FILE and --adapter DIR")
    if adapter is not None:
        if test is not None:
            raise typer.BadParameter("--adapter predicts test battles itself; leave out --test")
        if one_order:
            raise typer.BadParameter("--one-order belongs to --oof FILE; a recipe says which orders it reads")
        return _import_adapter(workspace, name, adapter, base)
    assert oof is not None
    if base is not None:
        raise typer.BadParameter("--base belongs to --adapter DIR")
    from ..artifacts.workspace import Workspace
    from ..pipeline import imported
    from ..pipeline.external_files import ReadingOptions

    place = Workspace(workspace)
    with place.locked("arena-ensemble import"):
        reading = ReadingOptions(logits, ids, test_ids, average)
        card = imported.import_member(place, name, oof, test, reading, one_order=one_order)
    text = f"{place.oof / name}: {card.rows:,} rows, folds unverified; name it in --models"
    return Result(card.model_dump(mode="json"), text)


def _import_adapter(workspace: Path, name: str, adapter: Path, base: str | None) -> Result:
    from ..artifacts.workspace import Workspace
    from ..pipeline import adapter_import

    place = Workspace(workspace)
    with place.locked("arena-ensemble import"):
        found = adapter_import.import_adapter(place, name, adapter, base=base)
    of = "one adapter for all folds" if found.folds == 1 else f"{found.folds} adapters, one for each fold"
    prompt = "" if found.knows_prompt else "write under [prompt] what the adapter was trained to read, then "
    text = (
        f"{found.recipe}: backbone {found.settings['backbone']}, base {found.settings['base']}, {of}, folds "
        f"unverified; {prompt}run `arena-ensemble oof --data FILE --models {name}`"
    )
    facts = {"member": name, "recipe": str(found.recipe), "folds": found.folds, **found.settings}
    return Result(facts, text)


def sample(
    out: Annotated[Path, typer.Option(metavar="DIR", help="folder for the four CSV files")],
    rows: Annotated[int, typer.Option(help="training battles")] = 1500,
    test_rows: Annotated[int, typer.Option(help="test battles")] = 300,
    seed: Annotated[int, typer.Option(help="seed of texts and votes")] = 0,
    workspace: WorkspaceOption = Path(),
) -> Result:
    """Write the sample arena: battles with known true probabilities."""
    from .. import sample as arena
    from ..artifacts import atomic

    if rows < 1 or test_rows < 1:
        raise InputError(f"--rows {rows} --test-rows {test_rows}: both must be at least 1")
    made = arena.files(rows, test_rows, seed=seed)
    for (
        name,
        text,
    ) in made.items():  # before anything is written: a competitor's own train.csv has that name too
        if (out / name).exists() and (out / name).read_bytes() != text.encode():
            raise InputError(
                f"{out / name} is there already and another file; name another --out, or remove it"
            )
    for name, text in made.items():
        atomic.write_bytes(out / name, text.encode())
    facts = {"folder": str(out), "files": sorted(made), "rows": rows, "test_rows": test_rows}
    return Result(facts, f"{out}: {', '.join(made)} ({rows:,} and {test_rows:,} battles)")
