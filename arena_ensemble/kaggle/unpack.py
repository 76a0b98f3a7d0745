"""In the notebook: a workspace that can be written, from a pack that cannot."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Final

from ..errors import InputError
from ..io import COLUMNS, WINNER_COLUMNS, check_sample, read_battles
from ..pipeline.ensemble import Ensemble
from .contents import WORKSPACE
from .sources import KAGGLE_INPUT, mounted

MARK: Final = "arena-pack.json"
"""lies in a pack's folder: what is in it, and by which it is found"""
SAMPLE: Final = "sample_submission.csv"
_log = logging.getLogger(__name__)


def open_pack(pack: Path, workspace: Path, inputs: Path = Path(KAGGLE_INPUT)) -> dict[str, str]:
    """Copy the pack's workspace to where it can be written; returns the base of each member that has one.

    Bases stay where they are: they are the large part, and only read. A pack that is open already is left as
    it is, so that a cell that runs once more goes on; one that was interrupted begins anew.

    Parameters
    ----------
    inputs
        Where Kaggle mounts what the notebook names.

    Raises
    ------
    InputError
        ``pack`` holds no pack, or the workspace holds models of something else.
    """
    if not (pack / MARK).is_file():
        raise InputError(f"{pack}: no {MARK} there; give the folder that `arena-ensemble kaggle-pack` wrote")
    mark = (pack / MARK).read_bytes()
    kept = workspace / MARK
    begun = workspace / f"{MARK}.begun"
    if not (kept.is_file() and kept.read_bytes() == mark):
        if begun.is_file():  # of a cell that was interrupted while it copied
            for part in ("models", "oof"):
                shutil.rmtree(workspace / part, ignore_errors=True)
        if (workspace / "models").exists():
            raise InputError(f"{workspace}: holds models already; give a new folder")
        workspace.mkdir(parents=True, exist_ok=True)
        begun.write_bytes(mark)
        shutil.copytree(pack / WORKSPACE, workspace, copy_function=shutil.copyfile, dirs_exist_ok=True)
        for path in [workspace, *workspace.rglob("*")]:  # copies of a read-only folder are read-only too
            if path.is_dir():
                path.chmod(0o755)
        kept.write_bytes(mark)
        begun.unlink()
    bases = json.loads(mark)["bases"]
    return {
        name: str(mounted(base, inputs)) if base.startswith(KAGGLE_INPUT) else str(pack / base)
        for name, base in bases.items()
    }


def fitting_sample(workspace: Path, test: Path) -> Path | None:
    """The sample submission beside a test file, where it has the test file's ids.

    One of other ids (a rerun that replaces one file and not the other) is no reason to predict nothing.

    Raises
    ------
    InputError
        It has other columns than what this ensemble predicts: the competition asks for another kind of task.
    """
    sample = test.with_name(SAMPLE)
    if not sample.is_file():
        return None
    columns = WINNER_COLUMNS if Ensemble.load(workspace).card.n_classes == 2 else COLUMNS
    ids = read_battles(test).ids
    check_sample(sample, ids[:0], columns, columns_alone=True)
    try:
        check_sample(sample, ids, columns)
    except InputError as error:
        _log.warning("%s is not looked at: %s", sample.name, error)
        return None
    return sample


def predict_options(pack: str, workspace: str, test: str, inputs: str) -> list[str]:
    """Open a pack; returns the options of `predict` that are only known here: bases and sample submission.

    Raises
    ------
    InputError
        As `open_pack` and `fitting_sample`.
    """
    bases = open_pack(Path(pack), Path(workspace), Path(inputs))
    sample = fitting_sample(Path(workspace), Path(test))
    options = [] if sample is None else ["--sample-submission", str(sample)]
    for name, folder in bases.items():
        options += ["--base", f"{name}={folder}"]
    return options
