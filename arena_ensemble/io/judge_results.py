"""Result files of judge benchmarks about pairs of answers, as they are written → judgements.

Shapes as the projects' own code writes them: FastChat's MT-bench (`gen_judgment.py`), Arena-Hard-Auto 0.1 and
2, JudgeBench, AlpacaEval's `annotations.json`, and RewardBench's generative judges (`run_generative.py`). A
game that was judged with the answers exchanged is turned back, and counts as judged with B first.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final

import numpy as np
import polars as pl

from ..errors import InputError
from ..judgements import First, JudgeColumn, Judgements
from .cells import is_missing
from .ids import id_column
from .judgement_rows import number, probability_column, verdict_column
from .tables import Table
from .unread import Unread, unread_texts
from .verdict_words import NUMBERED, verdict_of

_EXCHANGED: Final = {0: "model_b", 1: "model_a", 2: "tie"}
CHOSEN, REJECTED = "chosen", "rejected"
_JUDGE_MODEL: Final = re.compile(r"judge_model=(.+?)\.jsonl")


@dataclass
class Found:
    """What rows hold: judge → (id, order, cell) of every call, probabilities instead of words, costs."""

    calls: dict[str, list[tuple[Any, First, Any]]] = field(default_factory=dict)
    shares: bool = False
    costs: dict[str, list[float]] = field(default_factory=dict)

    def add(self, judge: str, identity: Any, first: First, cell: Any) -> None:
        """Keep one call: the judge, the pair's id, what was seen first, and the verdict."""
        self.calls.setdefault(judge, []).append((identity, first, cell))


def _back(cell: Any) -> Any:
    """A verdict about exchanged answers, about the answers as they stand; what is no verdict stays."""
    return _EXCHANGED.get(verdict_of(cell, numbers=NUMBERED), cell)


def fastchat(table: Table, found: Found) -> None:
    """MT-bench: both games of a pair, the winner named by model."""
    words = {"model_1": "model_a", "model_2": "model_b", "tie": "tie"}
    names = ("question_id", "turn", "model_1", "model_2", "judge", "g1_winner", "g2_winner")
    for question, turn, one, two, judge, *winners in _rows(table, names):
        name = str(judge[0]) if isinstance(judge, (list, tuple)) and judge else str(judge)
        for first, winner in zip((First.A, First.B), winners, strict=True):
            # The winner is named by model, so nothing is to be exchanged back.
            found.add(name, f"{question}|{turn}|{one}|{two}", first, words.get(str(winner), winner))


def arena_hard(table: Table, found: Found) -> None:
    """0.1: the baseline, which the file does not name, is A."""
    for question, model, judge, games in _rows(table, ("question_id", "model", "judge", "games")):
        _games(found, f"{question}|{model}", judge, games)


def arena_hard_2(table: Table, found: Found) -> None:
    """2: the baseline, which depends on the category, is A."""
    names = ("uid", "baseline", "model", "judge", "games")
    for question, baseline, model, judge, games in _rows(table, names):
        _games(found, f"{question}|{baseline}|{model}", judge, games)


def _games(found: Found, identity: str, judge: Any, games: Any) -> None:
    for place, game in enumerate(games or []):
        score = game.get("score") if isinstance(game, dict) else None
        first = First.B if place % 2 else First.A
        found.add(str(judge), identity, first, _back(score) if place % 2 else score)


def rewardbench_verdicts(table: Table, found: Found) -> None:
    """A generative judge's ``results``: 1 for the chosen answer, 0 for the rejected one, .5 for neither."""
    words = {1.0: "model_a", 0.0: "model_b", 0.5: "tie"}
    rows, judge = listed(table, ("id", "results"))
    for identity, result in zip(rewardbench_items(table), (row[1] for row in rows), strict=True):
        # the order, drawn for each pair, is not kept
        word = words.get(number(result, f"{table.name} (id {identity}): results"))
        found.add(judge, f"{identity}|{CHOSEN}|{REJECTED}", First.UNKNOWN, word)


