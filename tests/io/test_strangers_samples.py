"""Strangers' samples of a verdict, both orders, and scores of several answers are read as they were meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.errors import InputError
from arena_ensemble.io.judgements import load_judgements, read_judgements
from arena_ensemble.io.wide_columns import both_orders, samples, sided
from arena_ensemble.judgements import First
from tests.helpers.strangers import (
    ABC,
    EIGHT,
    IDS,
    QUALITY,
    SCORES,
    SECOND,
    N,
    counts,
    write,
)


@pytest.mark.parametrize("shape", ["rows", "lists", "long lists", "columns", "sample columns", "text"])
def test_eight_samples_of_a_verdict(tmp_path: Path, shape: str) -> None:
    each = [(k, s) for k in range(N) for s in range(8)]
    columns: dict[str, Mapping[str, Sequence[Any]]] = {
        "rows": {"id": [IDS[k] for k, _ in each], "judge": ["x"] * len(each), "sample": [s for _, s in each],
                 "verdict": [EIGHT[k][s] for k, s in each]},
        "lists": {"id": IDS, "x": EIGHT},
        "long lists": {"id": IDS, "judge": ["x"] * N, "verdict": EIGHT},
        "columns": {"id": IDS, **{f"x_{s + 1}": [row[s] for row in EIGHT] for s in range(8)}},
        "sample columns": {"id": IDS, **{f"x_sample{s}": [row[s] for row in EIGHT] for s in range(8)}},
        "text": {"id": IDS, "x": [str(row) for row in EIGHT]},
    }  # fmt: skip
    kind = ".csv" if shape in ("rows", "columns", "sample columns", "text") else ".jsonl"
    loaded = load_judgements(write(tmp_path / f"v{kind}", columns[shape]))
    expected = [[row.count(word) for word in ("A", "B", "tie")] for row in EIGHT]
    assert counts(loaded).tolist() == expected
    assert any("read as 8 samples of one judge, x" in one for one in loaded.notes) == ("columns" in shape)


def test_numbered_judges_stay_judges_of_their_own(tmp_path: Path) -> None:
    path = write(tmp_path / "v.csv", {"id": IDS, **{f"judge_{k}": ABC for k in (1, 2, 3)}})
    assert read_judgements(path).judges == ("judge_1", "judge_2", "judge_3")
    eight = write(tmp_path / "e.csv", {"id": IDS, **{f"x_{k}": ABC for k in (1, 2, 3)}})
    assert read_judgements(eight).judges == ("x",)
    assert read_judgements(eight, known=["x_1", "x_2", "x_3"]).judges == ("x_1", "x_2", "x_3")


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("first", ("a", "b")), ("order", ("AB", "BA")), ("order", ("original", "swapped")),
        ("swapped", ("False", "True")), ("swapped", ("0", "1")), ("position", ("original", "swapped")),
        ("is_flipped", ("no", "yes")), ("shown_first", ("A", "B")),
        ("presentation_order", ("a_first", "b_first")),
    ],
)  # fmt: skip
def test_both_orders_however_the_order_is_written(
    tmp_path: Path, column: str, words: tuple[str, str]
) -> None:
    rows = {
        "id": IDS * 2, "judge": ["x"] * 2 * N, column: [words[0]] * N + [words[1]] * N,
        "verdict": ABC + SECOND,
    }  # fmt: skip
    path = write(tmp_path / "o.csv", rows)
    slots = read_judgements(path).columns["x"].slot_verdicts
    assert slots[:, First.A].tolist() == ["ABC".index(word) for word in ABC]
    assert slots[:, First.B].tolist() == ["ABC".index(word) for word in SECOND]


@pytest.mark.parametrize("names", [("x_ab", "x_ba"), ("x", "x_swapped"), ("x_order1", "x_order2")])
def test_both_orders_as_columns(tmp_path: Path, names: tuple[str, str]) -> None:
    path = write(tmp_path / "o.csv", {"id": IDS, names[0]: ABC, names[1]: SECOND})
    loaded = load_judgements(path)
    assert loaded.judgements is not None
    assert loaded.judgements.judges == ("x",)
    assert loaded.judgements.columns["x"].present.sum(axis=0).tolist() == [N, N, 0]
    assert any("read as one judge, x, that saw A first and B first" in note for note in loaded.notes)


def test_an_order_that_is_not_clear_is_refused_and_a_row_number_is_none(tmp_path: Path) -> None:
    for words in (("1", "2"), ("left", "right")):
        rows = {
            "id": IDS * 2,
            "judge": ["x"] * 2 * N,
            "order": [words[0]] * N + [words[1]] * N,
            "verdict": ABC * 2,
        }
        with pytest.raises(
            InputError, match=r"order is .* or .*, which does not say which answer .* write a"
        ):
            read_judgements(write(tmp_path / "o.csv", rows))
    numbered = {"id": IDS, "judge": ["x"] * N, "order": list(range(N)), "verdict": ABC}
    assert read_judgements(write(tmp_path / "n.csv", numbered)).columns["x"].first.tolist() == [0] * N


@pytest.mark.parametrize("shape", ["rows", "lists", "columns", "item lists"])
@pytest.mark.parametrize("items", ["numbers", "texts"])
def test_eight_scores_of_each_of_four_answers(tmp_path: Path, shape: str, items: str) -> None:
    names: list[Any] = [k if items == "numbers" else f"q{k}" for k in range(10)]
    each = [(i, a) for i in range(10) for a in range(4)]
    flat = {"prompt_id": [names[i] for i, _ in each], "response_id": [a for _, a in each]}
    every = [(i, a, s) for i, a in each for s in range(8)]
    columns: dict[str, Mapping[str, Sequence[Any]]] = {
        "rows": {
            "item": [names[i] for i, _, _ in every], "answer": [a for _, a, _ in every],
            "judge": ["x"] * len(every), "sample": [s for _, _, s in every],
            "score": [float(QUALITY[one]) for one in every],
        },
        "lists": {**flat, "x": [QUALITY[i, a].tolist() for i, a in each]},
        "columns": {**flat, **{f"x_{s + 1}": [float(QUALITY[i, a, s]) for i, a in each] for s in range(8)}},
        "item lists": {"item": names, "judge": ["x"] * 10, "scores": QUALITY.tolist()},
    }  # fmt: skip
    path = write(tmp_path / ("f.csv" if shape in ("rows", "columns") else "f.jsonl"), columns[shape])
    found = load_judgements(path).answers
    assert found is not None
    assert found.judges == ("x",)
    assert found.items.unique(maintain_order=True).to_list() == [str(name) for name in names]
    assert found.answers.to_list() == ["0", "1", "2", "3"] * 10
    np.testing.assert_allclose(found.mean[:, 0], QUALITY.mean(axis=2).ravel())
    np.testing.assert_allclose(found.spread[:, 0], QUALITY.std(axis=2).ravel())


@pytest.mark.parametrize("words", [("A", "B", "C", "D"), ("0", "1", "2", "3"), ("[[1]]", "2", "3.0", "4")])
def test_judges_that_only_choose_the_best(tmp_path: Path, words: Sequence[str]) -> None:
    picks = [[0, 0, 1], [3, 3, 3], [2, 1, 2]]
    rows = {
        "item": [f"q{i}" for i in range(3) for _ in range(3)], "judge": ["x"] * 9, "sample": [0, 1, 2] * 3,
        "choice": [words[k] for row in picks for k in row],
    }  # fmt: skip
    loaded = load_judgements(write(tmp_path / "c.csv", rows))
    assert loaded.answers is not None
    shares = loaded.answers.mean[:, 0].reshape(3, 4)
    np.testing.assert_allclose(shares, [[row.count(k) / 3 for k in range(4)] for row in picks])
    assert any("best answer, by x; the answers of every item are" in note for note in loaded.notes)
    wide = {"item": ["q0", "q1"], "x": [words[0], words[3]], "y": ["", words[1]]}
    found = load_judgements(write(tmp_path / "w.csv", wide)).answers
    assert found is not None
    assert found.missing == {"x": 0, "y": 4}
    named = {"item": ["q0", "q1"], "judge": ["x"] * 2, "choice": ["llama", "phi"]}
    with pytest.raises(InputError, match=r"choice is 'llama', .* give a row for each answer"):
        load_judgements(write(tmp_path / "n.csv", named))


def test_numbered_columns_of_an_item_are_its_answers(tmp_path: Path) -> None:
    columns = {f"x_score_{a + 1}": QUALITY[:, a, 0] for a in range(4)}
    found = load_judgements(write(tmp_path / "i.csv", {"item": list(range(10)), **columns})).answers
    assert found is not None
    assert found.answers.to_list()[:4] == ["1", "2", "3", "4"]
    np.testing.assert_allclose(found.mean[:, 0], QUALITY[..., 0].ravel())


NAMES = st.lists(
    st.text(st.sampled_from("ab_12"), min_size=1, max_size=6), min_size=1, max_size=8, unique=True
)


@given(NAMES)
def test_every_column_belongs_to_one_judge(names: list[str]) -> None:
    folded = samples(names)
    assert sorted(one for own in folded.values() for one in own) == sorted(names)
    orders = both_orders(names)
    assert sorted(one for own in orders.values() for one, _ in own) == sorted(names)
    for known in (names, [*names, "else"]):
        assert samples(names, known) == {name: (name,) for name in names}
        assert both_orders(names, known) == {name: ((name, None),) for name in names}
    taken = [name for own in sided(names).values() for name in own.names]
    assert set(taken) <= set(names)


def test_a_sample_that_always_failed_is_still_one(tmp_path: Path) -> None:
    columns = {f"x_{s + 1}": [row[s] for row in EIGHT] for s in range(8)}
    columns["x_7"] = [""] * N
    loaded = load_judgements(write(tmp_path / "v.csv", {"id": IDS, **columns}))
    assert counts(loaded).sum(axis=1).tolist() == [7] * N
    columns = {"x": ABC, "x_swapped": [""] * N, "y": ABC, "y_swapped": ["True"] * N}
    found = read_judgements(write(tmp_path / "o.csv", {"id": IDS, **columns}))
    assert found.judges == ("x", "y")
    assert found.columns["x"].arrays()["unusable"][:, First.B].tolist() == [1] * N
    flat = {"item": [k for k in range(N) for _ in "pq"], "answer": ["p", "q"] * N}
    scores = {f"x_{s}": [""] * 2 * N if s == 2 else SCORES.ravel() for s in range(4)}
    answers = load_judgements(write(tmp_path / "a.csv", {**flat, **scores})).answers
    assert answers is not None
    assert answers.judges == ("x",)


def test_a_reward_models_rows_are_not_samples_of_one(tmp_path: Path) -> None:
    each = [(item, answer, model) for item in ("q0", "q1") for answer in "pq" for model in ("sky", "urm")]
    columns = {
        "prompt_id": [one for one, _, _ in each], "completion_id": [one for _, one, _ in each],
        "reward_model": [one for _, _, one in each], "reward": list(range(8)),
    }  # fmt: skip
    found = load_judgements(write(tmp_path / "r.csv", columns)).answers
    assert found is not None
    assert found.judges == ("sky", "urm")
    assert found.mean.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_lists_of_an_ids_scores_are_of_its_answers(tmp_path: Path) -> None:
    ids = [f"q{k}" for k in range(10)]
    long = {"id": ids, "prompt": ["why"] * 10, "judge": ["x"] * 10, "scores": QUALITY.tolist()}
    wide = {
        "id": ids,
        "prompt": ["why"] * 10,
        "responses": [["a", "b", "c", "d"]] * 10,
        "x": QUALITY[..., 0].tolist(),
    }
    for name, columns, depth in (("long", long, 8), ("wide", wide, 1)):
        found = load_judgements(write(tmp_path / f"{name}.jsonl", columns)).answers
        assert found is not None
        assert found.judges == ("x",)
        np.testing.assert_allclose(found.mean[:, 0], QUALITY[..., :depth].mean(axis=2).ravel())
    pairs = read_judgements(write(tmp_path / "pairs.jsonl", {"id": IDS, "x": SCORES.tolist()}))
    assert pairs.ids.to_list() == IDS
    np.testing.assert_allclose(pairs.columns["x"].margins[:, First.UNKNOWN], SCORES[:, 0] - SCORES[:, 1])
