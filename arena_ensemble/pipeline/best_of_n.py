"""Best of N from files: scores of answers and votes for the best → a fitted model; new answers → chances."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..artifacts import atomic
from ..artifacts.files import parquet_bytes
from ..errors import InputError
from ..io import BestVotes, read_best_votes, read_columns
from ..io.judgements import LoadedJudgements, load_all
from ..judgements import AnswerScores, KnownJudge, Scores
from ..panels import choice_files
from ..panels.best_of_n import BestOfN
from ..predictions import Floats
from .best_names import named_as

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class BestData:
    """Scores of answers, the votes for the best of their items, and items that belong together."""

    scores: AnswerScores
    votes: BestVotes
    groups: Mapping[str, Any] | None


def votes_for_best(
    loaded: Sequence[LoadedJudgements], votes: Path, *, asked: bool | None = None
) -> BestVotes | None:
    """The votes to learn the best of several answers from; None where pairs are to be learned.

    Parameters
    ----------
    asked
        What is to be learned: the best of several (True), pairs (False), or (None) the best where every file
        of judgements scores answers and the votes name the best ones.

    Raises
    ------
    InputError
        The best is asked for, and the votes name none.
    """
    if asked is False or (asked is None and any(one.answers is None for one in loaded)):
        return None
    found = read_best_votes(votes, scores=bool(asked))
    if asked and found is None:
        raise InputError(
            f"{votes} names no best answers; give item and best, or item, answer and best (1 or 0), or "
            "experts' scores of each answer"
        )
    return found


def best_data(
    loaded: Sequence[LoadedJudgements], best: BestVotes, votes: Path, groups: str | None = None
) -> BestData:
    """Join scores and votes by item; warnings count the items that one of them lacks.

    Parameters
    ----------
    groups
        A column of the votes file, by ``item``, or a file with columns ``item, group``.

    Raises
    ------
    InputError
        No item with scores and a vote, a judge in two files, or groups that cannot be read.
    """
    scores = _joined(loaded)
    there = set(scores.items.to_list())
    voted = {item: shares for item, shares in best.shares.items() if item in there}
    if not voted:
        raise InputError(
            f"{votes}: no voted item has scores: votes have items like {next(iter(best.shares))!r}, "
            f"judgements like {scores.items[0]!r}; write the same items in both"
        )
    voted, note = named_as(voted, scores)
    if note is not None:
        log.warning("%s: %s", votes, note)
    if lost := len(best.shares) - len(voted):
        log.warning("%s: %d of %d voted items have no scores and are left out", votes, lost, len(best.shares))
    if unvoted := len(there) - len(voted):
        log.warning("%d of %d scored items have no vote; nothing is learned from them", unvoted, len(there))
    found = None if groups is None else _groups(groups, votes, voted)
    return BestData(scores, BestVotes(voted, best.annotators), found)


def _joined(loaded: Sequence[LoadedJudgements]) -> AnswerScores:
    parts = [one.answers for one in loaded if one.answers is not None]
    if len(parts) < len(loaded):
        raise InputError(
            "a file holds judgements of pairs, of which no best of several follows; give files of item, "
            "answer, judge, score, or learn from pairs (--pairs)"
        )
    return AnswerScores.joined(parts)


def _groups(given: str, votes: Path, voted: Mapping[str, Any]) -> dict[str, Any]:
    path = Path(given)
    frame = read_columns(path, ["item", "group"]) if path.is_file() else read_columns(votes, ["item", given])
    frame.columns = ["item", "group"]
    found = dict(frame.cast(pl.String).unique(maintain_order=True).iter_rows())
    if lacking := [item for item in voted if item not in found]:
        raise InputError(f"groups: {len(lacking)} items without a group, such as {lacking[0]!r}; add them")
    return found


def fit_best(data: BestData, out: Path, *, seed: int = 0) -> BestOfN:
    """Fit and keep in ``out`` with out-of-fold predictions and table; errors as for `BestOfN.fit`."""
    model = BestOfN(random_state=seed).fit(data.scores, data.votes.shares, data.groups)
    choice_files.save(model, data.scores, out)
    return model


@dataclass(frozen=True, eq=False)
class BestPrediction:
    """Natural-log probabilities (n,) of each answer to be the best of its item."""

    items: pl.Series
    answers: pl.Series
    log_probs: Floats
    absent: tuple[str, ...] = ()

    def write(self, path: Path) -> None:
        """Write ``item, answer, logp_best`` (a ``.parquet``), or ``item, answer, p_best`` (CSV)."""
        columns = {"item": self.items, "answer": self.answers}
        if path.suffix == ".parquet":
            frame = pl.DataFrame({**columns, "logp_best": self.log_probs})
            atomic.write_bytes(path, parquet_bytes(frame))
            return
        frame = pl.DataFrame({**columns, "p_best": np.exp(self.log_probs)})
        atomic.write_bytes(path, frame.write_csv().encode())


def predict_best(folder: Path, judgements: Sequence[Path], *, format: str | None = None) -> BestPrediction:
    """Predict new answers with a best-of-N panel; a judge that was not asked is missing.

    Raises
    ------
    InputError
        There is no panel, a judge that it does not know, or a file of pairs.
    ArtifactError
        A file of the panel is truncated or edited.
    """
    model = choice_files.load(folder)
    known = {name: KnownJudge(Scores.kind, answers=model.answers_) for name in model.judges_}
    scores = _joined(load_all(judgements, format=format, known=known))
    if unknown := [name for name in scores.judges if name not in model.judges_]:
        raise InputError(
            f"the panel does not know the judge {unknown[0]!r} (it has {', '.join(model.judges_[:8])}); "
            "leave that judge out, or fit the panel again with it"
        )
    absent = tuple(name for name in model.judges_ if name not in scores.judges)
    if absent:
        log.warning("no scores of %s: taken as missing for all %d answers", ", ".join(absent), len(scores))
    log_probs = model.predict_log_proba(scores.with_judges(model.judges_))
    return BestPrediction(scores.items, scores.answers, log_probs, absent)
