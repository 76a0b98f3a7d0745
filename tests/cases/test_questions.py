"""Case 5: the question, whichever column holds it, and files that have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from data_files import Rows, csv_text, jsonl_text, say, triples

from arena_ensemble.errors import InputError
from arena_ensemble.io import read_battles


def written(folder: Path, rows: Rows, kind: str = "csv") -> Path:
    path = folder / f"x.{kind}"
    path.write_text(csv_text(rows) if kind == "csv" else jsonl_text(rows))
    return path


def texts(path: Path, **options: Any) -> list[tuple[Any, ...]]:
    """Prompt, response A, response B, outcome of every row."""
    return [row[1:] for row in triples(read_battles(path, **options))]


# ---- case 5: pairs whose question is in another column

QUESTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "question": ({"question": "q?"}, "q?"),
    "query": ({"query": "q?"}, "q?"),
    "Instruction": ({"Instruction": "q?"}, "q?"),
    "instruction and input": ({"instruction": "Add", "input": "2 3"}, "Add\n\n2 3"),
    "instruction, no input": ({"instruction": "Add", "input": ""}, "Add"),
    "input": ({"input": "q?"}, "q?"),
    "system and question": ({"system": "Be brief.", "question": "q?"}, "Be brief.\n\nq?"),
    "system_prompt and prompt": ({"system_prompt": "Be brief.", "prompt": "q?"}, "Be brief.\n\nq?"),
    "messages": ({"messages": say("q?")}, "q?"),
    "messages with system": (
        {"messages": [{"role": "system", "content": "Be brief."}, *say("q?")]}, "Be brief.\n\nq?"),
    "conversations, ShareGPT": ({"conversations": [{"from": "human", "value": "q?"}]}, "q?"),
    "messages that end with the answer": ({"messages": say("q?", "good")}, "q?"),
    "an empty prompt beside": ({"prompt": "", "question": "q?"}, "q?"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("name", QUESTIONS)
def test_the_question_is_found(name: str, kind: str, tmp_path: Path) -> None:
    cells, asked = QUESTIONS[name]
    pairs = [{**cells, "chosen": f"good{k}", "rejected": f"bad{k}"} for k in range(6)]
    for number, (prompt, a, b, outcome) in enumerate(texts(written(tmp_path, pairs, kind))):
        good, bad = [f"good{number}"], [f"bad{number}"]
        assert prompt == [asked]
        assert (a, b) == ((good, bad) if outcome == 0 else (bad, good))
    votes = [{"id": k, **cells, "response_a": "a", "response_b": "b", "winner": "tie"} for k in range(6)]
    assert set(map(str, texts(written(tmp_path, votes, kind)))) == {str(([asked], ["a"], ["b"], 2))}


def test_earlier_turns_of_messages_are_kept(tmp_path: Path) -> None:
    talk = say("one", "first", "two")
    rows = [
        {"id": k, "messages": talk, "response_a": "x", "response_b": "y", "winner": "model_b"} for k in (1, 2)
    ]
    path = written(tmp_path, rows, "jsonl")
    assert texts(path)[0] == (["one", "two"], ["first", "x"], ["first", "y"], 1)


@pytest.mark.parametrize("cells", [
    {}, {"topic": "arithmetic"}, {"prompt": ""}, {"question": None}, {"system": "Be brief."},
])  # fmt: skip
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_pairs_without_a_question_are_refused(cells: dict[str, Any], kind: str, tmp_path: Path) -> None:
    rows = [{**cells, "chosen": f"good{k}", "rejected": f"bad{k}"} for k in range(6)]
    with pytest.raises(InputError, match=r"its columns are .*chosen, rejected.* prompt"):
        read_battles(written(tmp_path, rows, kind))


def test_answers_as_messages_need_their_question_too(tmp_path: Path) -> None:
    answer = [{"role": "assistant", "content": "a"}]
    with pytest.raises(InputError, match=r"without .* question; put the question"):
        read_battles(written(tmp_path, [{"chosen": answer, "rejected": answer}] * 4, "jsonl"))
