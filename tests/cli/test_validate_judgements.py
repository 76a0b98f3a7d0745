"""validate of judges' files: what they were taken for, what each gave, texts that are no verdict, votes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arena_ensemble import cli


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sheet saved elsewhere: a byte-order mark, semicolons, odd spellings, half missing, refusals."""
    rows = ["id;GPT 4;claude;turn"]
    for k in range(40):
        words = (
            ["[[A]]", "Response B", "A=B", "model_a"][k % 4],
            ["", "As an AI I cannot", "b", "A>>B"][k % 4],
        )
        rows.append(f"q{k};{words[0]};{words[1]};{k % 2 + 1}")
    (tmp_path / "wide.csv").write_text("\r\n".join(rows), encoding="utf-8-sig")
    votes = ["id,annotator_1,annotator_2"] + [f"q{k},{'AB'[k % 2]},{'ABT'[k % 3]}" for k in range(35)]
    (tmp_path / "people.csv").write_text("\n".join(votes))
    return tmp_path


def _facts(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert cli.run(["validate", *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_each_judge_is_counted_and_what_it_gave_instead_is_shown(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--judgements", str(folder / "wide.csv"), "--votes", str(folder / "people.csv")]
    found = _facts(capsys, *words)
    gpt, claude = found["files"][0]["judges"]
    assert [one["name"] for one in (gpt, claude)] == ["GPT 4", "claude"]
    assert gpt["verdicts"] == {"A": 20, "B": 10, "tie": 10}
    assert claude["missing"] == 20
    assert claude["unread"] == [["As an AI I cannot", 10]]
    assert found["votes"]["pairs"] == 35
    assert found["votes"]["judged_without_vote"] == 5
    assert cli.run(["validate", *words]) == 0
    shown = capsys.readouterr()
    assert "'As an AI I cannot' 10" in shown.out
    assert "35 pairs have votes by 2 annotators (annotator_1, annotator_2) and judgements" in shown.out
    assert f"next: arena-ensemble panel --judgements {folder / 'wide.csv'}" in shown.out
    assert "annotator_2 are no vote: 'T' 11" in shown.err


def test_answers_and_the_best_of_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"i{k // 4},r{k % 4},{int(k % 4 == k // 4 % 4)},{k % 7},{k % 5}" for k in range(80)]
    (folder / "answers.csv").write_text("item,answer,correct,one,two\n" + "\n".join(rows))
    path = str(folder / "answers.csv")
    found = _facts(capsys, "--judgements", path, "--votes", path)
    assert [one["name"] for one in found["files"][0]["judges"]] == ["one", "two"]
    assert found["votes"] == {"items": 20, "with_scores": 20, "text": found["votes"]["text"]}


def test_judgements_given_as_battles_are_known(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["validate", str(folder / "wide.csv")]) == 1
    assert (
        "holds no battles but judgements; run arena-ensemble validate --judgements" in capsys.readouterr().err
    )
    assert cli.run(["validate", str(folder / "wide.csv"), "--votes", "x.csv"]) == 2
    assert cli.run(["validate", "--judgements", str(folder / "wide.csv"), "--ids", "x.csv"]) == 2
    assert cli.run(["validate", "--judgements", str(folder / "wide.csv"), "--format", "kaggle"]) == 1


def test_facts_of_battles_are_words(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        f"{k},p,{'' if k == 3 else 'one'},two{k},{('model_a', 'model_b', 'tie')[k % 3]}" for k in range(30)
    ]
    (folder / "battles.csv").write_text("id,prompt,response_a,response_b,winner\n" + "\n".join(rows))
    assert cli.run(["validate", str(folder / "battles.csv")]) == 0
    shown = capsys.readouterr().out
    assert not set("{}[]'") & set(shown.split("columns, and what")[0])
    assert "A 10, B 10, tie 10" in shown
    assert "an empty response won: 1 row (id 3)" in shown
