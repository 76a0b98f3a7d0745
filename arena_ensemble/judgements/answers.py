"""`AnswerScores`: scores of single answers, several to an item; pairs of them are `Judgements`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ..errors import InputError
from ..losses import Floats
from .columns import Scores
from .table import Judgements


@dataclass(frozen=True, eq=False)
class AnswerScores:
    """An immutable table of answers with one score a judge, samples folded into mean and spread.

    Parameters
    ----------
    items, answers
        (n,) the question (Int64 or String) and the name of the answer to it; together unique.
    judges
        (J,) names.
    mean, spread
        (n, J) mean score and standard deviation of the samples (0 where there is one); NaN is missing.

    Raises
    ------
    InputError
        Another shape, a repeated answer of an item, an infinite score, or a mean without a spread.
    """

    items: pl.Series
    answers: pl.Series
    judges: tuple[str, ...]
    mean: Floats
    spread: Floats

    def __post_init__(self) -> None:
        n = len(self.items)
        for name in ("mean", "spread"):
            array = np.array(getattr(self, name), dtype=np.float64)
            if array.shape != (n, len(self.judges)) or len(self.answers) != n:
                raise InputError(f"{name} has shape {array.shape}, expected ({n}, {len(self.judges)})")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if np.isinf(self.mean).any() or not np.array_equal(np.isnan(self.mean), np.isnan(self.spread)):
            raise InputError("scores hold infinity, or a mean without a spread; leave missing scores empty")
        keys = pl.DataFrame({"item": self.items, "answer": self.answers})
        repeated = keys.filter(keys.is_duplicated())
        if len(repeated):
            item, answer = repeated.row(0)
            raise InputError(f"item {item!r} holds the answer {answer!r} twice; give each answer one name")

    def __len__(self) -> int:
        return len(self.items)

    @property
    def missing(self) -> dict[str, int]:
        """Judge → answers without a score."""
        counts = np.isnan(self.mean).sum(axis=0)
        return {name: int(count) for name, count in zip(self.judges, counts, strict=True)}

    @property
    def same_answers(self) -> tuple[str, ...]:
        """The names of every item's answers, where they are the same throughout; empty where they are not."""
        sets = {tuple(sorted(names)) for names in self._by_item().values()}
        return sets.pop() if len(sets) == 1 else ()

    def _by_item(self) -> dict[Any, list[str]]:
        found: dict[Any, list[str]] = {}
        for item, answer in zip(self.items.to_list(), self.answers.to_list(), strict=True):
            found.setdefault(item, []).append(str(answer))
        return found

    @classmethod
    def joined(cls, parts: Sequence[AnswerScores]) -> AnswerScores:
        """Several tables of different judges as one, on the union of their answers, items standing together.

        Raises
        ------
        InputError
            A judge that two tables hold.
        """
        judges = [name for part in parts for name in part.judges]
        if twice := [name for name in judges if judges.count(name) > 1]:
            raise InputError(f"two tables hold the judge {twice[0]!r}; rename one of them")
        keys = pl.concat([pl.DataFrame({"item": part.items, "answer": part.answers}) for part in parts])
        keys = keys.unique(maintain_order=True)
        first = keys.select(pl.col("item").unique(maintain_order=True)).with_row_index("place")
        keys = keys.join(first, on="item", maintain_order="left").sort("place", maintain_order=True)
        rows = [part.rows_of(keys["item"], keys["answer"]) for part in parts]
        tables = []
        for name in ("mean", "spread"):
            padded = [np.vstack([getattr(part, name), np.full(len(part.judges), np.nan)]) for part in parts]
            tables.append(np.hstack([one[place] for one, place in zip(padded, rows, strict=True)]))
        return cls(keys["item"], keys["answer"], tuple(judges), *tables)

    def with_judges(self, judges: Sequence[str]) -> AnswerScores:
        """The given judges, in the given order; one that is not here has no scores."""
        place = {name: k for k, name in enumerate(self.judges)}
        columns = [place.get(name, len(place)) for name in judges]
        lost = np.full((len(self), 1), np.nan)
        mean, spread = (np.hstack([one, lost])[:, columns] for one in (self.mean, self.spread))
        return AnswerScores(self.items, self.answers, tuple(judges), mean, spread)

    def take(self, rows: npt.NDArray[np.integer[Any]] | Sequence[int]) -> AnswerScores:
        """The given rows, in the given order."""
        index = np.asarray(rows, dtype=np.int64)
        return AnswerScores(
            self.items[index], self.answers[index], self.judges, self.mean[index], self.spread[index]
        )

    def rows_of(
        self, items: pl.Series, answers: pl.Series, *, as_text: bool = False
    ) -> npt.NDArray[np.int64]:
        """(len(items),) the row of each answer; -1 where it is not here.

        Parameters
        ----------
        as_text
            Whether items and answers are the texts of those here, where these are numbers.
        """
        keys = pl.DataFrame({"item": self.items, "answer": self.answers, "row": np.arange(len(self))})
        if as_text:
            keys = keys.with_columns(pl.col("item", "answer").cast(pl.String))
        wanted = pl.DataFrame({"item": items, "answer": answers})
        found = wanted.join(keys, on=["item", "answer"], how="left", maintain_order="left")
        return found["row"].fill_null(-1).to_numpy().astype(np.int64)

    def pairs(self, ids: pl.Series, items: pl.Series, answer_a: pl.Series, answer_b: pl.Series) -> Judgements:
        """Scores of pairs of answers to one item each, as `Judgements` whose judges saw no order.

        Parameters
        ----------
        ids, items, answer_a, answer_b
            (m,) each: the pair's id, its item, and its two answers; an unknown answer has no score.
        """
        rows = np.stack([self.rows_of(items, answer_a), self.rows_of(items, answer_b)], axis=1)

        def picked(table: Floats, judge: int) -> Floats:
            padded = np.append(table[:, judge], np.nan)
            slots = np.full((len(ids), 3, 2), np.nan)
            slots[:, 2] = padded[rows]
            return slots

        columns = {
            name: Scores(picked(self.mean, judge), picked(self.spread, judge))
            for judge, name in enumerate(self.judges)
        }
        return Judgements(ids, columns)

    def all_pairs(self) -> tuple[Judgements, pl.DataFrame]:
        """Every pair of answers to one item, A the one that comes first here.

        Returns
        -------
        judgements, pairs
            ``pairs`` has columns ``id`` (``item|answer_a|answer_b``), ``item, answer_a, answer_b``.
        """
        table = pl.DataFrame({"item": self.items, "answer": self.answers, "row": np.arange(len(self))})
        both = table.join(table, on="item", maintain_order="left_right").filter(
            pl.col("row") < pl.col("row_right")
        )
        pairs = both.select(
            pl.concat_str(
                [pl.col("item").cast(pl.String), pl.col("answer"), pl.col("answer_right")], separator="|"
            ).alias("id"),
            "item",
            pl.col("answer").alias("answer_a"),
            pl.col("answer_right").alias("answer_b"),
        )
        return self.pairs(pairs["id"], pairs["item"], pairs["answer_a"], pairs["answer_b"]), pairs
