"""Result files of judge benchmarks as they are written, told by their columns → judgements.

Shapes as the projects' own code writes them: FastChat's MT-bench (`gen_judgment.py`), Arena-Hard-Auto 0.1,
JudgeBench, and AlpacaEval's `annotations.json`. A game that was judged with the answers exchanged is turned
back, and counts as judged with B first.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final

import numpy as np
import polars as pl

from ..judgements import First, JudgeColumn, Judgements
from .cells import is_missing
from .ids import id_column
from .judgement_rows import number, probability_column, verdict_column
from .tables import Table
from .verdict_words import NUMBERED, verdict_of

_EXCHANGED: Final = {0: "model_b", 1: "model_a", 2: "tie"}
_JUDGE_MODEL: Final = re.compile(r"judge_model=(.+?)\.jsonl")


@dataclass
class _Found:
    """What rows hold: judge → (id, order, cell) of every call, probabilities instead of words, costs."""

    calls: dict[str, list[tuple[Any, First, Any]]] = field(default_factory=dict)
    shares: bool = False
    costs: dict[str, list[float]] = field(default_factory=dict)

    def add(self, judge: str, identity: Any, first: First, cell: Any) -> None:
        self.calls.setdefault(judge, []).append((identity, first, cell))


def _back(cell: Any) -> Any:
    """A verdict about exchanged answers, about the answers as they stand."""
    return _EXCHANGED.get(verdict_of(cell, numbers=NUMBERED))


def _fastchat(table: Table, found: _Found) -> None:
    words = {"model_1": "model_a", "model_2": "model_b", "tie": "tie"}
    names = ("question_id", "turn", "model_1", "model_2", "judge", "g1_winner", "g2_winner")
    for question, turn, one, two, judge, *winners in _rows(table, names):
        name = str(judge[0]) if isinstance(judge, (list, tuple)) and judge else str(judge)
        for first, winner in zip((First.A, First.B), winners, strict=True):
            # The winner is named by model, so nothing is to be exchanged back.
            found.add(name, f"{question}|{turn}|{one}|{two}", first, words.get(str(winner), winner))


def _arena_hard(table: Table, found: _Found) -> None:
    for question, model, judge, games in _rows(table, ("question_id", "model", "judge", "games")):
        for place, game in enumerate(games or []):
            score = game.get("score") if isinstance(game, dict) else None
            first = First.B if place % 2 else First.A
            found.add(str(judge), f"{question}|{model}", first, _back(score) if place % 2 else score)


def _judgebench(table: Table, found: _Found) -> None:
    model = _JUDGE_MODEL.search(PurePath(table.name).name)
    for pair, judge, judgments in _rows(table, ("pair_id", "judge_name", "judgments")):
        name = f"{judge}/{model[1]}" if model else str(judge)
        for place, one in enumerate(judgments or []):
            decision = one.get("decision") if isinstance(one, dict) else None
            found.add(name, pair, First.B if place else First.A, _back(decision) if place else decision)


def _alpaca_eval(table: Table, found: _Found) -> None:
    names = ["instruction", "generator_1", "generator_2", "annotator", "preference"]
    priced = "price_per_example" in table.columns
    for text, one, two, judge, preference, *price in _rows(
        table, [*names, *(["price_per_example"] if priced else [])]
    ):
        digest = hashlib.sha256(str(text).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        where = f"{table.name} (instruction {digest}): preference"
        # From 1 (the first output) to 2 (the second); the order in which they were shown is not kept.
        value = number(preference, where)
        given = value if 1 <= value <= 2 else np.nan
        found.add(str(judge), f"{digest}|{one}|{two}", First.UNKNOWN, given)
        found.shares |= given not in (1.0, 1.5, 2.0) and not np.isnan(given)
        if price and not is_missing(price[0]):
            found.costs.setdefault(str(judge), []).append(number(price[0], where))


_READERS: Final[Mapping[tuple[str, ...], Callable[[Table, _Found], None]]] = {
    ("question_id", "model_1", "model_2", "judge", "g1_winner", "g2_winner"): _fastchat,
    ("question_id", "model", "judge", "games"): _arena_hard,
    ("pair_id", "judge_name", "judgments"): _judgebench,
    ("instruction", "generator_1", "generator_2", "annotator", "preference"): _alpaca_eval,
}
"""Columns that tell a file → its reader."""


def read_results(table: Table) -> Judgements | None:
    """The judgements of a benchmark's result file; None where the columns are those of none.

    Raises
    ------
    InputError
        A preference that is no number, or not one verdict that can be read.
    """
    reader = next((one for names, one in _READERS.items() if set(names) <= set(table.columns)), None)
    if reader is None:
        return None
    found = _Found()
    reader(table, found)
    keys = list(dict.fromkeys(call[0] for calls in found.calls.values() for call in calls))
    ids, _ = id_column(table, keys)
    columns = {name: _column(table, name, calls, keys, found.shares) for name, calls in found.calls.items()}
    costs = {name: float(np.mean(prices)) for name, prices in found.costs.items()}
    return Judgements(ids if len(ids) else pl.Series("id", [], dtype=pl.String), columns, costs)


def _column(
    table: Table, name: str, calls: Sequence[tuple[Any, First, Any]], keys: Sequence[Any], shares: bool
) -> JudgeColumn:
    index = {key: place for place, key in enumerate(keys)}
    places = [(index[identity], first) for identity, first, _ in calls]
    cells = [cell for _, _, cell in calls]
    if shares:
        pairs = [(2 - cell, cell - 1) for cell in cells]
        return probability_column(name, places, pairs, len(keys), file=table.name)
    if calls and isinstance(cells[0], float):
        cells = [{1.0: "model_a", 1.5: "tie", 2.0: "model_b"}.get(cell) for cell in cells]
    return verdict_column(name, places, cells, len(keys), file=table.name, coding=None)


def _rows(table: Table, names: Sequence[str]) -> list[Sequence[Any]]:
    present = [name for name in names if name in table.columns]
    rows = [row for batch in table.batches(present) for row in batch]
    if len(present) == len(names):
        return rows
    place = {name: k for k, name in enumerate(present)}
    return [[row[place[name]] if name in place else 1 for name in names] for row in rows]
