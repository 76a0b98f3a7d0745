"""Run a pack as Kaggle would: its notebook's code in a clean environment without index and network."""

from __future__ import annotations

import contextlib
import csv
import json
import logging
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
from ..backbones.language import hub
from ..battles import Battles
from ..errors import ArenaError, InputError
from ..features import extract
from ..io import (
    COLUMNS,
    WINNER_COLUMNS,
    check_sample,
    check_submission,
    load_predictions,
    read_battles,
)
from ..pipeline import fold_models
from ..pipeline.arguments import folds_of
from ..pipeline.ensemble import Ensemble
from ..predictions import Floats
from ..recipes import Recipe, load_recipe, with_bases
from . import image, notebook
from .pack import DATASET, NOTEBOOK, REQUIREMENTS
from .sources import KAGGLE_INPUT, parts_of
from .unpack import MARK, SAMPLE
from .wheels import pip_reason

log = logging.getLogger(__name__)

HIDDEN_ROWS: Final = 25_000
"""Rows of the hidden test file of the LMSYS competition and of its open twin, about."""
PUBLIC_ROWS: Final = 3
"""Rows of the test file that a saved version sees; a submission is run again on the hidden one."""
LIMIT_HOURS: Final = 9.0
_LESS: Final = (" LEFT OUT: ", " FAILED IN PART: ")
"""what `predict` prints of a member that is missing, or some of whose folds are"""
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


def rehearse(
    folder: Path,
    workspace: Workspace,
    test: Path,
    *,
    rows: int = 200,
    bases: Mapping[str, str] | None = None,
) -> Rehearsal:
    """Install the pack's wheels in a clean environment, predict the first ``rows`` of ``test``, check it.

    As Kaggle runs a notebook twice, it predicts three rows first, then all with another test file in place.

    Parameters
    ----------
    bases
        As the pack was written with. A base that is only noted, as one of Kaggle's Models, is looked for on
        this machine where the recipe says.

    Raises
    ------
    InputError
        A wheel is missing (it is named), the environment's Python is none of the pack's, a base is not on
        this machine, the notebook fails, it leaves out a member, it writes into the pack, or its submission
        is not valid or not the workspace's own.
    """
    pack = folder / DATASET
    mark = json.loads((pack / MARK).read_text(encoding="utf-8"))
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if here not in mark["pythons"]:
        raise InputError(
            f"the pack is for Python {', '.join(mark['pythons'])} and this is {here}: rehearse it with that "
            f"one, or pack for both (--python {','.join([*mark['pythons'], here])})"
        )
    before, folds = _state(pack), folds_of(mark["use_folds"])
    recipes = _recipes(workspace, bases or {})
    with tempfile.TemporaryDirectory(prefix="arena-rehearsal-") as temporary:
        root = Path(temporary)
        inputs = root / "kaggle" / "input"
        data = inputs / "competitions" / mark["competition"]
        data.mkdir(parents=True)
        _link(inputs / "datasets" / mark["owner"] / mark["name"], pack)
        for name, place in mark["bases"].items():
            if place.startswith(KAGGLE_INPUT):
                _link(inputs.joinpath(*parts_of(place)), _base_here(recipes[name], place))
        held = [line.partition("==")[0] for line in (pack / REQUIREMENTS).read_text().split()]
        log.info("rehearsal: a new environment with what Kaggle's image has, then the pack's wheels")
        python = image.build(root / "venv", mark["image_has"], held)
        find, install, predict, show = notebook.code_of(
            (folder / NOTEBOOK / notebook.NOTEBOOK).read_text(encoding="utf-8")
        )
        environment = image.environment(root)
        (root / "kaggle" / "working").mkdir()

        # a small run, then the real one: their difference is what the rows cost
        n_classes = Ensemble.load(workspace).card.n_classes
        submission = root / "kaggle" / "working" / "submission.csv"
        few = _first_rows(test, data, PUBLIC_ROWS, n_classes)
        install_seconds = _run(python, [find, install], root, environment)
        log.info("rehearsal: installed in %.0f s; predicting %d rows", install_seconds, few)
        few_seconds = _run(python, [find, predict], root, environment)
        _check_form(submission, read_battles(_test_file(data)), n_classes)
        shutil.rmtree(root / "kaggle" / "tmp")
        count = _first_rows(test, data, rows, n_classes)
        log.info("rehearsal: predicted in %.0f s; predicting %d rows", few_seconds, count)
        seconds = _run(python, [find, predict, show], root, environment)
        log.info("rehearsal: predicted in %.0f s; comparing with this workspace's own predictions", seconds)
        difference = _check(submission, workspace, recipes, _test_file(data), folds)
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
    if less := [line for line in done.stdout.splitlines() if any(word in line for word in _LESS)]:
        raise InputError(f"rehearsal: {less[0].strip()}")
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith(("ERROR: ", "error: "))]
        reason = pip_reason(done.stderr) if any("ERROR: " in line for line in lines) else "; ".join(lines)
        raise InputError(
            f"rehearsal: {reason or done.stderr.strip()[-300:]}; pack again, then rehearse once more"
        )
    return time.monotonic() - start


