"""Panels from files: judgements and votes → a fitted panel in a folder; new judgements → probabilities."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ..artifacts import atomic
from ..artifacts.files import parquet_bytes
from ..battles import align_rows
from ..errors import InputError
from ..features import Features, extract
from ..folds import group_keys
from ..io import (
    PanelVotes,
    read_battles,
    read_best_votes,
    read_columns,
    read_judgements,
    read_panel_votes,
    write_submission,
)
from ..io.judgements import LoadedJudgements, load_all
from ..judgements import First, JudgeColumn, Judgements, LogProbs, Scores, Verdicts
from ..judgements.pair_names import match_pairs, pair_codes
from ..panels import Panel
from ..predictions import Floats

log = logging.getLogger(__name__)

_EMPTY: Final[dict[str, Callable[[int], JudgeColumn]]] = {
    Verdicts.kind: lambda n: Verdicts.from_codes(np.full(n, -1), asked=False),
    Scores.kind: lambda n: Scores.from_pairs(np.full((n, 2), np.nan)),
    LogProbs.kind: lambda n: LogProbs.from_probs(np.full((n, 3), np.nan)),
}
_LOG_COLUMNS: Final = ("logp_a", "logp_b", "logp_tie")


@dataclass(frozen=True, eq=False)
class PanelData:
    """Judgements and votes of the same pairs, in the order of the votes."""

    judgements: Judgements
    votes: PanelVotes
    features: Features | None
    groups: npt.NDArray[np.int64] | None


def read_panel_data(
    judgements: Sequence[Path],
    votes: Path,
    *,
    text: Path | None = None,
    text_format: str | None = None,
    groups: str | None = None,
    numbers: str | None = None,
    first: First = First.A,
    format: str | None = None,
) -> PanelData:
    """Read judgements and votes and join them by id; warnings count the pairs that one of them lacks.

    Parameters
    ----------
    judgements, numbers, first, format
        As for `io.read_judgements`.
    votes
        As for `io.read_panel_votes`, or for `io.read_best_votes`.
    text, text_format
        Battles with the texts of the same ids, for length and formatting features.
    groups
        A column of the votes file (by ``id``, or by ``item`` where it holds answers), or a file with columns
        ``id, group``: pairs that belong together. Without it: the items of answers, else the first prompt
        turns of ``text``, else every pair is its own.

    Raises
    ------
    InputError
        A file that cannot be read or joined, a judge in two files, or no pair with a vote and a judgement.
    """
    loaded = load_all(judgements, numbers=numbers, first=first, format=format)
    return panel_data(loaded, votes, text=text, text_format=text_format, groups=groups)


def panel_data(
    loaded: Sequence[LoadedJudgements],
    votes: Path,
    *,
    text: Path | None = None,
    text_format: str | None = None,
    groups: str | None = None,
) -> PanelData:
    """The same of judgements that were read already."""
    given = Judgements.joined([one.as_pairs() for one in loaded])
    best = read_best_votes(votes)
    read = read_panel_votes(votes) if best is None else best.pair_votes(given.ids, votes)
    common = _judged(given, read, votes)
    ids = common.ids
    battles = None if text is None else read_battles(text, format=text_format)
    if battles is not None:
        battles = battles.take(align_rows(battles.ids, ids, name=str(text), missing="without text"))
    found = _named_groups(groups, votes, common)
    if found is None and battles is not None:
        found = group_keys(battles)
    features = None if battles is None else extract(battles)
    return PanelData(given.aligned_to(ids), common, features, found)


def _judged(judgements: Judgements, votes: PanelVotes, path: Path) -> PanelVotes:
    """The votes about pairs that were judged."""
    judgements.aligned_to(votes.ids)  # refuses ids of another type, and files without a common pair
    rows, exchanged = match_pairs(judgements.ids, votes.ids)
    kept = np.flatnonzero(rows >= 0)
    unjudged, unvoted = len(votes.ids) - len(kept), len(judgements) - len(np.unique(rows[kept]))
    if exchanged.any():
        log.info("%s: %d pairs were judged with their answers exchanged", path, exchanged.sum())
    if unjudged:
        log.warning("%s: %d of %d pairs were not judged and are left out", path, unjudged, len(votes.ids))
    if unvoted:
        log.warning(
            "%d of %d judged pairs have no vote; nothing is learned from them", unvoted, len(judgements)
        )
    return PanelVotes(
        votes.ids[kept],
        votes.annotators,
        votes.codes[kept],
        None if votes.groups is None else votes.groups[kept],
    )


def _named_groups(given: str | None, path: Path, votes: PanelVotes) -> npt.NDArray[np.int64] | None:
    """(n,) group of each pair, by ``--groups`` or by the items of answers; None where neither is there."""
    if given is None and votes.groups is not None:
        return _codes(votes.groups)
    if given is None:
        pairs = pair_codes(votes.ids)  # both forms of one pair stay together
        return pairs if len(np.unique(pairs)) < len(pairs) else None
    key, wanted = "id", votes.ids.cast(pl.String)
    if Path(given).is_file():
        frame = read_columns(Path(given), ["id", "group"])
    else:
        if votes.groups is not None:
            key, wanted = "item", votes.groups.cast(pl.String)
        frame = read_columns(path, [key, given])
    frame.columns = [key, "group"]
    frame = frame.unique(maintain_order=True)
    if frame[key].n_unique() < len(frame):
        twice = frame[key].filter(frame[key].is_duplicated())[0]
        raise InputError(f"groups: {key} {twice} lies in two groups; give each one group")
    rows = align_rows(frame[key], wanted, name="groups", missing="without a group")
    return _codes(frame["group"][rows])


def _codes(groups: pl.Series) -> npt.NDArray[np.int64]:
    return np.asarray(np.unique(groups.cast(pl.String).to_numpy(), return_inverse=True)[1], dtype=np.int64)


def fit_panel(data: PanelData, out: Path, *, seed: int = 0) -> Panel:
    """Fit a panel and keep it in ``out`` with its out-of-fold predictions and its table.

    Raises
    ------
    InputError
        The panel refuses its input, or ``out`` holds other files.
    """
    panel = Panel(random_state=seed)
    y = data.votes.codes[:, 0] if len(data.votes.annotators) == 1 else data.votes.shares
    panel.fit(data.judgements, y, features=data.features, groups=data.groups)
    panel.save(out)
    return panel


@dataclass(frozen=True, eq=False)
class PanelPrediction:
    """Natural-log probabilities (n, 3) of newly judged pairs, and the panel's judges that were not asked."""

    ids: pl.Series
    log_probs: Floats
    absent: tuple[str, ...] = ()

    def write(self, path: Path) -> None:
        """Write ``id, logp_a, logp_b, logp_tie`` (a ``.parquet``), or probabilities as a submission (CSV)."""
        if path.suffix != ".parquet":
            write_submission(path, self.ids, self.log_probs)
            return
        columns: dict[str, Any] = {"id": self.ids}
        columns.update({name: self.log_probs[:, k] for k, name in enumerate(_LOG_COLUMNS)})
        atomic.write_bytes(path, parquet_bytes(pl.DataFrame(columns)))


