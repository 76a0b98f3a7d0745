"""Write a pack: a dataset folder and a notebook folder, each as Kaggle's command line uploads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from ..artifacts import atomic
from ..artifacts.workspace import Workspace
from ..errors import InputError
from ..pipeline.arguments import UseFolds
from . import contents, notebook, sources, wheels
from .contents import PackedMember
from .unpack import MARK

DATASET: Final = "dataset"
NOTEBOOK: Final = "notebook"
COMPETITION: Final = "llm-classification-finetuning"
REQUIREMENTS: Final = "requirements.txt"
WHEELS: Final = "wheels"


@dataclass(frozen=True)
class PackOptions:
    """What a pack is for, and what goes into it."""

    competition: str = COMPETITION
    """Kaggle's short name of it, under which its files are mounted"""
    owner: str = "OWNER"
    """the Kaggle user who uploads"""
    name: str = "arena-pack"
    python: str = ""
    """Python of the image, as ``3.12``, or several with commas; the running one by default"""
    bases: Mapping[str, str] = field(default_factory=dict)
    half: bool = True
    use_folds: UseFolds = None
    """whose models travel and predict there, as `workflow.predict` has it; None for all folds'"""
    hours: float | None = None
    image_has: tuple[str, ...] = wheels.IMAGE_HAS
    extras: tuple[str, ...] = ()
    model_sources: tuple[str, ...] = ()
    wheel: Path | None = None
    machine: str = notebook.MACHINE
    """Kaggle's name of the accelerator; empty for none"""


@dataclass(frozen=True)
class Pack:
    """A written pack."""

    folder: Path
    members: tuple[PackedMember, ...]
    python: str
    wheel_bytes: int
    total_bytes: int

    def facts(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "folder": str(self.folder)}


def write_pack(workspace: Workspace, folder: Path, options: PackOptions, *, python: str) -> Pack:
    """Write ``folder/dataset`` and ``folder/notebook``, whole or not at all.

    Parameters
    ----------
    python
        The Python whose wheels are taken, as ``3.12``, or several with commas.

    Raises
    ------
    InputError
        The folder is there already, there is no finished ensemble, a member cannot travel, a wheel is not
        to be had, or Kaggle would refuse the name or mount nothing where a base is said to lie.
    """
    sources.check_name(options.name)
    pythons = tuple(dict.fromkeys(part.strip() for part in python.split(",")))
    if wrong := [part for part in pythons if not re.fullmatch(r"3\.\d+", part)]:
        raise InputError(f"--python {wrong[0] or python}: give versions such as 3.12, or 3.12,3.13")
    if folder.exists():
        raise InputError(f"{folder} is there already; name another --out, or remove it")
    with atomic.new_folder(folder) as partial:
        dataset = partial / DATASET
        dataset.mkdir()
        members = contents.pack_members(
            workspace, dataset, bases=options.bases, half=options.half, use_folds=options.use_folds
        )
        noted = {one.name: one.base for one in members if one.base.startswith(sources.KAGGLE_INPUT)}
        datasets, models = sources.sources_of(noted, options.model_sources)
        extras = tuple(dict.fromkeys([*options.extras, *(extra for one in members for extra in one.extras)]))
        versions: dict[str, str] = {}
        for one in pythons:
            versions |= wheels.requirements(options.image_has, extras, one)
        wheels.collect(dataset / WHEELS, versions, pythons=pythons, wheel=options.wheel)
        lines = [f"{name}=={version}" for name, version in versions.items()]
        (dataset / REQUIREMENTS).write_text("\n".join([*lines, wheels.OWN]) + "\n")
        mark = {
            "bases": {member.name: member.base for member in members if member.base},
            "competition": options.competition,
            "pythons": list(pythons),
            "image_has": list(options.image_has),
            "owner": options.owner,
            "name": options.name,
            "content": contents.digest_of_cards(dataset),
            "use_folds": options.use_folds,
        }
        atomic.write_json(dataset / MARK, mark)
        atomic.write_json(
            dataset / "dataset-metadata.json", notebook.dataset_metadata(options.owner, options.name)
        )
        _write_notebook(partial / NOTEBOOK, options, datasets, models)
        sizes = contents.folder_size(dataset / WHEELS), contents.folder_size(partial)
    return Pack(folder, tuple(members), ", ".join(pythons), *sizes)


def _write_notebook(
    folder: Path, options: PackOptions, datasets: tuple[str, ...], models: tuple[str, ...]
) -> None:
    folder.mkdir()
    text = notebook.notebook(options.competition, options.hours, options.use_folds)
    (folder / notebook.NOTEBOOK).write_text(text, encoding="utf-8")
    metadata = notebook.kernel_metadata(
        options.owner, options.name, options.competition, datasets, models, machine=options.machine
    )
    atomic.write_json(folder / "kernel-metadata.json", metadata)