def _link(place: Path, folder: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        place.symlink_to(folder.resolve(), target_is_directory=True)


def _recipes(workspace: Workspace, bases: Mapping[str, str]) -> dict[str, Recipe]:
    """The members' recipes, with the folders here that the pack's bases were copied from."""
    names = Ensemble.load(workspace).members
    recipes = {name: load_recipe(workspace.recipe_path(name)) for name in names}
    here = {name: place for name, place in bases.items() if not place.startswith(KAGGLE_INPUT)}
    return with_bases(recipes, here)


def _base_here(recipe: Recipe, place: str) -> Path:
    """The folder on this machine of a base that the pack only notes."""
    folder = recipe.base_path()
    if folder is None:
        with contextlib.suppress(ArenaError):
            folder = hub.snapshot(recipe.name, recipe.base, recipe.revision or None)
    if folder is None or not folder.is_dir():
        raise InputError(
            f"rehearsal: {place} is only on Kaggle, and the base of {recipe.name!r}, {recipe.base!r}, is no "
            "folder here; rehearse where it is"
        )
    return folder


def _test_file(data: Path) -> Path:
    return next(path for path in sorted(data.iterdir()) if path.stem == "test")


def _first_rows(test: Path, data: Path, rows: int, n_classes: int) -> int:
    """Write the first rows of a test file where Kaggle mounts it, and a sample; returns how many they are."""
    if test.suffix == ".parquet":
        frame = pl.read_parquet(test, n_rows=rows)
        frame.write_parquet(data / "test.parquet")
    elif test.suffix == ".csv":
        csv.field_size_limit(1 << 30)
        with test.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            head = [line for line, _ in zip(csv.reader(stream), range(rows + 1), strict=False)]
        with (data / "test.csv").open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
            csv.writer(stream, lineterminator="\n").writerows(head)
    else:
        raise InputError(f"--test {test}: competitions give CSV or parquet; give one of these to rehearse on")
    ids = read_battles(_test_file(data)).ids.to_list()
    columns, values = (WINNER_COLUMNS, ["model_a"]) if n_classes == 2 else (COLUMNS, [0.3, 0.3, 0.4])
    with (data / SAMPLE).open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([columns, *([name, *values] for name in ids)])
    return len(ids)


def _own(
    workspace: Workspace, recipes: Mapping[str, Recipe], battles: Battles, folds: tuple[int, ...] | None
) -> Floats:
    """Probabilities (n, 3) of the workspace's own ensemble for these rows, with the models that the pack has.

    An average of folds is sharpened as these rows have it, which is what the notebook does, not as an earlier
    test file had it.
    """
    ensemble = Ensemble.load(workspace)
    n_classes, by_fold = ensemble.card.n_classes, {}
    for name in ensemble.members:
        models = fold_models.load(workspace, name, n_classes=n_classes, use_folds=folds, recipe=recipes[name])
        by_fold[name] = [model.predict(battles) for model in models]
    return np.asarray(np.exp(ensemble.combine(by_fold, extract(battles)).log_probs))


def _check_form(submission: Path, battles: Battles, n_classes: int) -> None:
    """Raise InputError where a submission has other columns or ids than the competition asks for."""
    if n_classes == 2:
        check_sample(submission, battles.ids, WINNER_COLUMNS)
    else:
        check_submission(submission, battles.ids)


def _check(
    submission: Path,
    workspace: Workspace,
    recipes: Mapping[str, Recipe],
    test: Path,
    folds: tuple[int, ...] | None,
) -> float:
    """Check the submission; returns its largest difference to the workspace's own prediction."""
    battles = read_battles(test)
    n_classes = Ensemble.load(workspace).card.n_classes
    _check_form(submission, battles, n_classes)
    ours = _own(workspace, recipes, battles, folds)
    if n_classes == 2:  # a winner for each id, of a task without ties
        written = pl.read_csv(submission, schema_overrides={"id": pl.String})
        winners = np.where(ours[:, 1] > ours[:, 0], "model_b", "model_a")
        share = float((written["winner"].to_numpy() != winners).mean())
        if share > _TOLERANCE:
            raise InputError(f"rehearsal: {share:.1%} of the winners differ from the workspace's; pack again")
        return share
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
