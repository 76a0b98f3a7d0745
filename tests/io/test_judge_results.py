"""Result files of judge benchmarks: every game about the right answer, errors missing, costs kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arena_ensemble.errors import InputError
from arena_ensemble.io import read_judgements
from arena_ensemble.judgements import First, LogProbs


def _lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_mt_bench_names_the_winner_by_model(tmp_path: Path) -> None:
    rows = [
        {"question_id": 81, "model_1": "x", "model_2": "y", "g1_winner": one, "g2_winner": two,
         "judge": ["big", "pair-v2"], "g1_judgment": "…", "turn": turn}
        for turn, one, two in ((1, "model_1", "model_2"), (2, "tie", "error"))
    ]  # fmt: skip
    table = read_judgements(_lines(tmp_path / "pair.jsonl", rows))
    assert table.ids.to_list() == ["81|1|x|y", "81|2|x|y"]
    slots = table.columns["big"].slot_verdicts
    assert slots[:, First.A].tolist() == [0, 2]
    assert slots[:, First.B].tolist() == [1, -1]


def test_arena_hard_exchanges_the_second_game(tmp_path: Path) -> None:
    games = [{"score": "A>>B", "judgment": "…"}, {"score": "B>A", "judgment": "…"}]
    other = [{"score": "A=B"}, {"score": None}]
    rows = [
        {"question_id": name, "model": "mine", "judge": "big", "games": played}
        for name, played in (("q1", games), ("q2", other), ("q3", []))
    ]
    table = read_judgements(_lines(tmp_path / "mine.jsonl", rows))
    assert table.ids.to_list() == ["q1|mine", "q2|mine"]
    slots = table.columns["big"].slot_verdicts
    assert slots[:, First.A].tolist() == [0, 2]
    assert slots[:, First.B].tolist() == [0, -1]


def test_judgebench_takes_the_judge_of_the_files_name(tmp_path: Path) -> None:
    judged = [[{"decision": "A>B"}, {"decision": "A>B"}], [None, {"decision": "B>A"}]]
    rows = [
        {"pair_id": f"p{k}", "question": "?", "label": "A>B", "judge_name": "hard", "judgments": one}
        for k, one in enumerate(judged)
    ]
    table = read_judgements(_lines(tmp_path / "dataset=x,judge_model=small-1.2.jsonl", rows))
    slots = table.columns["hard/small-1.2"].slot_verdicts
    assert slots[:, First.A].tolist() == [0, -1]
    assert slots[:, First.B].tolist() == [1, 0]


@pytest.mark.parametrize("weighted", [False, True])
def test_alpaca_eval_prefers_from_one_to_two(tmp_path: Path, weighted: bool) -> None:
    preferences = [1.0, 1.5, 1.9 if weighted else 2.0, None]
    rows = [
        {"instruction": f"do {k}", "output_1": "a", "output_2": "b", "generator_1": "x", "generator_2": "y",
         "annotator": "big", "preference": value, "price_per_example": 0.02 * k}
        for k, value in enumerate(preferences)
    ]  # fmt: skip
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(rows))
    table = read_judgements(path)
    column = table.columns["big"]
    assert column.verdicts.tolist() == [0, 2, 1, -1]
    assert table.costs["big"] == pytest.approx(0.03)
    assert len(table.ids[0].split("|")[0]) == 16
    assert isinstance(column, LogProbs) == weighted
    if isinstance(column, LogProbs):
        assert np.exp(column.log_probs[2, First.UNKNOWN, 1]) == pytest.approx(0.9)


def test_alpaca_evals_old_zero_is_a_draw(tmp_path: Path) -> None:
    """As in its own win rates: 0 and 1.5 are draws, null was not read, other numbers are no preference."""
    path = tmp_path / "annotations.json"
    cases = (([1, 0, 2, 0.0, None, 7], [0, 2, 1, 2, -1, -1]), ([1.2, 0, 1.9], [0, 2, 1]))
    for preferences, verdicts in cases:
        rows = [
            {"instruction": f"do {k}", "output_1": "a", "output_2": "b", "generator_1": "x",
             "generator_2": "y", "annotator": "big", "preference": value}
            for k, value in enumerate(preferences)
        ]  # fmt: skip
        path.write_text(json.dumps(rows))
        assert read_judgements(path).columns["big"].verdicts.tolist() == verdicts


def test_costs_of_calls_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.csv"
    path.write_text("id,judge,verdict,cost\n1,x,model_a,2\n2,x,model_b,4\n1,y,tie,\n")
    assert read_judgements(path).costs == {"x": 3.0}
    path.write_text("id,judge,verdict,cost\n1,x,model_a,much\n")
    with pytest.raises(InputError, match="row 1: cost is 'much', expected a number"):
        read_judgements(path)
