"""Votes for the best of several answers: it beats each other one, two bests are a tie, the rest no vote."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from arena_ensemble.errors import InputError
from arena_ensemble.io import read_best_votes, read_panel_votes


def test_the_best_beats_each_other_answer(tmp_path: Path) -> None:
    path = tmp_path / "best.csv"
    path.write_text("item,answer,best\n1,a,0\n1,b,1\n1,c,0\n2,a,1\n2,b,1\n2,c,false\n3,a,0\n3,b,\n")
    votes = read_panel_votes(path)
    found = dict(zip(votes.ids.to_list(), votes.majority.tolist(), strict=True))
    assert found == {"1|a|b": 1, "1|b|c": 0, "2|a|b": 2, "2|a|c": 0, "2|b|c": 0}
    assert votes.groups is not None
    assert votes.groups.to_list() == ["1", "1", "2", "2", "2"]


def test_another_flag_and_no_best_at_all_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.csv"
    path.write_text("item,answer,best\n1,a,0\n1,b,b\n")
    with pytest.raises(InputError, match=r"row 2 \(item 1\): best is 'b', expected 1 or 0; write 1"):
        read_panel_votes(path)
    path.write_text("item,answer,best\n1,a,0\n1,b,0\n")
    with pytest.raises(InputError, match="no vote that can be read"):
        read_panel_votes(path)


def test_the_best_is_named_flagged_or_scored(tmp_path: Path) -> None:
    path = tmp_path / "best.csv"
    path.write_text("item,best\n1,a\n1,b\n1,a\n2,\n3,c\n")
    named = read_best_votes(path)
    assert named is not None
    assert named.shares == {"1": {"a": pytest.approx(2 / 3), "b": pytest.approx(1 / 3)}, "3": {"c": 1.0}}
    path.write_text("item,annotator_1,annotator_2\n1,a,b\n2,,b\n")
    several = read_best_votes(path)
    assert several is not None
    assert several.shares == {"1": {"a": 0.5, "b": 0.5}, "2": {"b": 1.0}}
    path.write_text("item,answer,expert_1,expert_2\n1,a,3,1\n1,b,3,\n1,c,1,0\n")
    assert read_best_votes(path) is None
    scored = read_best_votes(path, scores=True)
    assert scored is not None
    assert scored.shares == {"1": {"a": 0.75, "b": 0.25}}
    path.write_text("item,answer,expert_1\n1,a,5\n1,b,4\n1,a,1\n1,b,\n2,a,1\n2,b,0\n")
    repeated = read_best_votes(path, scores=True)
    assert repeated is not None
    assert repeated.shares == {"1": {"b": 1.0}, "2": {"a": 1.0}}  # a is rated 3 on average, b 4
    path.write_text("item,answer,best\n1,a,1\n1,b,1\n1,c,0\n")
    flagged = read_best_votes(path)
    assert flagged is not None
    assert flagged.shares == {"1": {"a": 0.5, "b": 0.5}}
    path.write_text("id,winner\n1,model_a\n")
    assert read_best_votes(path) is None
    path.write_text("id,item,human_1,human_2\n1,q,model_a,model_b\n")
    assert read_best_votes(path) is None
    path.write_text("item,best\n1,\n")
    with pytest.raises(InputError, match="names no best answer; fill in"):
        read_best_votes(path)


def test_pairs_follow_from_the_best_answers_name(tmp_path: Path) -> None:
    path = tmp_path / "best.csv"
    path.write_text("item,best\n1,a\n2,b\n2,c\n")
    votes = read_best_votes(path)
    assert votes is not None
    ids = pl.Series("id", ["1|a|b", "1|b|c", "2|a|b", "2|c|b", "9|a|b"])
    pairs = votes.pair_votes(ids, path)
    found = dict(zip(pairs.ids.to_list(), pairs.majority.tolist(), strict=True))
    assert found == {"1|a|b": 0, "2|a|b": 1, "2|c|b": 2}
    with pytest.raises(InputError, match="no judged pair has a best answer; write ids"):
        votes.pair_votes(pl.Series("id", ["1", "2"]), path)


def test_a_row_for_each_annotator_is_a_vote_each(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text("item,answer,best\n1,a,1\n1,b,0\n1,a,1\n1,b,0\n1,a,0\n1,b,1\n")
    found = read_best_votes(path).shares["1"]
    assert found == pytest.approx({"a": 2 / 3, "b": 1 / 3})
