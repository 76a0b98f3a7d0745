"""Cases 9, 13 and 14: plain text, lists, messages, names in any case: decided per column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from data_files import KAGGLE, Rows, csv_text, hot, jsonl_text, triples

from arena_ensemble.errors import InputError
from arena_ensemble.io import load_battles, read_battles


def written(folder: Path, rows: Rows, kind: str = "csv") -> Path:
    path = folder / f"x.{kind}"
    path.write_text(csv_text(rows) if kind == "csv" else jsonl_text(rows))
    return path


def texts(path: Path, **options: Any) -> list[tuple[Any, ...]]:
    """Prompt, response A, response B, outcome of every row."""
    return [row[1:] for row in triples(read_battles(path, **options))]


# ---- case 9: how cells are written is decided per column, apart from the votes


def test_plain_text_with_one_hot_votes(tmp_path: Path) -> None:
    rows = [
        {"id": k, "prompt": f"q{k}", "response_a": "a", "response_b": "b", **hot(k % 3)} for k in range(9)
    ]
    loaded = load_battles(written(tmp_path, rows))
    assert [row[1:] for row in triples(loaded.battles)] == [
        ([f"q{k}"], ["a"], ["b"], k % 3) for k in range(9)
    ]
    assert (loaded.report.format, loaded.n_classes) == ("kaggle", 3)


@pytest.mark.parametrize(
    "odd", ["42", '["sort"]', "['a', 'b']", "[1, 2]", "null", "None", '{"a": 1}', '"quoted"']
)
def test_a_plain_prompt_that_looks_otherwise_stays_plain(odd: str, tmp_path: Path) -> None:
    rows = [
        {"id": k, "prompt": f"q{k}", "response_a": "a", "response_b": "b", **hot(k % 3)} for k in range(9)
    ]
    rows[4]["prompt"] = rows[5]["response_a"] = odd
    found = texts(written(tmp_path, rows))
    assert found[4][0] == [odd]
    assert found[5][1] == [odd]


def test_lists_with_a_column_of_words(tmp_path: Path) -> None:
    rows = [{"id": k, "prompt": ["p", "q"], "response_a": ["a", None], "response_b": ["b", "c"],
             "winner": ("model_a", "tie", "model_b")[k % 3]} for k in range(9)]  # fmt: skip
    assert texts(written(tmp_path, rows))[1] == (["p", "q"], ["a", None], ["b", "c"], 2)


def test_every_column_decides_for_itself(tmp_path: Path) -> None:
    rows = [
        {"id": k, "prompt": ["q"], "response_a": "a", "response_b": '["b"]', **hot(k % 3)} for k in range(9)
    ]
    assert texts(written(tmp_path, rows))[0] == (["q"], ["a"], ["b"], 0)


def test_a_column_written_in_two_ways_is_refused(tmp_path: Path) -> None:
    rows = [{"id": k, "prompt": ["q"] if k % 2 else "q", "response_a": "a", "response_b": "b", **hot(k % 3)}
            for k in range(30)]  # fmt: skip
    path = written(tmp_path, rows)
    with pytest.raises(InputError, match=r"of the cells of prompt a part are lists .*--format wsdm"):
        read_battles(path)
    assert texts(path, format="wsdm")[1][0] == ['["q"]']


# ---- case 13: messages, and names in another case


def test_names_in_any_case(tmp_path: Path) -> None:
    rows = [{"ID": 5, "Prompt": "q", "response_A": "a", "response_B": "b", "Winner": "model_b",
             "Model A": "m", "modelB": "n"}]  # fmt: skip
    battles = read_battles(written(tmp_path, rows))
    assert triples(battles) == [(5, ["q"], ["a"], ["b"], 1)]
    assert battles.frame.select("model_a", "model_b").row(0) == ("m", "n")
    shouted = [{name.upper(): cell for name, cell in row.items()} for row in KAGGLE]
    assert read_battles(written(tmp_path, shouted)).frame["outcome"].to_list() == [0, 2, 1]
    pairs = [{"Prompt": "q", "Chosen": "good", "Rejected": "bad"}]
    assert texts(written(tmp_path, pairs))[0][0] == ["q"]


def from_value(*words: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[k % 2], "value": word} for k, word in enumerate(words)]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_from_and_value(kind: str, tmp_path: Path) -> None:
    rows = [{"id": k, "conversation_a": from_value("q", "a"), "conversation_b": from_value("q", "b"),
             "winner": "tie"} for k in range(5)]  # fmt: skip
    assert texts(written(tmp_path, rows, kind))[0] == (["q"], ["a"], ["b"], 2)
    pairs = [{"chosen": from_value("q", "good"), "rejected": from_value("q", "bad")}] * 5
    assert texts(written(tmp_path, pairs, kind))[0][0] == ["q"]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_single_message_object(kind: str, tmp_path: Path) -> None:
    def answer(text: str) -> dict[str, str]:
        return {"role": "assistant", "content": text}

    pairs = [{"prompt": f"q{k}", "chosen": answer("good"), "rejected": answer("bad")} for k in range(5)]
    for number, (prompt, a, b, outcome) in enumerate(texts(written(tmp_path, pairs, kind))):
        assert (prompt, sorted([a, b])) == ([f"q{number}"], [["bad"], ["good"]])
        assert (a, b)[outcome] == ["good"]
    gpt = [{"conversations": from_value("q"), "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"}}] * 5  # fmt: skip
    assert texts(written(tmp_path, gpt, kind))[0][0] == ["q"]
    votes = [{"id": k, "prompt": "q", "response_a": answer("a"), "response_b": answer("b"), "winner": "tie"}
             for k in range(5)]  # fmt: skip
    assert texts(written(tmp_path, votes, kind))[0] == (["q"], ["a"], ["b"], 2)


# ---- case 14: lists as Python writes them


@pytest.mark.parametrize("turns", [["a", None], ["it's", 'say "x"'], ["b\nc\\d", "é\x07"], ["['nested']"]])
def test_python_lists_are_read(turns: list[str | None], tmp_path: Path) -> None:
    cells = {"prompt": str(["q"] * len(turns)), "response_a": str(turns), "response_b": str(turns)}
    found = texts(written(tmp_path, [{"id": k, **cells, **hot(k % 3)} for k in range(6)]))
    assert found[0][1:3] == (turns, turns)


@pytest.mark.parametrize(
    "cell", ["['a' 'b']", "['a'\n 'b']", "['a', 1]", "['a'] + ['b']", "['a', __import__('os')]"]
)
def test_other_python_is_refused(cell: str, tmp_path: Path) -> None:
    rows = [
        {"id": k, "prompt": ["q"], "response_a": ["a"], "response_b": cell, **hot(k % 3)} for k in range(6)
    ]
    with pytest.raises(InputError, match=r"6 of 6 rows cannot be used: .*response_b is not whole JSON"):
        read_battles(written(tmp_path, rows))


@pytest.mark.parametrize("keys", [("role", "content"), ("from", "value")])
def test_python_messages_are_read(keys: tuple[str, str], tmp_path: Path) -> None:
    def talk(*words: str | None) -> str:
        return str(
            [dict(zip(keys, (("user", "assistant")[k % 2], w), strict=True)) for k, w in enumerate(words)]
        )

    rows = [{"id": k, "conversation_a": talk("it's", 'say "x"\n'), "conversation_b": talk("it's", None),
             "winner": "tie"} for k in range(5)]  # fmt: skip
    assert texts(written(tmp_path, rows))[0] == (["it's"], ['say "x"\n'], [None], 2)
    pairs = [{"messages": talk("q"), "chosen": talk("q", "good"), "rejected": talk("q", "bad")}] * 5
    assert texts(written(tmp_path, pairs))[0][0] == ["q"]
    good, bad = (str({keys[0]: "assistant", keys[1]: word}) for word in ("good", "bad"))
    one = [{"prompt": "q", "chosen": good, "rejected": bad}] * 5
    assert sorted(texts(written(tmp_path, one))[0][1:3]) == [["bad"], ["good"]]


@pytest.mark.parametrize("cell", [
    "[{'role': 'user', 'content': 'a' 'b'}]", "[{'role': 'user', 'content': ['a'\n 'b']}]",
    "[{'role': 'user', 'content': 'q'}\n {'role': 'assistant', 'content': 'a'}]",
    "[{'role': 'user', 'content': array(['a'])}]", "[{'role': 'user', 'content': 'cut",
])  # fmt: skip
def test_messages_as_numpy_prints_them_are_refused(cell: str, tmp_path: Path) -> None:
    rows = [{"id": k, "conversation_a": cell, "conversation_b": cell, "winner": "tie"} for k in range(5)]
    with pytest.raises(InputError, match=r"conversation_a is not whole JSON .*write it as JSON"):
        read_battles(written(tmp_path, rows))