def rewardbench_items(table: Table) -> list[str]:
    """The items of a RewardBench file: its ids, with the subset before them where ids repeat."""
    (rows, _), subset = listed(table, ("id",)), "subset" in table.columns
    ids = [str(row[0]) for row in rows]
    if len(set(ids)) == len(ids) or not subset:
        return ids
    names = listed(table, ("subset",))[0]
    return [f"{name[0]}:{identity}" for name, identity in zip(names, ids, strict=True)]


def listed(table: Table, names: Sequence[str]) -> tuple[list[Sequence[Any]], str]:
    """Rows of the given columns of a file that holds rows, or one object of lists; and the judge's name.

    The name is ``model`` where it stands once in the object, else the file's.

    Raises
    ------
    InputError
        Lists of other lengths.
    """
    judge = PurePath(table.name).name.partition(".")[0]
    rows = [row for batch in table.batches(names) for row in batch]
    if len(rows) != 1 or not isinstance(rows[0][0], (list, tuple)):
        return rows, judge
    cells = list(rows[0])
    if not all(isinstance(cell, (list, tuple)) and len(cell) == len(cells[0]) for cell in cells):
        raise InputError(
            f"{table.name}: {', '.join(names)} are no lists of one length; the file is cut off or was "
            "edited: fetch it again"
        )
    if "model" in table.columns and isinstance(named := table.head(["model"], 1)[0][0], str):
        judge = named
    return list(zip(*cells, strict=True)), judge


def judgebench(table: Table, found: Found) -> None:
    """Both judgments of a pair; the judge's model is in the file's name."""
    model = _JUDGE_MODEL.search(PurePath(table.name).name)
    for pair, judge, judgments in _rows(table, ("pair_id", "judge_name", "judgments")):
        name = f"{judge}/{model[1]}" if model else str(judge)
        for place, one in enumerate(judgments or []):
            decision = one.get("decision") if isinstance(one, dict) else None
            found.add(name, pair, First.B if place else First.A, _back(decision) if place else decision)


def alpaca_eval(table: Table, found: Found) -> None:
    """One preference a pair, from 1 (the first output) to 2; 0, of older versions, is a draw like 1.5.

    AlpacaEval's own win rates read 0 so (`metrics/helpers.py`); what its parsers cannot read is null.
    """
    names = ["instruction", "generator_1", "generator_2", "annotator", "preference"]
    priced = "price_per_example" in table.columns
    for text, one, two, judge, preference, *price in _rows(
        table, [*names, *(["price_per_example"] if priced else [])]
    ):
        digest = hashlib.sha256(str(text).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        where = f"{table.name} (instruction {digest}): preference"
        # From 1 (the first output) to 2 (the second); the order in which they were shown is not kept.
        value = number(preference, where)
        given = 1.5 if value == 0 else value if 1 <= value <= 2 else np.nan
        found.add(str(judge), f"{digest}|{one}|{two}", First.UNKNOWN, given)
        found.shares |= given not in (1.0, 1.5, 2.0) and not np.isnan(given)
        if price and not is_missing(price[0]):
            found.costs.setdefault(str(judge), []).append(number(price[0], where))


def pair_judgements(
    table: Table, unread: dict[str, Unread], *, reader: Callable[[Table, Found], None]
) -> Judgements:
    """The judgements that a reader finds in a file; texts that are no verdict are put into ``unread``.

    Raises
    ------
    InputError
        A preference that is no number, or not one verdict that can be read.
    """
    found = Found()
    reader(table, found)
    keys = list(dict.fromkeys(call[0] for calls in found.calls.values() for call in calls))
    ids, _ = id_column(table, keys)
    columns = {name: _column(table, name, calls, keys, found.shares) for name, calls in found.calls.items()}
    costs = {name: float(np.mean(prices)) for name, prices in found.costs.items()}
    for name, calls in found.calls.items():
        words = [cell for *_, cell in calls if isinstance(cell, str)]
        unread[name] = unread_texts(words)
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
