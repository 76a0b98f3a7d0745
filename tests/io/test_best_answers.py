"""Votes for the best of several answers: it beats each other one, two bests are a tie, the rest no vote."""

from __future__ import annotations

from pathlib import Path

import pytest

from arena_ensemble.errors import InputError
from arena_ensemble.io import read_panel_votes


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
