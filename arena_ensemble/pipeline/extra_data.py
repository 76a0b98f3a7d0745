"""Extra training battles, with votes or with pseudo-labels, kept from the folds they must not touch.

An extra battle never trains against a fold that shares its group or a near-duplicate of its prompt.
Pseudo-labels are another model's probabilities of battles that nobody voted on; they can carry a
held-out vote into training, so where they come from is checked and recorded.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ..artifacts import cards
from ..artifacts.cards import REFIT, ShardCard
from ..artifacts.files import digest_bytes, digest_file, digest_json
from ..battles import Battles
from ..errors import InputError, StaleError
from ..folds import Folds, may_train
from ..io import read_battles, read_fold_predictions
from ..predictions import LOG_FLOOR, Floats, average_folds, normalised

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExtraFile:
    """A file of extra battles, the weight of each of its rows, and predictions in place of votes."""

    battles: Path
    weight: float = 1.0
    pseudo_labels: Path | None = None


@dataclass(frozen=True, eq=False)
class ExtraBattles:
    """Extra training battles.

    ``weights`` is (n,), ``may`` (n, n_folds): whether a battle may train against a validation fold;
    ``sources`` gives file, rows and weight of each file, for the cards. ``soft`` (n, n_folds, 3) holds
    natural-log probabilities for battles that nobody voted on, by the fold that they train against;
    NaN where there was a vote; None where all were voted on.
    """

    battles: Battles
    weights: Floats
    may: npt.NDArray[np.bool_]
    sources: tuple[dict[str, Any], ...]
    soft: Floats | None = None

    @property
    def digest(self) -> str:
        """What the folds trained with these battles are keyed by."""
        content = [self.battles.digest(), self.weights.tolist(), np.packbits(self.may).tolist()]
        if self.soft is not None:
            content.append(digest_bytes(np.ascontiguousarray(self.soft).tobytes()))
        return digest_json(content)

    def rows(self, fold: int) -> npt.NDArray[np.int64]:
        """The battles that may train against a fold; all of them where no fold is held out (`REFIT`)."""
        return np.arange(len(self.battles)) if fold == REFIT else np.flatnonzero(self.may[:, fold])

    def labels(self, fold: int) -> Floats:
        """Pseudo-labels (rows, 3) for :meth:`rows`; without a held-out fold the mean of all folds' models."""
        assert self.soft is not None
        rows = self.rows(fold)
        return normalised(self.soft[rows].mean(axis=1)) if fold == REFIT else self.soft[rows, fold]

    def facts(self, fold: int) -> dict[str, Any]:
        """For the card of a fold: how many battles joined it and how many were held back."""
        used = len(self.rows(fold))
        return {"files": list(self.sources), "used": used, "held_back": len(self.battles) - used}


def read_extra(files: Sequence[ExtraFile], train: Battles, folds: Folds) -> ExtraBattles | None:
    """Read extra training battles and decide which fold each may train against.

    Votes in a file that has pseudo-labels are not looked at.

    Raises
    ------
    InputError
        A file cannot be read, a row has neither an outcome nor a prediction.
    StaleError
        Pseudo-labels were made with another fold file.
    """
    if not files:
        return None
    parts, weights, sources, soft = [], [], [], []
    for place, file in enumerate(files):
        voted = file.pseudo_labels is None
        battles = read_battles(file.battles, need_ids=False, need_votes=voted)
        source = {"file": file.battles.name, "rows": len(battles), "weight": file.weight}
        if file.pseudo_labels is None:
            soft.append(np.full((len(battles), folds.n_folds, 3), np.nan))
        else:
            battles = battles.without_outcomes()
            labels, verified = _pseudo_labels(battles, file.pseudo_labels, folds)
            soft.append(labels)
            source |= {"pseudo_labels": file.pseudo_labels.name, "folds_verified": verified}
        names = f"extra:{place}:" + battles.ids.cast(pl.String)
        parts.append(battles.frame.with_columns(names.alias("id")))
        weights.append(np.full(len(battles), file.weight))
        sources.append(source)
    extra = Battles(pl.concat(parts, how="diagonal"))
    may = may_train(extra, train, folds)
    log.info("extra battles: %d, of which %d may train no fold", len(extra), int((~may).all(axis=1).sum()))
    taught = any(file.pseudo_labels is not None for file in files)
    return ExtraBattles(
        extra, np.concatenate(weights), may, tuple(sources), np.concatenate(soft) if taught else None
    )


def _pseudo_labels(battles: Battles, path: Path, folds: Folds) -> tuple[Floats, bool]:
    """Natural-log probabilities (n, n_folds, 3) of battles without votes; whether they are out of fold.

    Where the file is a member's ``test.parquet`` of the same folds (its ``.json`` beside it shows it),
    fold k learns from fold k's own model, which never saw a row of fold k. Otherwise every fold learns
    from the mean, and a model that saw the fold's votes may pass them on: a warning says so.
    """
    held = read_fold_predictions(path)
    if len(held) > 1:
        raise InputError(f"{path} holds the members {', '.join(held)}; --pseudo takes a file of one")
    parts = [part.aligned_to(battles.ids, name=str(path)) for part in next(iter(held.values()))]
    note = path.with_suffix(".json")
    card = cards.read_model(note, ShardCard) if path.suffix == ".parquet" and note.is_file() else None
    if card is not None and card.key is not None and not card.learned_unverified:
        if card.sha256 != digest_file(path):
            raise InputError(f"{path}: its SHA-256 differs from {note.name}; copy both anew")
        if card.key.folds != folds.digest or len(parts) != folds.n_folds:
            raise StaleError(
                f"{path}: was made with another fold file, so its models may have seen what they would "
                "teach; make it anew with these folds"
            )
        by_fold = np.stack([part.combined().log_probs for part in parts], axis=1)
        return np.maximum(by_fold, LOG_FLOOR), True
    log.warning("nothing shows that the models behind %s never saw the folds that it trains against", path)
    mean = average_folds(parts) if len(parts) > 1 else parts[0].combined()
    return np.repeat(np.maximum(mean.log_probs, LOG_FLOOR)[:, None], folds.n_folds, axis=1), False


def add_extra_rows(
    extra: ExtraBattles | None, train: Battles, fold: int, soft: Floats | None
) -> tuple[Battles, Floats | None, Floats | None]:
    """A fold's training battles with the extra ones that may join: battles, weights, soft targets.

    Extra battles have no teacher but, where nobody voted, their pseudo-labels. Their ids are strings, so
    all ids of the result are.
    """
    if extra is None:
        return train, None, soft
    rows = extra.rows(fold)
    more = extra.battles.take(rows)
    own = train.frame.with_columns(pl.col("id").cast(pl.String))
    battles = Battles(pl.concat([own, more.frame], how="diagonal"))
    weights = np.concatenate([np.ones(len(train)), extra.weights[rows]])
    if soft is None and extra.soft is None:
        return battles, weights, None
    own_soft = np.full((len(train), 3), np.nan) if soft is None else soft
    more_soft = np.full((len(more), 3), np.nan) if extra.soft is None else extra.labels(fold)
    return battles, weights, np.concatenate([own_soft, more_soft])


def learned_unverified(learned_from: dict[str, Any]) -> bool:
    """Whether a fold learned, beside its votes, from labels that nothing shows to be out of fold."""
    sources = [learned_from.get("start"), learned_from.get("teacher")]
    sources += learned_from.get("extra", {}).get("files", ())
    return any(source is not None and not source.get("folds_verified", True) for source in sources)
