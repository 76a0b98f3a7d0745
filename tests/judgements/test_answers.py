"""Scores of single answers, and the pairs that are made of them."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from arena_ensemble.errors import InputError
from arena_ensemble.judgements import AnswerScores


def _scores() -> AnswerScores:
    return AnswerScores(
        pl.Series(["q", "q", "q", "r", "r"]),
        pl.Series(["x", "y", "z", "x", "y"]),
        ("one", "two"),
        np.array([[1, 5], [2, math.nan], [3, 4], [0, 1], [2, 1]]),
        np.array([[0.1, 0], [0, math.nan], [0, 0], [0, 0], [0, 0]]),
    )


def test_every_pair_of_an_item_once() -> None:
    judgements, pairs = _scores().all_pairs()
    assert pairs["id"].to_list() == ["q|x|y", "q|x|z", "q|y|z", "r|x|y"]
    assert judgements.columns["one"].margins[:, 2].tolist() == [-1, -2, -1, -2]
    assert judgements.columns["two"].verdicts.tolist() == [-1, 0, -1, 2]
    assert judgements.missing == {"one": 0, "two": 2}
    assert judgements.columns["one"].arrays()["spread"][0, 2].tolist() == [0.1, 0]


def test_pairs_by_name_and_answers_that_nobody_scored() -> None:
    judgements = _scores().pairs(
        pl.Series([7, 8]), pl.Series(["r", "r"]), pl.Series(["y", "y"]), pl.Series(["x", "new"])
    )
    assert judgements.columns["one"].verdicts.tolist() == [0, -1]


def test_missing_is_counted_and_repeats_are_refused() -> None:
    scores = _scores()
    assert scores.missing == {"one": 0, "two": 1}
    with pytest.raises(InputError, match="'q' holds the answer 'x' twice"):
        scores.take([0, 0])
    with pytest.raises(InputError, match="expected \\(5, 1\\)"):
        AnswerScores(scores.items, scores.answers, ("one",), scores.mean, scores.spread)
