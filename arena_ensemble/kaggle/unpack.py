"""In the notebook: a workspace that can be written, over a pack that cannot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final

from ..errors import InputError
from .contents import KAGGLE_INPUT, WORKSPACE

MARK: Final = "arena-pack.json"
"""lies in a pack's folder: what is in it, and by which it is found"""


def find_pack(root: Path) -> Path:
    """The pack below Kaggle's input folder, however deep that one is mounted (three levels at most).

    Raises
    ------
    InputError
        There is none, or more than one.
    """
    found = [path.parent for depth in ("*", "*/*", "*/*/*") for path in sorted(root.glob(f"{depth}/{MARK}"))]
    if len(found) != 1:
        names = ", ".join(map(str, found)) or "none"
        raise InputError(
            f"{root}: expected one folder with {MARK} and found {names}; add the pack's dataset to the "
            "notebook's input, once"
        )
    return found[0]


def open_pack(pack: Path, workspace: Path) -> dict[str, str]:
    """Lay a workspace over a read-only pack; returns the base of each member that has one.

    Fitted folds are linked, for they are large and only read; recipes and the ensemble, small, are copied.

    Raises
    ------
    InputError
        ``pack`` holds no pack, or the workspace is there already.
    """
    if not (pack / MARK).is_file():
        raise InputError(f"{pack}: no {MARK} there; give the folder that `arena-ensemble kaggle-pack` wrote")
    if (workspace / "models").exists():
        raise InputError(f"{workspace}: holds models already; give a new folder")
    source = pack / WORKSPACE
    shutil.copytree(source / "oof", workspace / "oof", copy_function=shutil.copyfile)
    for member in sorted((source / "models").iterdir()):
        place = workspace / "models" / member.name
        place.mkdir(parents=True)
        shutil.copyfile(member / "recipe.toml", place / "recipe.toml")
        for fold in sorted(member.glob("fold-*")):
            (place / fold.name).symlink_to(fold.resolve(), target_is_directory=True)
    for path in [workspace, *workspace.rglob("*")]:  # copies of a read-only folder are read-only too
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    bases = json.loads((pack / MARK).read_text(encoding="utf-8"))["bases"]
    return {name: base if base.startswith(KAGGLE_INPUT) else str(pack / base) for name, base in bases.items()}
