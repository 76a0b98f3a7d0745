"""A PEFT adapter of another tool becomes a member: its files beside a recipe that trains nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ..artifacts.atomic import new_folder, reraise_os_errors
from ..artifacts.workspace import Workspace, check_name
from ..errors import InputError
from ..recipes import recipe_from

ADAPTER: Final = "adapter"
_HEADER: Final = """# An adapter that another tool trained: nothing is trained here, its folds are unverified.
# [prompt] must show the model what it was shown in its training.
"""


@dataclass(frozen=True)
class ImportedAdapter:
    """A member whose recipe was written from an adapter."""

    recipe: Path
    folds: int
    """adapters: one for every fold, or 1 for all"""
    settings: dict[str, Any]
    """of the recipe"""
    knows_prompt: bool
    """whether the adapter's folder says what its model is shown"""


def import_adapter(
    workspace: Workspace, name: str, adapter: Path, *, base: str | None = None
) -> ImportedAdapter:
    """Copy a PEFT adapter into ``models/NAME/adapter`` and write the recipe beside it.

    Parameters
    ----------
    adapter
        A folder with ``adapter_config.json`` and ``adapter_model.safetensors``, or one of ``fold-0``,
        ``fold-1``, …, each such a folder: fold k's own adapter.
    base
        The hub id or folder of its base, in place of the one that the adapter names.

    Raises
    ------
    InputError
        The member's folder is there already, the adapters of several folds are not alike, or the adapter's
        base is not known here.
    ArtifactError
        The adapter is broken or of a kind that cannot be used.
    """
    from ..backbones.language import peft_import

    check_name(name)
    target = workspace.models / name
    if target.exists():
        raise InputError(f"{target} is there already; choose another name for the member, or remove it")
    parts = sorted(adapter.glob("fold-*")) if (adapter / "fold-0").is_dir() else [adapter]
    found = [peft_import.describe(part) for part in parts]
    if base is not None:
        found = [replace(one, base=base, revision="") for one in found]
    for part, one in zip(parts, found, strict=True):
        if one != found[0]:
            raise InputError(f"{part}: has other settings than {parts[0]}; import the two as two members")
    values: dict[str, Any] = {
        "backbone": found[0].backbone,
        "base": _base(found[0].base, adapter),
        **({"revision": found[0].revision} if found[0].revision else {}),
        "prompt": found[0].prompt,
        "adapter": found[0].settings,
        "train": {"epochs": 0, "start": f"./{ADAPTER}"},
    }
    recipe_from(values, name=name, source=str(adapter), folder=target)
    with new_folder(target) as partial, reraise_os_errors(target):
        for part in parts:
            place = partial / ADAPTER / ("" if part == adapter else part.name)
            place.mkdir(parents=True)
            for file in peft_import.FILES:
                if (part / file).is_file():
                    shutil.copy2(part / file, place / file)
        (partial / "recipe.toml").write_text(_HEADER + _toml(values), encoding="utf-8")
    return ImportedAdapter(target / "recipe.toml", len(parts), values, bool(found[0].prompt))


def _base(written: str, adapter: Path) -> str:
    """The base as a recipe writes it: a folder here by its whole path."""
    if not written:
        raise InputError(f"{adapter}: does not name its base model; give --base with a hub id or a folder")
    path = Path(written).expanduser()
    if path.is_dir():
        return str(path.resolve())
    if path.is_absolute() or written.startswith((".", "~")):
        raise InputError(
            f"{adapter}: its base {written} is no folder on this machine; give --base with a hub id "
            "or a folder"
        )
    return written


def _toml(values: dict[str, Any]) -> str:
    """Settings and sections of them as TOML, whose numbers, texts and lists are written as in JSON."""
    lines = [_line(key, value) for key, value in values.items() if not isinstance(value, dict)]
    for name, section in values.items():
        if isinstance(section, dict) and section:
            lines += ["", f"[{name}]", *(_line(key, value) for key, value in section.items())]
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any) -> str:
    return f"{key} = {json.dumps(value, ensure_ascii=False)}"
