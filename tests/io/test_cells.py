"""Single cells: turns, messages, verdicts."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_files import ARENA, csv_text, hot, jsonl_text, triples

from arena_ensemble.io import read_battles


def test_null_and_empty_conversations_have_one_null_turn(tmp_path: Path) -> None:
    row = {"id": 1, "prompt": [], "response_a": [], "response_b": [], **hot(0)}
    other = {"id": 2, "prompt": ["q", "r"], "response_a": "null", "response_b": ["x", "y"], **hot(1)}
    path = tmp_path / "x.csv"
    path.write_text(csv_text([row, other]))
    assert triples(read_battles(path)) == [
        (1, [None], [None], [None], 0),
        (2, ["q", "r"], [None, None], ["x", "y"], 1),
    ]


@pytest.mark.parametrize(
    ("word", "outcome"),
    [("model_a", 0), ("model_b", 1), ("tie", 2), ("tie (bothbad)", 2), ("bothbad", 2), ("both_bad", 2)],
)
def test_every_verdict(word: str, outcome: int, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(jsonl_text([{**ARENA[1], "winner": word}]))
    assert read_battles(path).frame["outcome"].to_list() == [outcome]


def test_conversations_keep_every_message() -> None:
    from arena_ensemble.io.cells import RowProblem
    from arena_ensemble.io.messages import conversation

    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": "x"},
        {"role": "assistant", "content": "y"},
        {"role": "user", "content": "three"},
    ]
    assert conversation(talk, "c") == (["Be brief.\n\none\n\ntwo", "three"], ["x\n\ny", None])
    assert conversation([], "c") == ([], [])
    with pytest.raises(RowProblem, match="begins with an answer"):
        conversation(talk[3:], "c")
