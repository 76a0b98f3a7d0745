"""Result files that score answers, and formats by name: RewardBench 1, 2, Arena-Hard 2, MT-bench grades."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arena_ensemble.errors import InputError
from arena_ensemble.io import (
    RESULT_NAMES,
    load_judgements,
    read_best_votes,
    read_judgements,
    read_panel_votes,
)
from arena_ensemble.io.result_files import RESULTS
from arena_ensemble.judgements import First, Verdicts


def _json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value, indent=4, sort_keys=True))
    return path


def _lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


REWARDBENCH = {
    "id": [30, 31, 32],
    "subset": ["alpacaeval-easy", "alpacaeval-easy", "donotanswer"],
    "results": [1, 0, 1],
    "text_chosen": ["…"] * 3,
    "text_rejected": ["…"] * 3,
}
SCORED = {
    **REWARDBENCH,
    "scores_chosen": [[2.5], [0.5], [1.0]],
    "scores_rejected": [[1.0], [1.5], [-3.0]],
    "model": "lab/reward-7B",
    "model_type": "Seq. Classifier",
    "chat_template": "tulu",
}


def test_rewardbench_is_one_object_of_lists(tmp_path: Path) -> None:
    path = _json(tmp_path / "reward-7B.json", SCORED)
    loaded = load_judgements(path)
    assert loaded.answers is not None
    assert loaded.answers.judges == ("lab/reward-7B",)
    assert loaded.answers.mean[:, 0].tolist() == [2.5, 1.0, 0.5, 1.5, 1.0, -3.0]
    assert loaded.answers.answers.to_list() == ["chosen", "rejected"] * 3
    table = read_judgements(path)
    assert table.ids.to_list() == [f"{k}|chosen|rejected" for k in (30, 31, 32)]
    assert table.columns["lab/reward-7B"].verdicts.tolist() == [0, 1, 0]


def test_rewardbench_as_rows_takes_the_files_name_and_repeated_ids_their_subset(tmp_path: Path) -> None:
    rows = [
        {"id": k % 2, "subset": f"s{k // 2}", "results": 1, "scores_chosen": 1.0 * k, "scores_rejected": 0.5}
        for k in range(4)
    ]
    loaded = load_judgements(_lines(tmp_path / "mine.jsonl", rows))
    assert loaded.answers is not None
    assert loaded.answers.judges == ("mine",)
    assert loaded.answers.items.unique(maintain_order=True).to_list() == ["s0:0", "s0:1", "s1:0", "s1:1"]


def test_a_generative_judge_of_rewardbench_has_verdicts(tmp_path: Path) -> None:
    path = _json(tmp_path / "gpt.json", {**REWARDBENCH, "results": [1, 0.5, 0], "model": "openai/gpt"})
    column = read_judgements(path).columns["openai/gpt"]
    assert isinstance(column, Verdicts)
    assert column.verdicts.tolist() == [0, 2, 1]
    assert column.first.tolist() == [First.UNKNOWN] * 3


def test_the_right_answers_of_rewardbench_are_votes_of_both_sides(tmp_path: Path) -> None:
    many = {name: value * 20 if isinstance(value, list) else value for name, value in SCORED.items()}
    many["id"] = list(range(60))
    path = _json(tmp_path / "r.json", many)
    votes = read_panel_votes(path)
    assert set(votes.majority.tolist()) == {0, 1}
    for name, code in zip(votes.ids.to_list(), votes.majority.tolist(), strict=True):
        assert name.split("|")[1 + code] == "chosen"
    judged = read_judgements(path).aligned_to(votes.ids).columns["lab/reward-7B"].verdicts
    right = np.tile([True, False, True], 20)
    np.testing.assert_array_equal(judged == votes.majority, right)
    best = read_best_votes(path)
    assert best is not None
    assert best.shares["7"] == {"chosen": 1.0}


TWO = {
    "id": ["0", "ref:1", "tied:1"],
    "subset": ["Math", "Ties", "Ties"],
    "scores": [[[0.9], [0.1], [0.3], [0.2]], [[1.0], [-2.0]], [[1.0], [2.0], [-1.0]]],
    "num_correct": [1, 1, 2],
    "results": [1.0, None, None],
    "text": [["…"] * 4, ["…"] * 2, ["…"] * 3],
    "model": "lab/reward",
    "model_type": "Seq. Classifier",
    "chat_template": "tokenizer",
}


def test_rewardbench_2_has_lists_of_scores_the_correct_ones_first(tmp_path: Path) -> None:
    path = _json(tmp_path / "two.json", TWO)
    answers = load_judgements(path).answers
    assert answers is not None
    assert answers.items.to_list() == ["0"] * 4 + ["ref:1"] * 2 + ["tied:1"] * 3
    assert answers.mean[:, 0].tolist() == [0.9, 0.1, 0.3, 0.2, 1.0, -2.0, 1.0, 2.0, -1.0]
    best = read_best_votes(path)
    assert best is not None
    assert best.shares == {"0": {"0": 1.0}, "ref:1": {"0": 1.0}, "tied:1": {"0": 0.5, "1": 0.5}}
    votes = read_panel_votes(path)
    found = dict(zip(votes.ids.to_list(), votes.majority.tolist(), strict=True))
    assert len(found) == 3 + 1 + 3
    assert {found.get("tied:1|0|1"), found.get("tied:1|1|0")} == {2, None}


def test_grades_that_were_not_found_are_missing_and_choices_among_four_refused(tmp_path: Path) -> None:
    rated = {**TWO, "scores": [[9, -1, 4, 3], [8, 2], [7, 7, -1]]}
    answers = load_judgements(_json(tmp_path / "rated.json", rated)).answers
    assert answers is not None
    assert answers.missing == {"lab/reward": 2}
    with pytest.raises(InputError, match="take its ratings"):
        load_judgements(_json(tmp_path / "four.json", {**TWO, "scores": [None] * 3}))
    with pytest.raises(InputError, match="no lists of one length; the file is cut off"):
        load_judgements(_json(tmp_path / "short.json", {**TWO, "scores": TWO["scores"][:2]}))


def test_arena_hard_2_names_its_baseline(tmp_path: Path) -> None:
    games = [{"score": "A>>B", "judgment": {"answer": "…"}}, {"score": "A=B"}]
    rows = [
        {"uid": "q1", "category": "hard_prompt", "judge": "big", "model": "mine", "baseline": "o3-mini",
         "games": played}
        for played in (games,)
    ] + [{"uid": "q2", "category": "creative_writing", "judge": "big", "model": "mine", "baseline": "g",
          "games": [None, {"score": "A>B"}]}]  # fmt: skip
    table = read_judgements(_lines(tmp_path / "mine.jsonl", rows))
    assert table.ids.to_list() == ["q1|o3-mini|mine", "q2|g|mine"]
    slots = table.columns["big"].slot_verdicts
    assert slots[:, First.A].tolist() == [0, -1]
    assert slots[:, First.B].tolist() == [2, 1]


def test_grades_of_mt_bench_meet_its_pairs(tmp_path: Path) -> None:
    single = [
        {"question_id": 81, "model": model, "judge": ["big", "single-v1"], "score": score, "turn": turn,
         "user_prompt": "…", "judgment": "Rating: [[…]]", "tstamp": 1.0}
        for turn in (1, 2) for model, score in (("x", 9.0), ("y", -1 if turn == 2 else 4.0), ("z", 9.0))
    ]  # fmt: skip
    pairs = [
        {"question_id": 81, "model_1": "y", "model_2": "x", "g1_winner": "model_2", "g2_winner": "model_2",
         "judge": ["other", "pair-v2"], "turn": 1}
    ]  # fmt: skip
    table = read_judgements(_lines(tmp_path / "s.jsonl", single), _lines(tmp_path / "p.jsonl", pairs))
    assert table.ids.to_list() == [f"81|{t}|{a}|{b}" for t in (1, 2) for a, b in ("xy", "xz", "yz")]
    assert table.columns["big"].verdicts.tolist() == [0, 2, 1, -1, 2, -1]
    assert table.columns["other"].verdicts.tolist() == [0, -1, -1, -1, -1, -1]


def test_labels_of_judgebench_are_votes(tmp_path: Path) -> None:
    rows = [
        {"pair_id": f"p{k}", "judge_name": "hard", "label": label, "judgments": []}
        for k, label in enumerate(("A>B", "B>A"))
    ]
    votes = read_panel_votes(_lines(tmp_path / "j.jsonl", rows))
    assert votes.majority.tolist() == [0, 1]


def test_a_format_may_be_named(tmp_path: Path) -> None:
    assert tuple(RESULTS) == RESULT_NAMES
    path = _json(tmp_path / "r.json", SCORED)
    assert read_judgements(path, format="rewardbench").judges == ("lab/reward-7B",)
    with pytest.raises(
        InputError, match="lacks uid, baseline, judge, games, which a file of arena-hard-2 has"
    ):
        read_judgements(path, format="arena-hard-2")
    with pytest.raises(InputError, match="none of a result file; name one of alpacaeval"):
        read_judgements(path, format="kaggle")


def test_ids_that_subsets_share_are_different_items_and_no_right_answer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rm.jsonl"

    def write(*rows: dict[str, object]) -> None:
        path.write_text("".join(json.dumps({"results": 1, "num_correct": 1, **row}) + "\n" for row in rows))

    write(
        {"id": "1", "subset": "Math", "scores": [0.5, 0.2]},
        {"id": "1", "subset": "Focus", "scores": [0.1, 0.8]},
        {"id": "ref:0", "subset": "Ties", "scores": [0.3, 0.4]},
    )
    found = load_judgements(path).answers
    assert found is not None
    assert found.items.to_list() == ["Math:1", "Math:1", "Focus:1", "Focus:1", "ref:0", "ref:0"]
    assert found.mean[:, 0].tolist() == [0.5, 0.2, 0.1, 0.8, 0.3, 0.4]
    votes = read_best_votes(path)
    assert votes is not None
    assert set(votes.shares) == {"Math:1", "Focus:1", "ref:0"}
    for count in (0, None):
        write({"id": "7", "subset": "Math", "scores": [0.5, 0.2], "num_correct": count})
        with pytest.raises(InputError, match=r"\(id 7\): num_correct is .*expected 1 or more; leave"):
            read_best_votes(path)
