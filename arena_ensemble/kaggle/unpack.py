"""In the notebook: a workspace that can be written, from a pack that cannot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final

from ..errors import InputError
from .contents import KAGGLE_INPUT, WORKSPACE

MARK: Final = "arena-pack.json"
"""lies in a pack's folder: what is in it, and by which it is found"""


def open_pack(pack: Path, workspace: Path) -> dict[str, str]:
    """Copy the pack's workspace to where it can be written; returns the base of each member that has one.

    Bases stay where they are: they are the large part, and only read.

    Raises
    ------
    InputError
        ``pack`` holds no pack, or the workspace is there already.
    """
    if not (pack / MARK).is_file():
        raise InputError(f"{pack}: no {MARK} there; give the folder that `arena-ensemble kaggle-pack` wrote")
    if (workspace / "models").exists():
        raise InputError(f"{workspace}: holds models already; give a new folder")
    shutil.copytree(pack / WORKSPACE, workspace, copy_function=shutil.copyfile, dirs_exist_ok=True)
    for path in [workspace, *workspace.rglob("*")]:  # copies of a read-only folder are read-only too
        if path.is_dir():
            path.chmod(0o755)
    bases = json.loads((pack / MARK).read_text(encoding="utf-8"))["bases"]
    return {name: base if base.startswith(KAGGLE_INPUT) else str(pack / base) for name, base in bases.items()}
