"""Votes for panels: one winner a pair, or several annotators' as columns or rows, or experts' scores."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ..errors import InputError
from ..judgements import AnswerScores, First, Judgements, Scores
from ..judgements.pair_names import exchanged_ids, pair_parts
from .answer_results import rewardbench_2_best
from .answer_rows import name_of
from .column_names import Columns
from .ids import check_unique, id_column
from .judge_columns import annotators_of
from .judge_results import CHOSEN, rewardbench_items
from .judgement_rows import folded, number
from .labels import read_labels
from .result_files import read_results, result_format
from .tables import Table, open_table
from .unread import refuse_scale, shown, unread_texts
from .verdict_words import LOST, NUMBERED, number_of, verdict_of

log = logging.getLogger(__name__)

_NO_SCALE: Final = (
    "write model_a, model_b or tie; ratings of each answer are item, answer and a column an expert"
)


@dataclass(frozen=True, eq=False)
class PanelVotes:
    """Votes on n pairs by K annotators.

    Parameters
    ----------
    ids
        (n,) Int64 or String.
    annotators
        K names; one, ``vote``, where the file holds a single winner.
    codes
        (n, K) int8: 0 A, 1 B, 2 tie, -1 no vote; every row has at least one vote.
    groups
        (n,) the item of each pair where votes come from scores of answers, else None.
    """

    ids: pl.Series
    annotators: tuple[str, ...]
    codes: npt.NDArray[np.int8]
    groups: pl.Series | None = None

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """(n, 3) share of each outcome among the votes of a pair."""
        counts = np.stack([(self.codes == code).sum(axis=1) for code in range(3)], axis=1)
        return np.asarray(counts / counts.sum(axis=1, keepdims=True), dtype=np.float64)

    @property
    def majority(self) -> npt.NDArray[np.int64]:
        """(n,) the outcome with most votes; a draw between outcomes is a tie."""
        shares = self.shares
        top = shares.max(axis=1, keepdims=True)
        winners = (shares >= top - 1e-9).sum(axis=1)
        return np.where(winners > 1, 2, shares.argmax(axis=1)).astype(np.int64)


def read_panel_votes(path: Path, *, annotators: Sequence[str] | None = None) -> PanelVotes:
    """Read the votes that a panel learns from.

    Known are ``id`` with a winner in any way that :func:`read_labels` reads; ``id`` with a column of verdicts
    an annotator (named annotator…, expert…, human…, rater…, vote…, or given); ``id, annotator, winner`` with
    a row a vote; and ``item, answer`` with a column of scores an expert, from which every pair of answers to
    one item gets each expert's preference (equal scores are a tie); or ``item, answer, best`` with 1 for the
    best answer and 0 for the others, from which the pairs of the best with each other follow (two bests are a
    tie, two others no vote); or a result file of RewardBench 1 or 2 or of JudgeBench, which holds the right
    answers. Pairs without any vote are left out. Where the best answer always stands first, the pairs' sides
    are drawn by a hash of their ids: a panel learns nothing from votes that are all the same.

    Raises
    ------
    InputError
        Unknown columns, no vote at all, or a vote that cannot be read.
    """
    table = open_table(Path(path))
    form = None if annotators else result_format(table)
    if form in ("rewardbench", "rewardbench-2"):
        return _from_right_answers(table, form)
    if form == "judgebench":
        return _from_labels(table)
    columns = Columns(table.columns, file=table.name)
    named = list(annotators) if annotators else annotators_of(table.columns)
    if absent := [name for name in named if name not in table.columns]:
        raise InputError(
            f"{table.name} lacks the annotator {absent[0]!r}; its columns are {columns.shown}; name one "
            "of them"
        )
    if "item" in columns and "answer" in columns:
        return (
            _from_scores(table, columns, named)
            if named or "best" not in columns
            else _from_best(table, columns)
        )
    if annotators is None and named == ["vote"]:
        named = []
    identity = columns.find("id")
    if identity is not None and "annotator" in columns:
        return _from_rows(table, columns, identity)
    if identity is not None and named:
        rows = [row for batch in table.batches([identity, *named]) for row in batch]
        ids, _ = id_column(table, [row[0] for row in rows], column=identity)
        columns_of = [_codes(table, name, [row[k] for row in rows]) for k, name in enumerate(named, 1)]
        return _voted(table, ids, tuple(named), np.stack(columns_of, axis=1))
    if identity is not None:
        given = [row[0] for batch in table.batches([identity]) for row in batch]
        check_unique(
            table.name, given, remedy="remove doubled rows, or name each voter in a column annotator"
        )
    frame = read_labels(Path(path), skip_unvoted=True)
    return PanelVotes(frame["id"], ("vote",), frame["outcome"].to_numpy().astype(np.int8)[:, None])


def _codes(table: Table, name: str, cells: Sequence[Any]) -> npt.NDArray[np.int8]:
    """(n,) one annotator's votes; a warning shows what is none.

    Raises
    ------
    InputError
        Numbers of a scale, or 0 and 1 alone, of which either may be A.
    """
    refuse_scale(name, cells, file=table.name, remedy=_NO_SCALE)
    digits = {digit for cell in cells if (digit := number_of(cell)) is not None}
    words = any(number_of(cell) is None and _code(cell) != LOST for cell in cells)
    if digits == {"0", "1"} and not words:
        raise InputError(
            f"{table.name}: the votes of {name!r} are 0 and 1 alone, of which A may be either; write "
            "model_a, model_b, tie"
        )
    if texts := unread_texts(cells):
        count = sum(number for _, number in texts)
        log.warning("%s: %d cells of %s are no vote: %s", table.name, count, name, shown(texts))
    return np.array([_code(cell) for cell in cells], dtype=np.int8)


def _code(cell: Any) -> int:
    return verdict_of(cell, numbers=NUMBERED)


def _voted(
    table: Table,
    ids: pl.Series,
    names: tuple[str, ...],
    codes: npt.NDArray[np.int8],
    groups: pl.Series | None = None,
) -> PanelVotes:
    kept = np.flatnonzero((codes != LOST).any(axis=1))
    if not len(kept):
        raise InputError(f"{table.name} holds no vote that can be read; write model_a, model_b or tie")
    return PanelVotes(ids[kept], names, codes[kept], None if groups is None else groups[kept])


def _from_rows(table: Table, columns: Columns, identity: str) -> PanelVotes:
    winner = next(
        (found for found in map(columns.find, ("winner", "vote", "verdict", "label")) if found), None
    )
    if winner is None:
        raise InputError(
            f"{table.name} has annotators but no winner; its columns are {columns.shown}; add it"
        )
    annotator = str(columns.find("annotator"))
    rows = [row for batch in table.batches([identity, annotator, winner]) for row in batch]
    keys = {key: place for place, key in enumerate(dict.fromkeys(row[0] for row in rows))}
    ids, _ = id_column(table, list(keys), column=identity)
    names = tuple(dict.fromkeys(str(row[1]) for row in rows))
    given = _codes(table, winner, [row[2] for row in rows])
    codes = np.full((len(keys), len(names)), LOST, dtype=np.int8)
    for count, row in enumerate(rows, start=1):
        place = keys[row[0]], names.index(str(row[1]))
        if codes[place] != LOST:
            raise InputError(
                f"{table.name} row {count} (id {row[0]}): {row[1]} votes twice; keep one vote an annotator"
            )
        codes[place] = given[count - 1]
    return _voted(table, ids, names, codes)


def _from_best(table: Table, columns: Columns) -> PanelVotes:
    """Pairs of the best answer with each other one, from a flag for each answer."""
    names = [str(columns.find(name)) for name in ("item", "answer", "best")]
    rows = [row for batch in table.batches(names) for row in batch]
    return _best_pairs(
        table,
        [
            (name_of(row[0]), name_of(row[1]), flag(row[2], f"{table.name} row {k} (item {row[0]})"))
            for k, row in enumerate(rows, 1)
        ],
    )


def _from_right_answers(table: Table, form: str) -> PanelVotes:
    """The same from a file of RewardBench, whose right answers stand first."""
    scores = read_results(table, form)
    if isinstance(scores, Judgements):
        codes = np.zeros((len(scores), 1), dtype=np.int8)
        ids, codes = one_sided_drawn(scores.ids, codes)
        return PanelVotes(ids, ("best",), codes, pair_parts(ids)["item"])
    assert scores is not None
    if form == "rewardbench":
        right = {item: {CHOSEN: 1.0} for item in rewardbench_items(table)}
    else:
        right = rewardbench_2_best(table)
    answers = zip(scores.items.to_list(), scores.answers.to_list(), strict=True)
    return _best_pairs(table, [(item, name, float(name in right[item])) for item, name in answers])


def _from_labels(table: Table) -> PanelVotes:
    """JudgeBench's own labels of its pairs."""
    rows = [row for batch in table.batches(["pair_id", "label"]) for row in batch]
    ids, _ = id_column(table, [row[0] for row in rows], column="pair_id")
    codes = np.array([[_code(row[1])] for row in rows], dtype=np.int8).reshape(len(rows), 1)
    return _voted(table, ids, ("label",), codes)


