"""The ensemble as one more artifact under ``oof/ensemble/``: made from the members' OOF, kept with a card."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from lightgbm.basic import LightGBMError

from .. import metrics
from ..artifacts import members as member_files
from ..artifacts import store
from ..battles import Battles
from ..diagnostics.contribution import member_contributions
from ..diagnostics.label_leakage import leakage_suspicions
from ..diagnostics.reliability import reliability
from ..errors import ArtifactError, InputError
from ..features import Features, extract
from ..folds import Folds
from ..metrics import ScoreRow
from ..predictions import Floats, Predictions
from ..stacking import STACKER_FORMAT, Stacker
from . import oof

log = logging.getLogger(__name__)

ENSEMBLE: Final = "ensemble"
_TABLE: Final = "table.json"


@dataclass(frozen=True)
class Ensemble:
    """A fitted stacker, its honest score table, and the card that says what it was made from."""

    stacker: Stacker
    table: list[ScoreRow]
    card: store.Card

    def log_probs(self, members: Mapping[str, Predictions], features: Features) -> Floats:
        """The stacker's log-probabilities (n, 3) of new rows.

        Raises
        ------
        ArtifactError
            The parts of the stacker do not fit each other: its file was made by hand.
        """
        try:
            with np.errstate(all="ignore"):  # what is not finite is refused where it is written
                return self.stacker.predict_log_proba(members, features=features)
        except (ArithmeticError, AttributeError, LightGBMError, LookupError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"the stacker does not fit together ({type(error).__name__}: {error}); "
                "run `arena-ensemble stack` again"
            ) from error

    @property
    def outcomes(self) -> int:
        """3, or 2 where no tie can be voted."""
        return int(self.card.get("outcomes", 3))

    @property
    def members(self) -> list[str]:
        """Names of the members that it reads, in its order."""
        return list(self.card["members"])


def build(
    workspace: store.Workspace,
    battles: Battles,
    folds: Folds,
    members: list[str],
    *,
    seed: int = 0,
    truth: Floats | None = None,
    outcomes: int = 3,
) -> Ensemble:
    """Fit the stacker on the members' OOF predictions and the features, or load it if nothing changed.

    Parameters
    ----------
    members
        Names of finished members.
    truth
        True log-probabilities (n, 3) of the battles where they are known (sample arena): only the
        table's ``gap_closed`` reads them.
    outcomes
        2 where no tie can be voted: P(tie) is then absent from members and ensemble.

    Raises
    ------
    InputError
        A member is not finished or lacks rows.
    StaleError
        A member was made with another fold file.
    """
    said: dict[str, Predictions] = {}
    hashes: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for name in members:
        predictions, card = member_files.load_member(workspace, name)
        if card.get("folds_verified") and card.get("folds") != folds.digest:
            raise store.stale(workspace.oof / name, ["fold file"], f"make it anew with --remake {name}")
        aligned = predictions.aligned_to(battles.ids, name=f"member {name!r}")
        said[name] = aligned.without_ties() if outcomes == 2 else aligned
        hashes[name] = card["files"]["oof.parquet"]
        seconds[name] = float(card.get("seconds", 0.0))
    key = {
        "data": battles.digest(),
        "folds": folds.digest,
        "members": hashes,
        "seed": seed,
        "truth": truth is not None,
        "outcomes": outcomes,
        "versions": oof.versions(),
        "stacker_format": STACKER_FORMAT,
    }
    folder = workspace.oof / ENSEMBLE
    old = _kept(folder, key)
    if old is not None:
        return old
    start = time.monotonic()
    y = battles.outcomes()
    log.info("stacking %d members on %d battles", len(members), len(battles))
    stacker = Stacker(random_state=seed)
    stacker.fit(
        said,
        y,
        features=extract(battles),
        groups=folds.group,
        folds=folds.fold,
        bayes_log_probs=truth,
    )
    table = table_with_floor(stacker, truth, y)
    facts = {
        **key,
        "choice": stacker.choice_,
        "selection_frequency": stacker.selection_frequency_,
        "temperature": stacker.temperature_,
        "log_loss": metrics.log_loss(stacker.oof_log_proba_, y),
        "seconds": round(time.monotonic() - start, 3),
        **accounts(said, y, folds.group, folds.fold, seconds, chosen=stacker.oof_log_proba_),
    }
    honest = Predictions(battles.ids, stacker.oof_log_proba_, folds.fold)
    if outcomes == 2:
        honest = honest.without_ties()
        facts["log_loss"] = metrics.log_loss(honest.log_probs, y)
    card = write(folder, honest, stacker, table, facts)
    return Ensemble(stacker, table, card)


def accounts(
    members: Mapping[str, Predictions],
    y: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64] | None = None,
    folds: npt.NDArray[np.int64] | None = None,
    seconds: Mapping[str, float] | None = None,
    *,
    chosen: Floats,
) -> dict[str, Any]:
    """The contributions, the suspicions and the reliability of all, as they stand in an ensemble's card.

    ``chosen`` holds the ensemble's own out-of-fold log-probabilities (n, 3).
    """
    hours = None if seconds is None else {name: spent / 3600 for name, spent in seconds.items() if spent}
    table = member_contributions(members, y, groups=groups, folds=folds, hours=hours)
    suspected = leakage_suspicions(members, y, groups)
    said = {ENSEMBLE: chosen, **{name: one.combined().log_probs for name, one in members.items()}}
    drawn = {
        name: [[dataclasses.asdict(one) for one in bins] for bins in reliability(log_probs, y, groups)]
        for name, log_probs in said.items()
    }
    return {
        "contributions": table.as_dict(),
        "suspicions": [dataclasses.asdict(one) for one in suspected],
        "reliability": drawn,
    }


def table_with_floor(stacker: Stacker, truth: Floats | None, y: npt.NDArray[np.int64]) -> list[ScoreRow]:
    """The stacker's score table and, where the truth is known, the Bayes floor as its last row."""
    rows = list(stacker.table_)
    if truth is None:
        return rows
    floor = metrics.row_losses(truth, y)
    difference = metrics.paired_difference(floor, metrics.row_losses(stacker.oof_log_proba_, y))
    bayes = ScoreRow(
        name="Bayes floor",
        kind="bayes",
        log_loss=float(floor.mean()),
        se=metrics.standard_error(floor),
        accuracy=metrics.accuracy(truth, y),
        difference=difference.mean,
        difference_se=difference.se,
        gap_closed=1.0,
        note="the true probabilities",
    )
    return [*rows, bayes]


