"""Cases 18 and 20: one reader of votes for every road, rows without a vote, votes that contradict each "
"other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from data_files import KAGGLE, Rows, csv_text, hot, jsonl_text

from arena_ensemble.errors import InputError
from arena_ensemble.io import load_battles, read_battles, read_labels

WANTED = [0, 1, 2, 1, 0, 2, 2, 1, 0]
WORDS = ("model_a", "model_b", "tie")
HOT = ("winner_model_a", "winner_model_b", "winner_tie")


def one_hot(values: tuple[Any, Any], outcome: int) -> dict[str, Any]:
    return {name: values[k == outcome] for k, name in enumerate(HOT)}


SPELLINGS: dict[str, list[dict[str, Any]]] = {
    "0 and 1": [one_hot((0, 1), y) for y in WANTED],
    "0.0 and 1.0": [one_hot((0.0, 1.0), y) for y in WANTED],
    "booleans": [one_hot((False, True), y) for y in WANTED],
    "booleans as text": [one_hot(("FALSE", "TRUE"), y) for y in WANTED],
    "winner": [{"winner": WORDS[y]} for y in WANTED],
    "winner, other spellings": [{"winner": (" Model_A", "MODEL B", "tie (bothbad)")[y]} for y in WANTED],
    "winner, letters": [{"winner": ("A", "b", "both_bad")[y]} for y in WANTED],
    "winner, draw": [{"Winner": ("response_a", "response_b", "draw")[y]} for y in WANTED],
    "label": [{"label": y} for y in WANTED],
    "labels": [{"labels": y} for y in WANTED],
    "label, whole floats": [{"label": float(y)} for y in WANTED],
    "label, words": [{"label": WORDS[y]} for y in WANTED],
    "Outcome": [{"Outcome": str(y)} for y in WANTED],
    "two that agree": [{"winner": WORDS[y], "label": y} for y in WANTED],
    "a quality label beside": [{"winner": WORDS[y], "label": "good"} for y in WANTED],
}


def as_battles(votes: list[dict[str, Any]], *, plain: bool = True) -> Rows:
    cells = ("q", "a", "b") if plain else (["q"], ["a"], ["b"])
    shown = dict(zip(("prompt", "response_a", "response_b"), cells, strict=True))
    return [{"id": k, **shown, **vote} for k, vote in enumerate(votes)]


def as_talks(votes: list[dict[str, Any]]) -> Rows:
    def talk(answer: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": "q"}, {"role": "assistant", "content": answer}]

    return [
        {"question_id": k, "conversation_a": talk("a"), "conversation_b": talk("b"), **vote}
        for k, vote in enumerate(votes)
    ]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("name", SPELLINGS)
def test_every_road_reads_the_same_votes(name: str, kind: str, tmp_path: Path) -> None:
    votes = SPELLINGS[name]
    for rows in (as_battles(votes), as_battles(votes, plain=False), as_talks(votes)):
        assert read_battles(written(tmp_path, rows, kind)).frame["outcome"].to_list() == WANTED
    labels = [{"id": k, **vote} for k, vote in enumerate(votes)]
    assert read_labels(written(tmp_path, labels, kind))["outcome"].to_list() == WANTED


def written(folder: Path, rows: Rows, kind: str = "csv") -> Path:
    path = folder / f"x.{kind}"
    if kind == "parquet":
        pl.DataFrame(rows).write_parquet(path)
    else:
        path.write_text(csv_text(rows) if kind == "csv" else jsonl_text(rows))
    return path


def test_the_name_of_the_model_that_won(tmp_path: Path) -> None:
    models = {"model_a": "gpt-4", "model_b": "llama"}
    rows = as_battles([{**models, "winner": ("gpt-4", "llama", "tie")[y]} for y in WANTED])
    for kind in ("csv", "jsonl", "parquet"):
        assert read_battles(written(tmp_path, rows, kind)).frame["outcome"].to_list() == WANTED
    same = [{**row, "model_b": "gpt-4"} for row in rows]
    with pytest.raises(InputError, match=r"winner is 'gpt-4', expected model_a, model_b or a kind of tie"):
        read_battles(written(tmp_path, same))
    odd = as_battles([{**models, "model_a": "tie", "winner": "tie"}] * 3)
    assert read_battles(written(tmp_path, odd)).frame["outcome"].to_list() == [
        2,
        2,
        2,
    ]  # the word counts first


# ---- rows without a vote

EMPTY: dict[str, list[dict[str, Any]]] = {
    "winner": [{"winner": ""}, {"winner": None}, {"winner": "NaN"}, {"winner": float("nan")}],
    "label": [{"label": ""}, {"label": None}, {"label": "nan"}, {"label": float("nan")}],
    "one-hot": [one_hot((cell, cell), 0) for cell in ("", None, "NaN", float("nan"))],
}


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("name", EMPTY)
def test_rows_without_a_vote_are_counted_and_can_be_left_out(name: str, kind: str, tmp_path: Path) -> None:
    voted = {"winner": "winner", "label": "label", "one-hot": "0 and 1"}[name]
    votes = SPELLINGS[voted] + EMPTY[name] + SPELLINGS[voted]
    path = written(tmp_path, as_battles(votes), kind)
    message = r"4 of 22 rows without a vote, the first in row 10 \(id 9\).* --skip-unvoted"
    with pytest.raises(InputError, match=message):
        read_battles(path, need_outcomes=True)
    with pytest.raises(InputError, match=message):
        read_battles(path, need_votes=True)
    loaded = load_battles(path, need_outcomes=True, skip_unvoted=True)
    assert loaded.battles.frame["outcome"].to_list() == WANTED + WANTED
    assert loaded.battles.ids.to_list() == [*range(9), *range(13, 22)]
    assert any("left out: 4 of 22 rows" in note for note in loaded.report.notes)
    seen = load_battles(path)
    assert len(seen.battles) == 22
    assert any("4 rows have no outcome" in note for note in seen.report.notes)
    labels = written(tmp_path, [{"id": k, **vote} for k, vote in enumerate(votes)], kind)
    with pytest.raises(InputError, match=message):
        read_labels(labels)
    assert read_labels(labels, skip_unvoted=True)["outcome"].to_list() == WANTED + WANTED


def test_a_file_of_which_no_row_has_a_vote_is_a_test_file(tmp_path: Path) -> None:
    rows = as_battles([{"winner": None}] * 5)
    assert read_battles(written(tmp_path, rows, "jsonl")).frame["outcome"].null_count() == 5
    with pytest.raises(InputError, match="holds no outcomes"):
        read_battles(written(tmp_path, rows), need_outcomes=True)
    with pytest.raises(InputError, match="not one of 5 rows has a vote"):
        read_labels(written(tmp_path, [{"id": k, "label": ""} for k in range(5)]))


def test_votes_are_needed_but_one_kind_will_do(tmp_path: Path) -> None:
    path = written(tmp_path, as_battles([{"winner": "model_a"}] * 5))
    assert len(read_battles(path, need_votes=True)) == 5
    with pytest.raises(InputError, match="one outcome only"):
        read_battles(path, need_outcomes=True)


def test_some_of_three_cells_empty_is_no_missing_vote(tmp_path: Path) -> None:
    rows = [{**row} for row in KAGGLE]
    rows[1]["winner_tie"] = ""
    with pytest.raises(InputError, match=r"row 2 \(id 7\): winner_tie is empty, expected 0 or 1"):
        read_battles(written(tmp_path, rows))


# ---- a tie flag beside pairs


@pytest.mark.parametrize("name", ["tie", "is_tie", "Tie", "winner_tie"])
@pytest.mark.parametrize("values", [(0, 1), ("False", "True"), (0.0, 1.0), (None, True)])
def test_pairs_with_a_tie_flag(name: str, values: tuple[Any, Any], tmp_path: Path) -> None:
    rows = [{"prompt": f"q{k}", "chosen": "good", "rejected": "bad", name: values[k % 2]} for k in range(12)]
    for kind in ("csv", "jsonl"):
        loaded = load_battles(written(tmp_path, rows, kind))
        outcomes = loaded.battles.frame["outcome"].to_list()
        assert outcomes[1::2] == [2] * 6
        assert 2 not in outcomes[::2]
        assert loaded.n_classes == 3


def test_pairs_with_a_winner(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"q{k}", "chosen": "good", "rejected": "bad", "winner": WORDS[k % 3]} for k in range(12)
    ]
    loaded = load_battles(written(tmp_path, rows))
    assert loaded.battles.frame["outcome"].to_list() == [0, 1, 2] * 4
    assert loaded.battles.frame["response_a"].to_list()[:2] == [["good"], ["bad"]]


def test_pairs_with_another_winner_column(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{k}", "chosen": "good", "rejected": "bad", "winner": "gpt-4"} for k in range(12)]
    assert set(read_battles(written(tmp_path, rows)).frame["outcome"].to_list()) == {0, 1}


def test_a_flag_that_is_no_flag_is_refused(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "chosen": "good", "rejected": "bad", "tie": "perhaps"}]
    with pytest.raises(InputError, match="tie is 'perhaps', expected 0 or 1"):
        read_battles(written(tmp_path, rows))


# ---- votes that contradict each other, or are counted otherwise


def test_two_places_that_disagree_are_refused(tmp_path: Path) -> None:
    votes = [{**hot(y), "winner": WORDS[y]} for y in WANTED]
    votes[4]["winner"] = votes[5]["winner"] = "model_b"
    path = written(tmp_path, as_battles(votes))
    message = r"holds votes twice.* disagree in 2 rows, first in row 5 \(id 4\): A and B; .*--format kaggle"
    with pytest.raises(InputError, match=message):
        read_battles(path)
    assert read_battles(path, format="kaggle").frame["outcome"].to_list() == WANTED
    assert read_battles(path, format="wsdm").frame["outcome"].to_list()[4:6] == [1, 1]
    with pytest.raises(InputError, match="holds votes twice"):
        read_labels(written(tmp_path, [{"id": k, **vote} for k, vote in enumerate(votes)]))


@pytest.mark.parametrize("values", [[1, 2] * 6, ["1.0", "2.0"] * 6])
def test_labels_counted_from_one_are_refused(values: list[Any], tmp_path: Path) -> None:
    votes = [{"label": value} for value in values]
    with pytest.raises(InputError, match="12 votes: they seem to be counted from 1; write 0 for A"):
        read_battles(written(tmp_path, as_battles(votes)))
    with pytest.raises(InputError, match="counted from 1"):
        read_labels(written(tmp_path, [{"id": k, **vote} for k, vote in enumerate(votes)]))


@pytest.mark.parametrize(("name", "value"), [
    ("label", 3), ("label", -1), ("label", 0.5), ("label", True),
    ("labels", "1e0x"), ("winner", 1), ("winner", "gpt-4"),
])  # fmt: skip
def test_other_votes_are_refused_with_what_is_expected(name: str, value: Any, tmp_path: Path) -> None:
    rows = as_battles([{name: value}] * 3)
    with pytest.raises(
        InputError, match=rf"3 of 3 rows .*{name} is .*expected .*model_a.* write one of these"
    ):
        read_battles(written(tmp_path, rows, "jsonl"))


def test_a_column_winner_may_not_hold_numbers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="numbers 0 A, 1 B, 2 tie in a column label"):
        read_labels(written(tmp_path, [{"id": k, "winner": k % 3} for k in range(6)]))