def _best_pairs(table: Table, rows: Sequence[tuple[str, str, float]]) -> PanelVotes:
    items, answers = (pl.Series(name, [row[k] for row in rows]) for k, name in enumerate(("item", "answer")))
    flags = np.array([[row[2]] for row in rows], dtype=np.float64).reshape(len(rows), 1)
    judgements, pairs = AnswerScores(items, answers, ("best",), flags, np.zeros_like(flags)).all_pairs()
    column = judgements.columns["best"]
    assert isinstance(column, Scores)
    best = column.mean[:, First.UNKNOWN].max(axis=1) > 0
    codes = np.where(best, column.verdicts, LOST).astype(np.int8)[:, None]
    votes = _voted(table, judgements.ids, ("best",), codes, pairs["item"])
    ids, codes = one_sided_drawn(votes.ids, votes.codes)
    return PanelVotes(ids, votes.annotators, codes, votes.groups)


def one_sided_drawn(ids: pl.Series, codes: npt.NDArray[np.int8]) -> tuple[pl.Series, npt.NDArray[np.int8]]:
    """Ids and votes (n, K) as given; where every decided vote is for the same side, sides drawn by a hash."""
    decided = codes[(codes == 0) | (codes == 1)]
    if len(np.unique(decided)) > 1:
        return ids, codes
    names = exchanged_ids(ids)
    drawn = np.array(
        [
            hashlib.blake2b(str(one).encode("utf-8", "surrogatepass"), digest_size=1).digest()[0] & 1
            for one in ids
        ]
    )
    turn = pl.Series(drawn > 0) & names.is_not_null()
    kept = pl.select(pl.when(turn).then(names).otherwise(ids).alias("id"))["id"]
    other = np.where(codes == 0, 1, np.where(codes == 1, 0, codes)).astype(np.int8)
    return kept, np.where(turn.to_numpy()[:, None], other, codes)