def write(
    folder: Path,
    oof_predictions: Predictions,
    stacker: Stacker,
    table: list[ScoreRow],
    facts: Mapping[str, Any],
) -> store.Card:
    """Keep a fitted stacker, its out-of-fold predictions and its table as one artifact."""
    partial = folder.with_name(f".{folder.name}.tmp-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    contents = dict(stacker.dump())
    frame = member_files.reading_frame(oof_predictions.ids, oof_predictions.fold, oof_predictions.log_probs)
    contents["oof.parquet"] = store.parquet_bytes(frame)
    contents[_TABLE] = json.dumps({"rows": [dataclasses.asdict(row) for row in table]}).encode()
    try:
        for name, content in contents.items():
            store.write_bytes(partial / name, content)
        card = store.write_card(partial, facts, list(contents))
        store.commit_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return card


def _kept(folder: Path, key: dict[str, Any]) -> Ensemble | None:
    """The ensemble on disk, if it was made from exactly this."""
    card = store.read_card(folder)
    if card is None or store.conflict(card, key) or list(card["members"]) != list(key["members"]):
        return None
    return _restored(folder, card)


def load(workspace: store.Workspace) -> Ensemble:
    """The workspace's ensemble, after the hashes of all its files matched.

    Raises
    ------
    InputError
        There is none yet.
    ArtifactError
        A file is truncated or edited.
    """
    return load_folder(workspace.oof / ENSEMBLE)


def load_folder(folder: Path) -> Ensemble:
    """As `load`, of the folder that ``stack --labels … --out`` wrote."""
    card = store.read_card(folder)
    if card is None:
        raise InputError(f"no ensemble in {folder}; run `arena-ensemble stack` first")
    return _restored(folder, card)


def _restored(folder: Path, card: store.Card) -> Ensemble:
    contents = {name: store.verified(folder, name, card) for name in card["files"]}
    try:
        rows = [ScoreRow(**row) for row in json.loads(contents.pop(_TABLE))["rows"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{folder / _TABLE}: not a score table ({error}); run stack again") from error
    contents.pop("oof.parquet", None)
    return Ensemble(Stacker.restore(contents), rows, card)
