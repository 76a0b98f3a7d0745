"""Run a pack as Kaggle would: its notebook's code in a clean environment without index and network."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from ..artifacts.workspace import Workspace
from ..battles import Battles
from ..errors import InputError
from ..features import extract
from ..io import COLUMNS, check_submission, load_predictions, read_battles
from ..pipeline import fold_models
from ..pipeline.arguments import folds_of
from ..pipeline.ensemble import Ensemble
from ..predictions import Floats
from . import image, notebook
from .pack import DATASET, NOTEBOOK, REQUIREMENTS
from .unpack import MARK
from .wheels import pip_reason

HIDDEN_ROWS: Final = 25_000
"""Rows of the hidden test file of the LMSYS competition and of its open twin, about."""
LIMIT_HOURS: Final = 9.0
_TOLERANCE: Final = 0.01
"""How far a probability in the pack may lie from this workspace's: adapters are stored in 16 bits."""


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal measured."""

    rows: int
    install_seconds: float
    predict_seconds: float
    seconds_per_row: float
    """from the difference of two runs, so that loading is left out"""
    hidden_hours: float
    """installing, loading and predicting `HIDDEN_ROWS` rows as long as these, on this machine"""
    largest_difference: float
    """between a probability in the pack's submission and the workspace's own prediction"""


def rehearse(folder: Path, workspace: Workspace, test: Path, *, rows: int = 200) -> Rehearsal:
    """Install the pack's wheels in a clean environment, predict the first ``rows`` of ``test``, check it.

    Raises
    ------
    InputError
        A wheel is missing (it is named), the environment's Python is another than the pack's, the notebook
        fails, it writes into the pack, or its submission is not valid or not the workspace's own.
    """
    pack = folder / DATASET
    mark = json.loads((pack / MARK).read_text(encoding="utf-8"))
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if mark["python"] != here:
        raise InputError(
            f"the pack is for Python {mark['python']} and this is {here}: rehearse it with that one"
        )
    before, folds = _state(pack), folds_of(mark["use_folds"])
    with tempfile.TemporaryDirectory(prefix="arena-rehearsal-") as temporary:
        root = Path(temporary)
        data = root / "kaggle" / "input" / mark["competition"]
        data.mkdir(parents=True)
        (root / "kaggle" / "input" / "pack").symlink_to(pack.resolve(), target_is_directory=True)
        held = [line.partition("==")[0] for line in (pack / REQUIREMENTS).read_text().split()]
        python = image.build(root / "venv", mark["image_has"], held)
        find, install, predict, show = notebook.code_of(
            (folder / NOTEBOOK / notebook.NOTEBOOK).read_text(encoding="utf-8")
        )
        environment = image.environment(root)
        (root / "kaggle" / "working").mkdir()

        # a small run, then the real one: their difference is what the rows cost
        few = max(rows // 4, 1)
        _first_rows(test, data, few)
        install_seconds = _run(python, [find, install], root, environment)
        few_seconds = _run(python, [find, predict], root, environment)
        shutil.rmtree(root / "kaggle" / "tmp")
        count = _first_rows(test, data, rows)
        seconds = _run(python, [find, predict, show], root, environment)
        difference = _check(
            root / "kaggle" / "working" / "submission.csv", workspace, _test_file(data), folds
        )
    if changed := sorted(_state(pack).items() ^ before.items()):
        raise InputError(f"{changed[0][0]}: the notebook changed the pack, which Kaggle mounts read-only")
    per_row = max(seconds - few_seconds, 0.0) / max(count - few, 1)
    hidden = install_seconds + seconds + per_row * max(HIDDEN_ROWS - count, 0)
    return Rehearsal(count, install_seconds, seconds, per_row, hidden / 3600, difference)


def _run(python: Path, cells: list[str], root: Path, environment: Mapping[str, str]) -> float:
    """Run cells in one process; returns seconds."""
    script = root / "notebook.py"
    script.write_text("\n\n".join(cells), encoding="utf-8")
    start = time.monotonic()
    done = subprocess.run(
        [str(python), "-I", str(script)],
        cwd=root, env=dict(environment), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith(("ERROR: ", "error: "))]
        reason = pip_reason(done.stderr) if any("ERROR: " in line for line in lines) else "; ".join(lines)
        raise InputError(
            f"rehearsal: {reason or done.stderr.strip()[-300:]}; pack again, then rehearse once more"
        )
    return time.monotonic() - start


def _test_file(data: Path) -> Path:
    return next(path for path in sorted(data.iterdir()) if path.stem == "test")


def _first_rows(test: Path, data: Path, rows: int) -> int:
    """Write the first rows of a test file where Kaggle mounts it; returns how many there are."""
    if test.suffix == ".parquet":
        frame = pl.read_parquet(test, n_rows=rows)
        frame.write_parquet(data / "test.parquet")
        return len(frame)
    csv.field_size_limit(1 << 30)
    with test.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        head = [line for line, _ in zip(csv.reader(stream), range(rows + 1), strict=False)]
    with (data / "test.csv").open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        csv.writer(stream, lineterminator="\n").writerows(head)
    return len(head) - 1


def _own(workspace: Workspace, battles: Battles, folds: tuple[int, ...] | None) -> Floats:
    """Probabilities (n, 3) of the workspace's own ensemble, with the models that the pack has."""
    ensemble = Ensemble.load(workspace)
    if folds is None:
        return ensemble.predict_proba(battles)
    n_classes, by_fold = ensemble.card.n_classes, {}
    for name in ensemble.members:
        models = fold_models.load(workspace, name, n_classes=n_classes, use_folds=folds)
        by_fold[name] = [model.predict(battles) for model in models]
    return np.asarray(np.exp(ensemble.combine(by_fold, extract(battles)).log_probs))


def _check(submission: Path, workspace: Workspace, test: Path, folds: tuple[int, ...] | None) -> float:
    """Check the submission; returns its largest difference to the workspace's own prediction."""
    battles = read_battles(test)
    with submission.open(encoding="utf-8") as stream:
        columns = tuple(stream.readline().strip().split(","))
    ours = _own(workspace, battles, folds)
    if columns != COLUMNS:  # a winner for each id, of a task without ties
        written = pl.read_csv(submission, schema_overrides={"id": pl.String})
        if written["id"].to_list() != [str(name) for name in battles.ids]:
            raise InputError(f"{submission}: ids differ from the test file's; pack again")
        winners = np.where(ours[:, 1] > ours[:, 0], "model_b", "model_a")
        share = float((written["winner"].to_numpy() != winners).mean())
        if share > _TOLERANCE:
            raise InputError(f"rehearsal: {share:.1%} of the winners differ from the workspace's; pack again")
        return share
    check_submission(submission, battles.ids)
    (written_parts,) = load_predictions(submission).members.values()
    theirs = written_parts[0].aligned_to(battles.ids, name=str(submission)).probs
    difference = float(np.abs(theirs - ours).max())
    if difference > _TOLERANCE:
        raise InputError(
            f"rehearsal: a probability differs by {difference:.3f} from the workspace's own; pack with "
            "--full-precision, and give the bases that the members were trained on"
        )
    return difference


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}