def flag(cell: Any, where: str) -> float:
    """1 or 0 of a cell that marks the best answer; an empty one is 0.

    Raises
    ------
    InputError
        Any other text.
    """
    text = str(cell).strip().lower()
    if text in ("1", "1.0", "true", "yes"):
        return 1.0
    if text in ("0", "0.0", "false", "no", "", "none"):
        return 0.0
    raise InputError(f"{where}: best is {text[:30]!r}, expected 1 or 0; write 1 for the best answer")


def _from_scores(table: Table, columns: Columns, named: Sequence[str]) -> PanelVotes:
    if not named:
        raise InputError(
            f"{table.name} holds answers but no expert's scores; its columns are {columns.shown}; name the "
            "columns of people expert_…, or give them (--annotators)"
        )
    item, answer = str(columns.find("item")), str(columns.find("answer"))
    rows = [row for batch in table.batches([item, answer, *named]) for row in batch]
    values = np.array(
        [
            [number(cell, f"{table.name} row {k} (item {row[0]}): {name}")
             for cell, name in zip(row[2:], named, strict=True)]
            for k, row in enumerate(rows, start=1)
        ]
    )  # fmt: skip
    named_so = [(name_of(row[0]), name_of(row[1])) for row in rows]
    keys = {key: place for place, key in enumerate(dict.fromkeys(named_so))}
    mean, spread = folded([keys[key] for key in named_so], values, len(keys))
    scores = AnswerScores(
        pl.Series("item", [key[0] for key in keys]),
        pl.Series("answer", [key[1] for key in keys]),
        tuple(named),
        mean,
        spread,
    )
    judgements, pairs = scores.all_pairs()
    codes = np.stack([column.verdicts for column in judgements.columns.values()], axis=1)
    return _voted(table, judgements.ids, tuple(named), codes, pairs["item"])
