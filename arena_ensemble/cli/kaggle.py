"""The verb kaggle-pack: what an offline notebook needs, in one folder."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from . import option_texts
from .options import UseFoldsOption
from .runner import Result, WorkspaceOption

if TYPE_CHECKING:
    from ..kaggle import pack, rehearsal

_IMAGES = ("3.12", "3.13")
"""Pythons of Kaggle's image: Kaggle/docker-python v170, and its pull request 1562 of 2026-09-28"""

_TIMED = 0.1
"""The least share of a run that its rows must take for their cost to be told from that of loading."""


def kaggle_pack(
    out: Annotated[Path, typer.Option(metavar="DIR", help="new folder: dataset/ and notebook/ to upload")],
    competition: Annotated[
        str, typer.Option(help="Kaggle's short name of the competition")
    ] = "llm-classification-finetuning",
    owner: Annotated[str, typer.Option(help="your Kaggle user name, for the metadata")] = "OWNER",
    name: Annotated[str, typer.Option(help="name of the dataset")] = "arena-pack",
    base: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR",
            help="a member's base: a folder here, which is copied, or /kaggle/input/… for one of Kaggle's "
            "Models (repeat)",
        ),
    ] = None,
    model_source: Annotated[
        list[str] | None,
        typer.Option(metavar="OWNER/MODEL/FRAMEWORK/VARIATION/N", help="a Kaggle Model to mount (repeat)"),
    ] = None,
    python: Annotated[
        str,
        typer.Option(
            metavar="3.N[,3.N]",
            help="Python of Kaggle's image; several: whichever it has",
            show_default="this one",
        ),
    ] = "",
    image_has: Annotated[
        list[str] | None,
        typer.Option(metavar="PACKAGE", help="what the image brings itself (repeat)", show_default="torch"),
    ] = None,
    extra: Annotated[
        list[str] | None,
        typer.Option(metavar="EXTRA", help="extras to install there, beside what the members need (repeat)"),
    ] = None,
    full_precision: Annotated[
        bool, typer.Option("--full-precision", help="store adapters as trained, not in 16 bits")
    ] = False,
    use_folds: UseFoldsOption = None,
    hours: Annotated[
        float, typer.Option(min=0.1, help="what the notebook's prediction may take; see docs/deadlines.md")
    ] = 8.5,
    machine: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="accelerator as Kaggle names it: NvidiaTeslaT4 is two T4, NvidiaL4"
        ),
    ] = "NvidiaTeslaT4",
    no_gpu: Annotated[bool, typer.Option("--no-gpu", help="a notebook without an accelerator")] = False,
    wheel: Annotated[
        Path | None, typer.Option(metavar="FILE", help="this package's wheel, where its source is not here")
    ] = None,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="run the notebook here without index and network; needs --test")
    ] = False,
    test: Annotated[
        Path | None, typer.Option(metavar="FILE", help="battles to rehearse on, as long as the hidden ones")
    ] = None,
    rows: Annotated[int, typer.Option(help="rows of --test to rehearse on")] = 200,
    workspace: WorkspaceOption = Path(),
) -> Result:
    """Pack wheels, models, ensemble and a notebook for a competition without internet."""
    from ..artifacts.workspace import Workspace
    from ..kaggle import pack, rehearsal, wheels

    if rehearse != (test is not None):
        raise InputError("--rehearse and --test belong together: give the battles to rehearse on")
    if rows < 8:
        raise InputError(f"--rows {rows}: give at least 8, to time them")
    options = pack.PackOptions(
        competition=competition,
        owner=owner,
        name=name,
        bases=option_texts.bases(base),
        hours=hours,
        half=not full_precision,
        use_folds=option_texts.fold_numbers(use_folds),
        image_has=tuple(wheels.IMAGE_HAS if image_has is None else image_has),
        extras=tuple(extra or ()),
        model_sources=tuple(model_source or ()),
        wheel=wheel,
        machine="" if no_gpu else machine,
    )
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    place = Workspace(workspace)
    with place.locked("packing"):
        written = pack.write_pack(place, out, options, python=python or here)
    facts, lines = written.facts(), _lines(written)
    if test is not None:
        found = rehearsal.rehearse(out, place, test, rows=rows, bases=options.bases)
        facts["rehearsal"] = asdict(found)
        lines += _rehearsal_lines(found)
    if owner == "OWNER":
        lines += ["put your Kaggle user name in place of OWNER in both metadata files, or pack with --owner"]
    lines += [
        f"next: kaggle datasets create -p {out / pack.DATASET} --dir-mode zip, "
        f"then kaggle kernels push -p {out / pack.NOTEBOOK}"
    ]
    return Result(facts, "\n".join(lines))


def _lines(written: pack.Pack) -> list[str]:
    lines = [
        f"{written.folder}: {_size(written.total_bytes)}, of which wheels for Python {written.python} "
        f"{_size(written.wheel_bytes)}"
    ]
    if not {*written.python.split(", ")} & {*_IMAGES}:
        lines += [
            f"Kaggle's image had Python {' or '.join(_IMAGES)} in autumn 2026; these wheels do not suit it: "
            f"pack with --python {','.join(dict.fromkeys([*written.python.split(', '), *_IMAGES]))}"
        ]
    for member in written.members:
        base = f", base {member.base}" if member.base else ""
        lines.append(f"  {member.name}: {member.what}, {_size(member.size)}{base}")
    return lines


def _rehearsal_lines(found: rehearsal.Rehearsal) -> list[str]:
    from ..kaggle.rehearsal import HIDDEN_ROWS, LIMIT_HOURS

    if found.seconds_per_row * found.rows < _TIMED * found.predict_seconds:
        hidden = f"too few rows to say how long {HIDDEN_ROWS:,} take: give more --rows"
        return _rehearsed(found, hidden)
    late = "" if found.hidden_hours <= LIMIT_HOURS else f": longer than Kaggle's {LIMIT_HOURS:g} hours"
    hidden = f"{HIDDEN_ROWS:,} such rows would take {found.hidden_hours:.2f} hours on this machine{late}"
    return _rehearsed(found, hidden)


def _rehearsed(found: rehearsal.Rehearsal, hidden: str) -> list[str]:
    return [
        f"rehearsed without network: {found.rows:,} rows, a valid submission, at most "
        f"{found.largest_difference:.1g} from this workspace's own probabilities",
        f"  installed in {found.install_seconds:.0f} s, predicted in {found.predict_seconds:.0f} s; {hidden}",
    ]


def _size(count: float) -> str:
    return f"{count / 2**20:,.1f} MiB"
