"""Panels from files: judgements and votes → a fitted panel in a folder; new judgements → probabilities."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ..battles import Battles, align_rows
from ..errors import InputError
from ..features import Features, extract
from ..folds import group_keys
from ..io import (
    PanelVotes,
    read_battles,
    read_best_votes,
    read_columns,
    read_panel_votes,
)
from ..io.judgements import LoadedJudgements, joined_pairs, load_all
from ..judgements import First, Judgements
from ..judgements.pair_names import exchange_note, match_pairs, pair_codes
from ..panels import Panel
from ..panels.folder import USES
from .executors import STACKING, Event, with_label
from .pair_texts import texts_of
from .vote_doubts import doubts

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PanelData:
    """Judgements and votes of the same pairs, in the order of the votes.

    ``given`` holds all judged pairs, those without a vote among them, ``battles`` the texts where they are.
    """

    judgements: Judgements
    votes: PanelVotes
    features: Features | None
    groups: npt.NDArray[np.int64] | None
    given: Judgements
    battles: Battles | None = None


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
    costs: Path | None = None,
) -> PanelData:
    """The same of judgements that were read already; ``costs`` is a file of ``judge, cost``."""
    given = joined_pairs(loaded)
    if costs is not None:
        given = dataclasses.replace(given, costs={**given.costs, **read_costs(costs, given.judges)})
    best = read_best_votes(votes)
    read = read_panel_votes(votes) if best is None else best.pair_votes(given.ids, votes)
    common = _judged(given, read, votes, named=all(one.named for one in loaded))
    ids = common.ids
    battles = None if text is None else read_battles(text, format=text_format)
    voted = None
    if battles is not None:
        voted = texts_of(battles, ids, name=str(text))
        if note := exchange_note(battles.ids, ids):
            log.warning("%s: %s", text, note)
    found = _named_groups(groups, votes, common)
    if found is None and voted is not None:
        found = group_keys(voted)
    features = None if voted is None else extract(voted)
    judged = given.aligned_to(ids)
    for line in doubts(judged, common):
        log.warning(line)
    return PanelData(judged, common, features, found, given, battles)


def read_costs(path: Path, judges: Sequence[str]) -> dict[str, float]:
    """Judge → cost of one call, from columns ``judge, cost``; a warning names judges without one.

    Raises
    ------
    InputError
        A column is missing, a cost is no number, or none is of a judge that was read.
    """
    frame = read_columns(path, ["judge", "cost"])
    found: dict[str, float] = {}
    for row, (judge, cost) in enumerate(frame.iter_rows(), start=1):
        try:
            value = float(cost)
        except (TypeError, ValueError):
            value = -1.0
        if not 0 <= value < float("inf"):
            raise InputError(f"{path.name} row {row}: the cost {cost} is none; give a number, 0 or more")
        if judge in judges:
            found[judge] = value
    if not found:
        raise InputError(f"{path.name} names no judge that was read; write {', '.join(judges[:4])} as there")
    if lacking := [name for name in judges if name not in found]:
        log.warning("%s: no cost of %s", path.name, ", ".join(lacking[:5]))
    return found


def _judged(judgements: Judgements, votes: PanelVotes, path: Path, *, named: bool) -> PanelVotes:
    """The votes about pairs that were judged; ``named``: whether the judgements' ids surely name pairs."""
    judgements.aligned_to(votes.ids)  # refuses ids of another type, and files without a common pair
    rows, exchanged = match_pairs(judgements.ids, votes.ids)
    kept = np.flatnonzero(rows >= 0)
    unjudged, unvoted = len(votes.ids) - len(kept), len(judgements) - len(np.unique(rows[kept]))
    if named and exchanged.any():
        log.info("%s: %d pairs were judged with their answers exchanged", path, exchanged.sum())
    elif note := exchange_note(judgements.ids, votes.ids):
        log.warning("%s: %s", path, note)
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


def fit_panel(
    data: PanelData,
    out: Path,
    *,
    seed: int = 0,
    uses: Callable[[Panel, PanelData], dict[str, Any]] | None = None,
    on_event: Event | None = None,
) -> Panel:
    """Fit a panel and keep it in ``out`` with its out-of-fold predictions and its tables.

    Parameters
    ----------
    uses
        What ``uses.json`` shall hold, of the fitted panel.
    on_event
        Hears how far the stacking is.

    Raises
    ------
    InputError
        The panel refuses its input, or ``out`` holds other files.
    """
    panel = Panel(random_state=seed)
    y = data.votes.codes[:, 0] if len(data.votes.annotators) == 1 else data.votes.shares
    heard = with_label(on_event, STACKING)
    panel.fit(data.judgements, y, features=data.features, groups=data.groups, on_progress=heard)
    panel.evidence_ = panel.evidence_.with_annotations(data.votes.codes, data.votes.annotators)
    extra = {} if uses is None else {USES: json.dumps(uses(panel, data)).encode()}
    panel.save(out, extra)
    return panel
