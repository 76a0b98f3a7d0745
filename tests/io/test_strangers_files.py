"""Files of judges as strangers write them: read as they were meant, or refused with a way to mend them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.errors import InputError
from arena_ensemble.io.judge_cells import from_logs, label_masses, listed, spread_out
from arena_ensemble.io.judgements import LoadedJudgements, load_judgements, read_judgements
from arena_ensemble.io.wide_columns import both_orders, samples, sided
from arena_ensemble.judgements import First, KnownJudge

N = 40
RNG = np.random.default_rng(0)
PROBS = RNG.dirichlet([2, 2, 1], N)
SCORES = RNG.normal(size=(N, 2))
CODES = RNG.integers(0, 3, N)
IDS = [f"p{k}" for k in range(N)]
ABC = [("A", "B", "C")[code] for code in CODES]


def write(path: Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    frame = pl.DataFrame(dict(columns))
    if path.suffix == ".csv":
        frame.write_csv(path)
    elif path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        path.write_text("\n".join(map(json.dumps, rows)))
    return path


def probabilities(path: Path, judge: str, first: First = First.A) -> Any:
    column = read_judgements(path).columns[judge]
    assert column.kind == "log_probs"
    return np.exp(column.arrays()["log_probs"][:, first])


@pytest.mark.parametrize(
    "columns",
    [
        {"gpt-4o_a": 0, "gpt-4o_b": 1, "gpt-4o_tie": 2},
        {"gpt-4o_A": 0, "gpt-4o_B": 1, "gpt-4o_C": 2},
        {"gpt-4o_prob_a": 0, "gpt-4o_prob_b": 1, "gpt-4o_prob_tie": 2},
        {"gpt-4o_p_A": 0, "gpt-4o_p_B": 1, "gpt-4o_p_C": 2},
        {"p_a_gpt-4o": 0, "p_b_gpt-4o": 1, "p_tie_gpt-4o": 2},
        {"prob_tie_gpt-4o": 2, "prob_a_gpt-4o": 0, "prob_b_gpt-4o": 1},
    ],
    ids=lambda columns: next(iter(columns)),
)
@pytest.mark.parametrize("written", ["plain", "percent"])
def test_label_probabilities_under_any_usual_name(
    tmp_path: Path, columns: Mapping[str, int], written: str
) -> None:
    values = PROBS if written == "plain" else (100 * PROBS).round(1)
    path = write(tmp_path / "p.csv", {"id": IDS, **{name: values[:, k] for name, k in columns.items()}})
    np.testing.assert_allclose(probabilities(path, "gpt-4o"), PROBS, atol=2e-3)


@pytest.mark.parametrize(
    "names", [("p_A", "p_B", "p_C"), ("prob_a", "prob_b", "prob_tie"), ("pA", "pB", "pTie")]
)
def test_label_probabilities_beside_a_judge(tmp_path: Path, names: Sequence[str]) -> None:
    values = {name: PROBS[:, k] for k, name in enumerate(names)}
    path = write(
        tmp_path / "p.jsonl", {"id": IDS, "judge": ["x"] * N, **{n: v.tolist() for n, v in values.items()}}
    )
    np.testing.assert_allclose(probabilities(path, "x"), PROBS, atol=1e-9)


@pytest.mark.parametrize("lost", [0.0, 0.7])
def test_log_probabilities_of_labels_are_scaled_to_one(tmp_path: Path, lost: float) -> None:
    """Other words take the rest of a language model's probability."""
    logs = np.log(PROBS) - lost
    wide = {f"x_logprob_{side}": logs[:, k] for k, side in enumerate("ABC")}
    np.testing.assert_allclose(probabilities(write(tmp_path / "w.csv", {"id": IDS, **wide}), "x"), PROBS)
    long = {f"logp_{side}": logs[:, k] for k, side in enumerate(("a", "b", "tie"))}
    path = write(tmp_path / "l.csv", {"id": IDS, "judge": ["x"] * N, **long})
    np.testing.assert_allclose(probabilities(path, "x"), PROBS)


@pytest.mark.parametrize("kind", [".jsonl", ".parquet"])
@pytest.mark.parametrize("logs", [False, True])
def test_an_object_of_probabilities_by_label(tmp_path: Path, kind: str, logs: bool) -> None:
    cells = [dict(zip("ABC", np.log(row) if logs else row, strict=True)) for row in PROBS]
    plain = [{key: float(value) for key, value in cell.items()} for cell in cells]
    for name, columns in {
        "wide": {"id": IDS, "x": plain},
        "long": {"id": IDS, "judge": ["x"] * N, "probs": plain},
    }.items():
        np.testing.assert_allclose(probabilities(write(tmp_path / f"{name}{kind}", columns), "x"), PROBS)


def test_the_probability_of_a_alone_is_enough_and_said(tmp_path: Path) -> None:
    share = PROBS[:, 0]
    path = write(tmp_path / "one.csv", {"id": IDS, "x_prob_a": share})
    np.testing.assert_allclose(probabilities(path, "x"), np.column_stack([share, 1 - share, 0 * share]))
    assert any("P(A) alone is given" in note for note in load_judgements(path).notes)


