"""Files of judges as strangers write them: read as they were meant, or refused with a way to mend them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.errors import InputError
from arena_ensemble.io.judge_cells import label_masses, listed, spread_out
from arena_ensemble.io.judgements import load_judgements, read_judgements
from arena_ensemble.judgements import First, KnownJudge
from tests.helpers.strangers import (
    ABC,
    CODES,
    IDS,
    PROBS,
    SCORES,
    SECOND,
    N,
    probabilities,
    write,
)


def test_verdicts_that_name_places_are_refused(tmp_path: Path) -> None:
    """Turned back they agree; read as answers the judge would contradict itself."""
    turned = {"A": "B", "B": "A", "C": "C"}
    ids = [f"{name}-{k}" for k in range(3) for name in IDS]
    rows = {"id": ids * 2, "judge": ["x"] * 6 * N, "swapped": [0] * 3 * N + [1] * 3 * N}
    as_shown = [turned[word] for word in SECOND]
    read_judgements(write(tmp_path / "right.csv", {**rows, "verdict": ABC * 3 + SECOND * 3}))
    with pytest.raises(InputError, match=r"'x' contradicts itself in \d+ of \d+ pairs .* exchange A and B"):
        read_judgements(write(tmp_path / "shown.csv", {**rows, "verdict": ABC * 3 + as_shown * 3}))


@given(st.floats(0.02, 0.98), st.floats(0.02, 0.98), st.integers(0, 2**32))
def test_a_bias_for_a_place_alone_is_never_refused(first: float, second: float, seed: int) -> None:
    from arena_ensemble.judgements import Verdicts
    from arena_ensemble.judgements.orders import place_words

    rng = np.random.default_rng(seed)
    one, two = (Verdicts.from_codes((rng.random(200) > share).astype(int), slot)
                for share, slot in ((first, First.A), (second, First.B)))  # fmt: skip
    column = Verdicts(one.counts + two.counts, one.unusable + two.unusable)
    words = place_words("x", column)
    words.check("file")
    half = np.arange(200)[::2], np.arange(200)[1::2]
    parts = [place_words("x", column.take(rows)) for rows in half]
    assert parts[0] + parts[1] == words


@pytest.mark.parametrize("name", ["winner", "preference", "choice", "decision", "judgment"])
def test_a_judges_verdict_under_another_name(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "v.csv", {"id": IDS, "judge": ["x"] * N, name: ABC})
    assert read_judgements(path).columns["x"].verdicts.tolist() == CODES.tolist()


def test_what_is_left_out_beside_a_verdict_is_said(tmp_path: Path) -> None:
    rows = {"id": IDS, "judge": ["x"] * N, "verdict": ABC, "p_a": PROBS[:, 0], "p_b": PROBS[:, 1]}
    notes = load_judgements(write(tmp_path / "v.csv", rows)).notes
    assert "not read beside verdict: p_a, p_b; leave out verdict to read them" in notes


def test_minus_one_is_not_both_b_and_a_failure(tmp_path: Path) -> None:
    words = [("1", "-1", "0")[code] for code in CODES]
    path = write(tmp_path / "v.csv", {"id": IDS, "judge": ["x"] * N, "verdict": words})
    for numbers in (None, "120", "012"):
        with pytest.raises(InputError, match="1 and -1, of which -1 may be B or a failure; write model_a"):
            read_judgements(path, numbers=numbers)


def test_one_slip_is_no_scale(tmp_path: Path) -> None:
    words = [["1", "2", "0"][code] for code in CODES[:12]]
    rows = {"id": IDS[:12], "judge": ["x"] * 12}
    one = write(tmp_path / "one.csv", {**rows, "verdict": ["3", *words[1:]]})
    assert read_judgements(one).missing == {"x": 1}
    three = write(tmp_path / "three.csv", {**rows, "verdict": ["3", "4", "5", *words[3:]]})
    with pytest.raises(InputError, match="holds numbers beyond 0, 1 and 2"):
        read_judgements(three)
    half = write(tmp_path / "half.csv", {"id": ["p", "q"], "judge": ["x"] * 2, "verdict": ["2", "4"]})
    with pytest.raises(InputError, match="holds numbers beyond 0, 1 and 2"):
        read_judgements(half)
    known = {"x": KnownJudge("verdicts", "120")}
    assert read_judgements(half, known=known).columns["x"].verdicts.tolist() == [1, -1]


def test_numbers_mean_what_a_panel_remembers(tmp_path: Path) -> None:
    path = write(tmp_path / "v.csv", {"id": [1, 2, 3], "judge": ["x"] * 3, "verdict": [0, 1, 1]})
    with pytest.raises(InputError, match="--numbers"):
        read_judgements(path)
    for numbers, expected in (("120", [2, 0, 0]), ("012", [0, 1, 1])):
        found = read_judgements(path, known={"x": KnownJudge("verdicts", numbers)})
        assert found.columns["x"].verdicts.tolist() == expected
        assert found.numbers == {"x": numbers}
    words = write(tmp_path / "w.csv", {"id": IDS, "judge": ["x"] * N, "verdict": ABC})
    assert read_judgements(words).numbers == {}


def test_known_judges_keep_names_and_kinds_that_others_would_lose(tmp_path: Path) -> None:
    path = write(tmp_path / "k.csv", {"id": IDS, "sky_a": SCORES[:, 0], "sky_b": SCORES[:, 1]})
    with pytest.raises(InputError, match="give numbers that sum to 1"):
        read_judgements(path)
    assert read_judgements(path, known={"sky": KnownJudge("scores")}).columns["sky"].kind == "scores"
    old = write(tmp_path / "o.csv", {"id": IDS, "x_prob_a": PROBS[:, 0], "x_prob_b": 1 - PROBS[:, 0]})
    assert read_judgements(old, known=["x_prob"]).judges == ("x_prob",)
    two = write(tmp_path / "t.csv", {"id": IDS, "team_a": ABC, "team_b": ABC})
    assert read_judgements(two).judges == ("team_a", "team_b")


def test_facts_about_answers_are_no_judges(tmp_path: Path) -> None:
    flat = {"item": [k for k in range(N) for _ in "pq"], "answer": ["p", "q"] * N}
    facts = ["n_tokens", "length", "num_words", "latency", "response_tokens", "perplexity"]
    path = write(
        tmp_path / "a.csv", {**flat, "rm": SCORES.ravel(), **{name: list(range(2 * N)) for name in facts}}
    )
    loaded = load_judgements(path)
    assert loaded.answers is not None
    assert loaded.answers.judges == ("rm",)
    assert any(f"facts about answers: {', '.join(facts)}; if they are judges" in one for one in loaded.notes)
    known = load_judgements(path, known=["length"]).answers
    assert known is not None
    assert known.judges == ("rm", "length")


@given(st.one_of(st.text(max_size=30), st.lists(st.text(max_size=5)), st.none(), st.floats()))
def test_a_cell_is_a_list_or_itself(cell: Any) -> None:
    places, cells = spread_out(["here"], [cell])
    found = listed(cell)
    assert set(places) == {"here"}
    assert cells is not None
    assert len(cells) == (1 if found is None else max(len(found), 1))
    assert found is None or cells == (found or [None])
    assert listed("[[A]]") is None
    assert label_masses(str(cell)) is None or isinstance(cell, str)


@pytest.mark.parametrize(
    "names",
    [("A", "B", "C"), ("prob_model_a", "prob_model_b", "prob_tie"),
     ("winner_model_a", "winner_model_b", "winner_tie"), ("model_a_prob", "model_b_prob", "prob_tie")],
)  # fmt: skip
def test_labels_alone_beside_a_judge(tmp_path: Path, names: Sequence[str]) -> None:
    values = {name: PROBS[:, k] for k, name in enumerate(names)}
    path = write(tmp_path / "l.csv", {"id": IDS, "judge": ["x"] * N, **values})
    np.testing.assert_allclose(probabilities(path, "x"), PROBS)


def test_a_file_of_one_judge_without_a_name_is_named_like_it(tmp_path: Path) -> None:
    for name, columns in {
        "p": {"p_a": PROBS[:, 0], "p_b": PROBS[:, 1], "p_tie": PROBS[:, 2]},
        "labels": {"A": PROBS[:, 0], "B": PROBS[:, 1], "C": PROBS[:, 2]},
        "reward": {"reward_a": SCORES[:, 0], "reward_b": SCORES[:, 1]},
        "margin": {"margin": SCORES[:, 0]},
        "words": {"verdict": ABC},
    }.items():
        path = write(tmp_path / f"qwen-{name}.csv", {"id": IDS, **columns})
        assert read_judgements(path).judges == (f"qwen-{name}",)
    assert read_judgements(
        write(tmp_path / "k.csv", {"id": IDS, "p_a": PROBS[:, 0]}), known=["p"]
    ).judges == ("p",)
    two = write(tmp_path / "two.csv", {"id": IDS, "A": ABC, "B": ABC})
    assert read_judgements(two).judges == ("A", "B")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Assistant A is better", 0), ("Model B wins", 1), ("B is slightly better.", 1),
        ("Response 1 is better", 0),
        ("The answer (b) is much better", 1), ("Verdict: A", 0), ("Final verdict: tie", 2),
        ("It's a tie.", 2),
        ("Winner: model_b", 1), ("My final choice is: [[A]]", 0), ("A is worse", -1), ("first", -1),
        ("A is better than B", -1), ("Verdict: unsure", -1), ("Neither A is better", -1),
    ],
)  # fmt: skip
def test_short_sentences(text: str, code: int) -> None:
    from arena_ensemble.io.verdict_words import NUMBERED, verdict_of

    assert verdict_of(text, numbers=NUMBERED) == code


def test_what_may_have_been_meant_is_noted(tmp_path: Path) -> None:
    columns = {
        "id": IDS, "gpt": ABC, "rm": SCORES[:, 0], "better": [code == 0 for code in CODES],
        "x_rank_a": [1, 2] * (N // 2), "x_rank_b": [2, 1] * (N // 2), "n_turns": [1, 2] * (N // 2),
    }  # fmt: skip
    loaded = load_judgements(write(tmp_path / "v.csv", columns))
    assert loaded.judgements is not None
    assert loaded.judgements.judges == ("gpt",)
    assert any("as margins do: rm; a margin of A over B is named" in one for one in loaded.notes)
    assert any("true may be A or B: better; if" in one for one in loaded.notes)


def test_answers_named_by_their_model_and_numbers_without_an_answer(tmp_path: Path) -> None:
    flat = {"item": [k for k in range(N) for _ in "pq"], "judge": ["x"] * 2 * N}
    path = write(tmp_path / "m.csv", {**flat, "model": ["p", "q"] * N, "score": SCORES.ravel()})
    found = load_judgements(path).answers
    assert found is not None
    assert found.answers.to_list() == ["p", "q"] * N
    with pytest.raises(InputError, match="score is one number a row, of which answer it does not say; add"):
        load_judgements(write(tmp_path / "n.csv", {**flat, "score": [k % 5 for k in range(2 * N)]}))
    only = {"item": flat["item"], "answer": ["p", "q"] * N, "x_rank": [1, 2] * N}
    with pytest.raises(InputError, match=r"no judge's scores \(not read, .* facts about answers: x_rank"):
        load_judgements(write(tmp_path / "r.csv", only))


@pytest.mark.parametrize("column", ["llm", "evaluator", "model", "judge_model"])
def test_the_judges_column_under_another_name(tmp_path: Path, column: str) -> None:
    names = ["x"] * N + ["y"] * N
    path = write(
        tmp_path / "l.csv",
        {
            "id": IDS * 2,
            column: names,
            **{f"prob_{side}": [*PROBS[:, k]] * 2 for k, side in enumerate("ABC")},
        },
    )
    assert read_judgements(path).judges == ("x", "y")
    words = write(tmp_path / "v.csv", {"id": IDS * 2, column: names, "verdict": ABC * 2})
    assert read_judgements(words).judges == ("x", "y")
    own = write(tmp_path / "o.csv", {"id": IDS, "llm": ABC})
    assert read_judgements(own).judges == ("llm",)