def predict_panel(
    folder: Path,
    judgements: Sequence[Path],
    *,
    text: Path | None = None,
    text_format: str | None = None,
    numbers: str | None = None,
    first: First = First.A,
    format: str | None = None,
) -> PanelPrediction:
    """Predict newly judged pairs with a panel from its folder; a judge that was not asked is missing.

    Raises
    ------
    InputError
        There is no panel, a judge that it does not know, or texts given or lacking against what it was
        fitted on.
    ArtifactError
        A file of the panel is truncated or edited.
    """
    panel = Panel.load(folder)
    given = read_judgements(*judgements, numbers=numbers, first=first, format=format)
    if unknown := [name for name in given.judges if name not in panel.judges_]:
        known = ", ".join(panel.judges_[:8]) + (", …" if len(panel.judges_) > 8 else "")
        raise InputError(
            f"the panel does not know the judge {unknown[0]!r} (it has {known}); leave that judge out, or "
            "fit the panel again with it"
        )
    absent = tuple(name for name in panel.judges_ if name not in given.judges)
    if absent:
        log.warning("no judgements of %s: taken as missing for all %d pairs", ", ".join(absent), len(given))
    empty = {name: _EMPTY[panel.encoders_[name].kind](len(given)) for name in absent}
    whole = Judgements(given.ids, {**given.columns, **empty})
    if (text is not None) != panel.has_features_:
        what = (
            "without texts; leave out --text" if text else "with texts; give those of the new pairs (--text)"
        )
        raise InputError(f"the panel was fitted {what}")
    features = None
    if text is not None:
        battles = read_battles(text, format=text_format)
        rows = align_rows(battles.ids, given.ids, name=str(text), missing="without text")
        features = extract(battles.take(rows))
    return PanelPrediction(given.ids, panel.predict_log_proba(whole, features), absent)
