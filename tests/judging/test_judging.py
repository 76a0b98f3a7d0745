"""A judge on a server of this machine: what it is asked, what its answers become, what a bad server costs."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_server import Reply, completion, failure, serving, stall

from arena_ensemble import Battles, read_judgements
from arena_ensemble.errors import InputError, MemberError
from arena_ensemble.judging.answers import Answer, Rubbish, as_battle, letter_probs, read_reply, verdict_of
from arena_ensemble.judging.client import Endpoint
from arena_ensemble.judging.question import questions, read_template
from arena_ensemble.judging.run import JudgeRun, judge_battles
from arena_ensemble.judging.store import AnswerStore

pytest.importorskip("httpx", reason="the extra `judge` is not installed")

N = 6


def battles(n: int = N) -> Battles:
    return Battles.from_rows(
        [
            {"id": k, "prompt": f"question {k}", "response_a": f"left {k}", "response_b": f"right {k}"}
            for k in range(n)
        ]
    )


def fair(text: str, times: int) -> Reply:
    """A judge that prefers whichever answer says left, with P = .7 against .2 and .1."""
    left_first = text.index("left") < text.index("right")
    return completion("A" if left_first else "B", {"A": 0.7, "B": 0.2, "C": 0.1} if left_first else
                      {"B": 0.7, "A": 0.2, " C": 0.1})  # fmt: skip


def run(url: str, out: Path, *, n: int = N, **options: Any) -> JudgeRun:
    server = {key: options.pop(key) for key in list(options) if key in ENDPOINT}
    endpoint = Endpoint(url, "judge-1", **{"sleep": lambda _: None, **server})
    return judge_battles(battles(n), endpoint, out, **options)


ENDPOINT = {field.name for field in dataclasses.fields(Endpoint)}


def rows(out: Path) -> list[dict[str, str]]:
    with out.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_both_orders_are_asked_and_probabilities_are_of_the_battle(tmp_path: Path) -> None:
    with serving(fair) as server:
        found = run(server.url, tmp_path / "out.csv", price_in=1.0, price_out=10.0)
    assert found.asked == found.judgements == 2 * N
    assert found.with_probabilities
    assert found.dollars == pytest.approx(2 * N * (100 * 1.0 + 2 * 10.0) / 1e6)
    for row in rows(tmp_path / "out.csv"):
        assert [float(row[name]) for name in ("p_a", "p_b", "p_tie")] == pytest.approx([0.7, 0.2, 0.1])
    judgements = read_judgements(tmp_path / "out.csv")
    assert judgements.ids.to_list() == [str(k) for k in range(N)] or judgements.ids.to_list() == list(
        range(N)
    )
    (column,) = judgements.columns.values()
    assert not np.asarray(column.missing).any()


def test_the_vote_and_the_models_are_not_in_the_question() -> None:
    shown = Battles.from_rows(
        [{"id": 1, "prompt": ["p", "q"], "response_a": ["x", "y"], "response_b": ["u", "v"],
          "model_a": "secret-1", "model_b": "secret-2",
          "winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0}]
    )  # fmt: skip
    asked = list(questions(shown, read_template(), ("a", "b"), 1))
    first, second = (one.text for one in asked)
    assert "secret" not in first + second
    assert first.index("[turn 1]\nx") < first.index("[turn 1]\nu")
    for half in ("answer_1", "answer_2"):
        first = first.replace(half, "answer")
        second = second.replace(half, "answer")
    part = {text.split("<answer>")[k].split("</answer>")[0] for text in (first, second) for k in (1, 2)}
    assert len(part) == 2  # the two orders show the same two texts, exchanged


def test_a_second_run_asks_nothing_and_writes_the_same(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with serving(fair) as server:
        run(server.url, out)
        before = out.read_bytes()
        again = run(server.url, out)
        assert again.asked == 0
        assert max(server.asked.values()) == 1
        assert out.read_bytes() == before
        assert run(server.url, out, n=N + 1).asked == 2  # one battle more: its two orders alone


def test_equal_questions_are_asked_once(tmp_path: Path) -> None:
    twice = Battles.from_rows(
        [{"id": k, "prompt": "same", "response_a": "left", "response_b": "right"} for k in range(4)]
    )
    with serving(fair) as server:
        found = judge_battles(twice, Endpoint(server.url, "m"), tmp_path / "out.csv")
    assert found.asked == 2
    assert found.judgements == 8
    assert found.tokens_in == 200


def test_a_server_that_fails_breaks_stalls_and_talks_rubbish_costs_tries_and_nothing_else(
    tmp_path: Path,
) -> None:
    troubles = [
        failure(500),
        failure(429, Retry_After="1"),
        (0, b"", {}),
        (200, b"<html>", {}),
        (200, b"{}", {}),
    ]

    def act(text: str, times: int) -> Reply:
        if times <= len(troubles):
            return troubles[times - 1]
        if times == len(troubles) + 1:
            return stall(0.6)
        return fair(text, times)

    waits: list[float] = []
    with serving(act) as server:
        found = run(server.url, tmp_path / "out.csv", tries=8, timeout=0.3, n=2, sleep=waits.append)
        assert set(server.asked.values()) == {len(troubles) + 2}
    with serving(fair) as good:
        run(good.url, tmp_path / "good.csv", n=2)
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "good.csv").read_bytes()
    assert found.missing == found.unanswered == 0
    assert 1.0 in waits  # what the server asked for
    assert all(wait <= 60 for wait in waits)


def test_a_server_that_dies_keeps_what_it_gave_and_a_second_run_goes_on(tmp_path: Path) -> None:
    out, seen = tmp_path / "out.csv", []

    def dying(text: str, times: int) -> Reply:
        seen.append(text)
        return fair(text, times) if len(set(seen)) <= 5 else failure(503)

    with (
        serving(dying) as server,
        pytest.raises(MemberError, match=r"gives no answers \(HTTP 503\).*run the same"),
    ):
        run(server.url, out, n=20, tries=2, concurrency=1)
    kept = AnswerStore(tmp_path / "out.csv.answers.jsonl").answers
    assert len(kept) == 5
    assert not out.exists()
    with serving(fair) as server:
        found = run(server.url, out, n=20)
        assert found.asked == 40 - 5
        assert max(server.asked.values()) == 1
    with serving(fair) as server:
        run(server.url, tmp_path / "whole.csv", n=20)
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_line_that_a_kill_cut_off_is_asked_again(tmp_path: Path) -> None:
    out, answers = tmp_path / "out.csv", tmp_path / "out.csv.answers.jsonl"
    with serving(fair) as server:
        run(server.url, out)
        before = out.read_bytes()
        answers.write_bytes(answers.read_bytes()[:-20])
        assert run(server.url, out).asked == 1
        assert out.read_bytes() == before
    answers.write_text("no answer\n")
    with serving(fair) as server, pytest.raises(InputError, match="line 1: no answer of a judge"):
        run(server.url, out)


def test_a_question_without_answer_is_missing_and_asked_by_the_next_run(tmp_path: Path) -> None:
    def act(text: str, times: int) -> Reply:
        return failure(500) if "left 3" in text else fair(text, times)

    with serving(act) as server:
        found = run(server.url, tmp_path / "out.csv", tries=2)
    assert found.unanswered == 2
    assert found.missing == 2
    lost = [row for row in rows(tmp_path / "out.csv") if row["p_a"] == ""]
    assert {row["id"] for row in lost} == {"3"}
    with serving(fair) as server:
        assert run(server.url, tmp_path / "out.csv").asked == 2


def test_a_question_too_long_is_missing_and_not_asked_again(tmp_path: Path) -> None:
    def act(text: str, times: int) -> Reply:
        return failure(400, "context length exceeded") if "left 3" in text else fair(text, times)

    with serving(act) as server:
        assert run(server.url, tmp_path / "out.csv").missing == 2
        assert run(server.url, tmp_path / "out.csv").asked == 0


def test_samples_and_refusals_become_verdicts_of_the_battle(tmp_path: Path) -> None:
    def act(text: str, times: int) -> Reply:
        if "logprobs" in text:
            return failure(400, "unused")
        if "left 2" in text:
            return completion("I cannot compare these.")
        return completion("[[A]]" if text.index("left") < text.index("right") else "My verdict: B")

    with serving(act) as server:
        found = run(server.url, tmp_path / "out.csv", samples=3, temperature=0.7)
    assert not found.with_probabilities
    assert found.judgements == 2 * 3 * N
    table = rows(tmp_path / "out.csv")
    assert {row["verdict"] for row in table if row["id"] != "2"} == {"model_a"}
    assert {row["verdict"] for row in table if row["id"] == "2"} == {""}
    assert found.missing == 6
    read = read_judgements(tmp_path / "out.csv")
    (column,) = read.columns.values()
    assert int(np.asarray(column.missing).sum()) == 1


def test_a_server_without_log_probabilities_is_asked_for_none(tmp_path: Path) -> None:
    def act(text: str, times: int) -> Reply:
        return (
            failure(400, "logprobs is not supported")
            if server.bodies[-1].get("logprobs")
            else completion("C")
        )

    with serving(act) as server:
        found = run(server.url, tmp_path / "out.csv", concurrency=1)
        assert sum("logprobs" in body for body in server.bodies) == 1
    assert {row["verdict"] for row in rows(tmp_path / "out.csv")} == {"tie"}
    assert found.missing == 0


@pytest.mark.parametrize(
    ("status", "message"), [(401, "export it as MY_KEY"), (404, "a --model that it serves")]
)
def test_a_refused_key_or_model_stops_at_once(tmp_path: Path, status: int, message: str) -> None:
    with serving(lambda text, times: failure(status)) as server, pytest.raises(InputError, match=message):
        run(server.url, tmp_path / "out.csv", key_env="MY_KEY")


def test_the_key_is_sent_and_stands_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    with caplog.at_level(logging.DEBUG), serving(fair) as server:
        run(server.url, tmp_path / "out.csv", key_env="MY_KEY")
        assert server.headers[0]["Authorization"] == "Bearer sk-very-secret"
    assert "sk-very-secret" not in caplog.text
    for path in tmp_path.iterdir():
        assert "sk-very-secret" not in path.read_text()
    assert "sk-very-secret" not in repr(Endpoint(server.url, "m", key_env="MY_KEY"))


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://x/v1", "http://user:key@host/v1", "http://h/v1?key=1"]
)
def test_an_address_is_plain(url: str) -> None:
    with pytest.raises(InputError, match="--endpoint"):
        Endpoint(url, "m")


def test_options_that_contradict_are_refused(tmp_path: Path) -> None:
    for options, message in (
        ({"orders": "c"}, "give both, a or b"),
        ({"samples": 2}, "all would be the same"),
        ({"concurrency": 0}, "at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            run("http://127.0.0.1:9/v1", tmp_path / "out.csv", **options)
    template = tmp_path / "t.txt"
    template.write_text("$prompt only")
    with pytest.raises(InputError, match=r"\$prompt, \$first and \$second"):
        run("http://127.0.0.1:9/v1", tmp_path / "out.csv", template=template)
    template.write_text("$prompt $first $second costs $$5")
    assert "costs $5" in next(questions(battles(1), read_template(template), ("a",), 1)).text


@given(
    st.dictionaries(st.sampled_from(["A", " A", "B", "B ", "C", "I", "The"]), st.floats(-12, 0), min_size=1)
)
def test_letters_are_probabilities_and_a_missing_one_is_never_certain(listed: dict[str, float]) -> None:
    probs = letter_probs(listed)
    mass = sum(math.exp(v) for token, v in listed.items() if token.strip() in "ABC")
    assert (probs is None) == (mass < 0.5)
    if probs is not None:
        assert sum(probs) == pytest.approx(1)
        assert all(0 < p < 1 for p in probs)


@given(st.sampled_from("ABC"), st.tuples(*[st.floats(0.01, 1)] * 3))
def test_what_is_said_in_the_other_order_is_exchanged_and_twice_is_once(letter: str, probs: Any) -> None:
    answer = Answer(letter, probs)
    assert as_battle(answer, "a") == answer
    assert as_battle(as_battle(answer, "b"), "b") == answer
    assert as_battle(answer, "b").verdict == {"A": "B", "B": "A", "C": "C"}[letter]


@pytest.mark.parametrize(
    ("text", "verdict"),
    [("A", "A"), (" b ", ""), ("[[B]]", "B"), ("[[A]] … no, [[B]]", "B"), ("**C**", "C"), ("Answer: A", "A"),
     ("A is good", ""), ("answer: A, answer: B", ""), ("", ""), ("I prefer Bananas", ""),
     ("Verdict: **B**.", "B")],
)  # fmt: skip
def test_a_verdict_is_read_where_there_is_one(text: str, verdict: str) -> None:
    assert verdict_of(text) == verdict


@pytest.mark.parametrize(
    "reply", [None, [], {}, {"choices": []}, {"choices": [{"message": {"content": 3}}]}, "A"]
)
def test_what_is_no_completion_is_rubbish(reply: Any) -> None:
    with pytest.raises(Rubbish):
        read_reply(reply)


def test_the_verb_writes_judgements_and_says_what_they_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from arena_ensemble import cli, sample

    for name, text in sample.files(10, 2, seed=1).items():
        (tmp_path / name).write_text(text)

    def act(text: str, times: int) -> Reply:
        return completion("C", {"C": 0.5, "A": 0.3, "B": 0.2})

    with serving(act) as server:
        given_ = ["judge", "--data", str(tmp_path / "train.csv"), "--endpoint", server.url, "--model", "m",
                  "--json", "--out", str(tmp_path / "judge.csv"), "--price-in", "2"]  # fmt: skip
        assert cli.run(given_) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["judgements"] == 20
    assert facts["dollars"] == pytest.approx(20 * 100 * 2 / 1e6)
    assert len(rows(tmp_path / "judge.csv")) == 20
