"""Copies of votes and exchanged sides or numbers are named; what is merely weak is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.io import PanelVotes
from arena_ensemble.judgements import Judgements, Verdicts
from arena_ensemble.pipeline.vote_doubts import doubts

Array = np.ndarray[Any, Any]


def _case(votes: Array, **judges: Array) -> tuple[Judgements, PanelVotes]:
    ids = pl.Series("id", np.arange(len(votes)))
    columns = {name: Verdicts.from_codes(codes) for name, codes in judges.items()}
    return Judgements(ids, columns), PanelVotes(ids, ("vote",), votes.astype(np.int8)[:, None])


def _noisy(votes: Array, seed: int, share: float) -> Array:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(votes)) < share, rng.integers(0, 3, len(votes)), votes)


VOTES = np.random.default_rng(0).integers(0, 3, 200)


def test_a_copy_is_named_and_a_good_judge_is_not() -> None:
    found = doubts(*_case(VOTES, copy=VOTES, good=_noisy(VOTES, 1, 0.05)))
    assert found == [
        "judge 'copy' gives the vote in all 200 pairs that it judged; if it copies them, leave it out"
    ]
    few = np.where(np.arange(200) < 20, VOTES, -1)
    assert doubts(*_case(VOTES, few=few, good=_noisy(VOTES, 1, 0.05))) == []


def test_exchanged_sides_are_named_once() -> None:
    turned = np.array([1, 0, 2])[VOTES]
    (line,) = doubts(
        *_case(turned, one=_noisy(VOTES, 1, 0.3), two=_noisy(VOTES, 2, 0.4), bad=_noisy(VOTES, 3, 1))
    )
    assert line.startswith("most judges agree with the votes less than if A meant B and B meant A: ")


def test_numbers_counted_from_zero_are_named_for_their_judge() -> None:
    read = np.array([2, 0, 1])[_noisy(VOTES, 1, 0.2)]  # 0, 1, 2 read as tie, A, B
    (line,) = doubts(*_case(VOTES, numbers=read, words=_noisy(VOTES, 2, 0.2), more=_noisy(VOTES, 3, 0.2)))
    assert line.startswith("judge 'numbers' agrees with ")
    assert "A meant B, B meant tie and tie meant A" in line
    assert "--numbers" in line


@given(st.integers(0, 1000), st.floats(0.2, 1.0))
def test_weak_judges_give_no_alarm(seed: int, noise: float) -> None:
    judges = {f"j{k}": _noisy(VOTES, seed + k, noise) for k in range(3)}
    assert doubts(*_case(VOTES, **judges)) == []
