"""Votes for the best answer that name it by place, letter or number find it; else nothing is guessed."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.io.best_votes import Shares
from arena_ensemble.judgements import AnswerScores
from arena_ensemble.pipeline.best_names import named_as

FOUR = ["0", "1", "2", "3"]


def scores(names: list[str], items: int) -> AnswerScores:
    n = items * len(names)
    keys = [(f"q{i}", name) for i in range(items) for name in names]
    return AnswerScores(
        pl.Series("item", [item for item, _ in keys]), pl.Series("answer", [name for _, name in keys]),
        ("x",), np.zeros((n, 1)), np.zeros((n, 1)),
    )  # fmt: skip


def votes(words: list[str]) -> Shares:
    return {f"q{i}": {word: 1.0} for i, word in enumerate(words)}


@pytest.mark.parametrize(
    ("answers", "words", "how"),
    [
        (FOUR, ["1", "2", "3", "4"], "places from 1"),
        (FOUR, ["A", "B", "C", "D"], "letters"),
        (["1", "2", "3", "4"], ["0", "1", "2", "3"], "places from 0"),
        (["1", "2", "3", "4"], ["a", "[B]", "C", "D"], "letters"),
        (["llama", "phi", "qwen", "yi"], ["0", "1", "2", "3"], "places from 0"),
        (["llama", "phi", "qwen", "yi"], ["LLAMA", "Phi ", "qwen", "yi"], "another spelling"),
        (FOUR, ["0.0", "1.0", "2.0", "3"], "another spelling"),
        (["A", "B", "C", "D"], ["a", "b", "c", "d"], "another spelling"),
        (["d", "c", "b", "a"], ["D", "C", "B", "A"], "another spelling"),
        (["10", "9", "11", "12"], ["A", "B", "C", "D"], "letters"),
    ],
)
def test_each_way_is_found_and_said(answers: list[str], words: list[str], how: str) -> None:
    found, note = named_as(votes(words), scores(answers, 4))
    ordered = sorted(answers, key=float) if answers[0].isdigit() else answers
    assert [next(iter(found[f"q{i}"])) for i in range(4)] == ordered
    assert note is not None
    assert how in note


@given(st.lists(st.sampled_from(FOUR), min_size=1, max_size=9))
def test_names_that_fit_are_never_changed(words: list[str]) -> None:
    found, note = named_as(votes(words), scores(FOUR, len(words)))
    assert (found, note) == (votes(words), None)


@pytest.mark.parametrize(
    "words", [["1", "2", "3", "1"], ["1", "2", "9", "0"], ["none of them", "phi", "yi", "yi"]]
)
def test_nothing_is_guessed(words: list[str]) -> None:
    """Places that would fit from 0 and from 1 alike are left as they are, to be refused."""
    given_votes = votes(words)
    assert named_as(given_votes, scores(["llama", "phi", "qwen", "yi"], 4)) == (given_votes, None)