@pytest.mark.parametrize(
    "names", [("x_score_a", "x_score_b"), ("x:score_a", "x:score_b"), ("x_reward_a", "x_reward_b"),
              ("score_a_x", "score_b_x"), ("x_rating_1", "x_rating_2"), ("reward_a_x", "reward_b_x")]
)  # fmt: skip
def test_scores_under_any_usual_name(tmp_path: Path, names: tuple[str, str]) -> None:
    path = write(tmp_path / "s.csv", {"id": IDS, names[0]: SCORES[:, 0], names[1]: SCORES[:, 1]})
    column = read_judgements(path).columns["x"]
    np.testing.assert_allclose(column.margins[:, First.UNKNOWN], SCORES[:, 0] - SCORES[:, 1])


def test_scores_with_gaps_and_lists_of_samples(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text('id,judge,reward_a,reward_b\n1,x,NaN,2\n2,x,"[1, 3]",0\n3,x,,\n')
    column = read_judgements(path).columns["x"]
    assert column.missing.tolist() == [True, False, True]
    assert column.arrays()["mean"][1, First.UNKNOWN].tolist() == [2, 0]
    assert column.arrays()["spread"][1, First.UNKNOWN].tolist() == [1, 0]


def test_a_row_an_answer_of_a_pair(tmp_path: Path) -> None:
    path = write(
        tmp_path / "sides.csv",
        {"id": [k for k in range(N) for _ in "ab"], "side": ["a", "b"] * N, "x": SCORES.ravel()},
    )
    found = read_judgements(path)
    assert found.ids.to_list() == list(range(N))
    np.testing.assert_allclose(found.columns["x"].margins[:, First.UNKNOWN], SCORES[:, 0] - SCORES[:, 1])


EIGHT = [[("A", "B", "tie")[code] for code in row] for row in RNG.integers(0, 3, (N, 8))]


def counts(loaded: LoadedJudgements) -> Any:
    assert loaded.judgements is not None
    assert loaded.judgements.judges == ("x",)
    return loaded.judgements.columns["x"].arrays()["counts"][:, First.A]


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


SECOND = [ABC[(k + 1) % N] if k % 5 == 0 else word for k, word in enumerate(ABC)]
"""with B first a fifth of the verdicts are others"""


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


QUALITY = RNG.normal(size=(10, 4, 8)).round(3)


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


@given(st.lists(st.floats(-30, 0), min_size=3, max_size=3), st.floats(-5, 5))
def test_logarithms_are_scaled_whatever_is_lost(logs: list[float], shift: float) -> None:
    one, two = from_logs(logs), from_logs([value + shift for value in logs])
    assert sum(one) == pytest.approx(1)
    np.testing.assert_allclose(one, two, rtol=1e-6)
    masses = label_masses({"A": logs[0], " A": logs[0], "B": logs[1], "tie": logs[2] - 1e-9, "because": -1.0})
    assert masses is not None
    doubled = np.exp(logs) * [2, 1, 1]
    np.testing.assert_allclose(masses, doubled / doubled.sum(), rtol=1e-5)


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


def test_margins(tmp_path: Path) -> None:
    margin = SCORES[:, 0]
    for name, columns in {
        "wide": {"x_margin": margin}, "before": {"margin_x": margin},
        "long": {"judge": ["x"] * N, "margin": margin}, "diff": {"judge": ["x"] * N, "score_diff": margin},
    }.items():  # fmt: skip
        found = read_judgements(write(tmp_path / f"{name}.csv", {"id": IDS, **columns})).columns["x"]
        assert found.kind == "scores"
        np.testing.assert_allclose(found.margins[:, First.UNKNOWN], margin)


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


def test_logits_are_scaled_like_logarithms(tmp_path: Path) -> None:
    columns = {f"x_logit_{side}": np.log(PROBS[:, k]) + 3 for k, side in enumerate("ABC")}
    np.testing.assert_allclose(probabilities(write(tmp_path / "w.csv", {"id": IDS, **columns}), "x"), PROBS)


def test_shares_and_whole_answers(tmp_path: Path) -> None:
    shares = write(tmp_path / "s.csv", {"id": IDS, "x": [(1.0, 0.0, 0.5)[code] for code in CODES]})
    for numbers in (None, "120", "012"):
        with pytest.raises(InputError, match=r"are shares, 0, 0.5 and 1, .* write model_a, tie, model_b"):
            read_judgements(shares, numbers=numbers)
    columns = {"id": IDS, "judge": ["x"] * N, "raw_output": [f"I think so. [[{word}]]" for word in ABC]}
    loaded = load_judgements(write(tmp_path / "o.csv", columns))
    assert loaded.judgements is not None
    assert loaded.judgements.columns["x"].verdicts.tolist() == CODES.tolist()
    assert "verdicts are read from the texts of raw_output" in loaded.notes


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
