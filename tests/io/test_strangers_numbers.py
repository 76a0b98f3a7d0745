"""Strangers' probabilities, logarithms, scores and margins are read as they were meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.errors import InputError
from arena_ensemble.io.judge_cells import from_logs, label_masses
from arena_ensemble.io.judgements import load_judgements, read_judgements
from arena_ensemble.judgements import First
from tests.helpers.strangers import (
    ABC,
    CODES,
    IDS,
    PROBS,
    SCORES,
    N,
    probabilities,
    write,
)


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


@given(st.lists(st.floats(-30, 0), min_size=3, max_size=3), st.floats(-5, 5))
def test_logarithms_are_scaled_whatever_is_lost(logs: list[float], shift: float) -> None:
    one, two = from_logs(logs), from_logs([value + shift for value in logs])
    assert sum(one) == pytest.approx(1)
    np.testing.assert_allclose(one, two, rtol=1e-6)
    masses = label_masses({"A": logs[0], " A": logs[0], "B": logs[1], "tie": logs[2] - 1e-9, "because": -1.0})
    assert masses is not None
    doubled = np.exp(logs) * [2, 1, 1]
    np.testing.assert_allclose(masses, doubled / doubled.sum(), rtol=1e-5)


def test_margins(tmp_path: Path) -> None:
    margin = SCORES[:, 0]
    for name, columns in {
        "wide": {"x_margin": margin}, "before": {"margin_x": margin},
        "long": {"judge": ["x"] * N, "margin": margin}, "diff": {"judge": ["x"] * N, "score_diff": margin},
    }.items():  # fmt: skip
        found = read_judgements(write(tmp_path / f"{name}.csv", {"id": IDS, **columns})).columns["x"]
        assert found.kind == "scores"
        np.testing.assert_allclose(found.margins[:, First.UNKNOWN], margin)


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
