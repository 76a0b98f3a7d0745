"""Votes for the best of several answers: its name, a flag for each answer, or experts' scores of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from ..errors import InputError
from ..judgements.pair_names import pair_parts
from .answer_results import rewardbench_2_best
from .answer_rows import name_of
from .cells import is_missing
from .column_names import WINNERS, Columns, canonical
from .judge_columns import annotators_of
from .judge_results import CHOSEN, rewardbench_items
from .judgement_rows import folded, number
from .panel_votes import PanelVotes, flag, one_sided_drawn
from .result_files import result_format
from .tables import Table, open_table

Shares = dict[str, dict[str, float]]
_NOBODY: Final[Mapping[str, float]] = {}


@dataclass(frozen=True, eq=False)
class BestVotes:
    """Item → answer → share of the votes for it as the best; shares of an item sum to 1."""

    shares: Shares
    annotators: tuple[str, ...] = ("vote",)

    def pair_votes(self, ids: pl.Series, path: Path) -> PanelVotes:
        """Votes on pairs ``item|a|b``: the answer with more votes for it wins, none where neither has one.

        Raises
        ------
        InputError
            No pair with an answer that is voted for.
        """
        parts = pair_parts(ids)
        codes = []
        for item, one, two in parts.iter_rows():
            votes = self.shares.get(item, _NOBODY)
            a, b = votes.get(one, 0.0), votes.get(two, 0.0)
            codes.append(-1 if a == b == 0 else 0 if a > b else 1 if b > a else 2)
        kept = np.flatnonzero(np.array(codes, dtype=np.int8) >= 0)
        if not len(kept):
            raise InputError(
                f"{path}: no judged pair has a best answer; write ids as item|answer_a|answer_b, with "
                "items and answers named as in the votes"
            )
        found, voted = one_sided_drawn(ids[kept], np.array(codes, dtype=np.int8)[kept, None])
        return PanelVotes(found, ("best",), voted, parts["item"][kept])


def read_best_votes(path: Path, *, scores: bool = False) -> BestVotes | None:
    """Votes for the best answer of each item; None where the file holds no such votes.

    Known are ``item, best`` with the name of the best answer (rows that repeat an item are several votes);
    ``item`` without ``id``, with a column of names an annotator (annotator…, expert…, human…, rater…,
    vote…);
    ``item, answer, best`` with 1 for the best answer and 0 for the others; result files of RewardBench 1 and
    2, whose correct answers are known; and, with ``scores``, ``item, answer`` with a column of scores an
    expert: each expert votes for the answers that it scored highest; rows that repeat an answer are repeated
    ratings, of which the mean counts, as in judges' scores.

    Raises
    ------
    InputError
        A flag or a score that cannot be read, or no vote at all.
    """
    table = open_table(Path(path))
    form = result_format(table)
    if form == "rewardbench":
        return BestVotes({item: {CHOSEN: 1.0} for item in rewardbench_items(table)})
    if form == "rewardbench-2":
        return BestVotes(rewardbench_2_best(table))
    columns = Columns(table.columns, file=table.name)
    item, answer, best = (columns.find(name) for name in ("item", "answer", "best"))
    named = annotators_of(table.columns)
    if item is None and best is not None and canonical(best).startswith("best"):
        # beside a winner or a vote, ids are those of pairs
        pairs = [name for name in ("winner", "label", "vote", *WINNERS) if name in columns]
        item = None if pairs else columns.find("question_id") or columns.find("id")
    if item is None:
        return None
    if answer is None:
        if best is None and "id" in columns:
            return None  # people's votes on pairs; the item is what pairs belong to
        cells = [best] if best is not None else named
        return _named(table, item, cells) if cells else None
    if best is not None and not (named and scores):
        return _flagged(table, item, answer, best)
    return _scored(table, item, answer, named) if named and scores else None


def _normalised(table: Table, counts: Shares) -> Shares:
    found = {item: votes for item, votes in counts.items() if votes}
    if not found:
        raise InputError(f"{table.name} names no best answer; fill in the column best")
    totals = {item: sum(votes.values()) for item, votes in found.items()}
    return {
        item: {name: count / totals[item] for name, count in votes.items()} for item, votes in found.items()
    }


def _named(table: Table, item: str, names: list[str]) -> BestVotes:
    counts: Shares = {}
    for row in (row for batch in table.batches([item, *names]) for row in batch):
        votes = counts.setdefault(name_of(row[0]), {})
        for cell in row[1:]:
            if not is_missing(cell):
                votes[name_of(cell)] = votes.get(name_of(cell), 0.0) + 1.0
    return BestVotes(_normalised(table, counts), tuple(names))


def _flagged(table: Table, item: str, answer: str, best: str) -> BestVotes:
    counts: Shares = {}
    rows = (row for batch in table.batches([item, answer, best]) for row in batch)
    for count, row in enumerate(rows, start=1):
        votes = counts.setdefault(name_of(row[0]), {})
        if flag(row[2], f"{table.name} row {count} (item {row[0]})") > 0:
            votes[name_of(row[1])] = votes.get(name_of(row[1]), 0.0) + 1.0  # a row for each annotator
    return BestVotes(_normalised(table, counts))


def _scored(table: Table, item: str, answer: str, experts: list[str]) -> BestVotes:
    """Every expert's vote, shared among the answers of which its mean score is the highest."""
    rows = [row for batch in table.batches([item, answer, *experts]) for row in batch]
    values = [
        [number(cell, f"{table.name} row {count} (item {row[0]}): {name}")
         for cell, name in zip(row[2:], experts, strict=True)]
        for count, row in enumerate(rows, start=1)
    ]  # fmt: skip
    named = [(name_of(row[0]), name_of(row[1])) for row in rows]
    keys = {key: place for place, key in enumerate(dict.fromkeys(named))}
    places = [keys[key] for key in named]
    mean, _ = folded(places, np.array(values).reshape(-1, len(experts)), len(keys))
    given: dict[str, dict[str, list[float]]] = {}
    for (one, name), scores in zip(keys, mean.tolist(), strict=True):
        given.setdefault(one, {})[name] = scores
    return BestVotes(
        _normalised(table, {name: _tops(answers) for name, answers in given.items()}), tuple(experts)
    )


def _tops(answers: Mapping[str, list[float]]) -> dict[str, float]:
    votes: dict[str, float] = {}
    for scores in zip(*answers.values(), strict=True):
        known: list[Any] = [one for one in scores if not math.isnan(one)]
        top = [name for name, one in zip(answers, scores, strict=True) if known and one == max(known)]
        for name in top:
            votes[name] = votes.get(name, 0.0) + 1 / len(top)
    return votes
