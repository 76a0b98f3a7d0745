"""Columns beside a judge's: what is about the row, its texts or its votes takes no judge's place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from arena_ensemble.errors import InputError
from arena_ensemble.io.judgements import LoadedJudgements, load_judgements
from arena_ensemble.judgements import First, KnownJudge, LogProbs, Scores

N = 30
IDS = list(range(N))
WORDS = ["model_a", "model_b", "tie"] * 10
OTHERS = ["model_b", "model_a", "model_a"] * 10
SHARES = [round(0.05 + 0.03 * k, 2) for k in IDS]
PEOPLE = ["anna", "bert", "carla"] * 10
GPT = {"id": IDS, "gpt": WORDS}


def load(
    folder: Path, columns: Mapping[str, Sequence[Any]], known: Sequence[str] = (), name: str = "judged"
) -> LoadedJudgements:
    path = folder / f"{name}.jsonl"
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return load_judgements(path, known=known)


def judges(loaded: LoadedJudgements) -> tuple[str, ...]:
    assert loaded.judgements is not None
    return loaded.judgements.judges


@pytest.mark.parametrize("column", ["evaluator", "llm", "grader", "scorer"])
@pytest.mark.parametrize("truth", [True, False])
def test_a_name_in_each_row_takes_no_place_from_columns_of_judges(
    tmp_path: Path, column: str, truth: bool
) -> None:
    votes = {"winner": OTHERS} if truth else {}
    sided = {"rm_score_a": SHARES, "rm_score_b": SHARES[::-1]}
    for own, expected in (({"gpt": WORDS}, ("gpt",)), (sided, ("rm",))):
        assert judges(load(tmp_path, {"id": IDS, column: PEOPLE, **own, **votes})) == expected


def test_it_names_the_judge_where_rows_have_one_verdict(tmp_path: Path) -> None:
    long = {"id": [k // 2 for k in IDS], "llm": ["x", "y"] * 15, "verdict": WORDS, "retries": [0, 1, 2] * 10}
    assert judges(load(tmp_path, long)) == ("x", "y")
    assert judges(load(tmp_path, {"id": IDS, "grader": ["x"] * N, "verdict": WORDS})) == ("x",)


def test_the_llm_of_an_answer_wrote_it_unless_answers_repeat(tmp_path: Path) -> None:
    items, answers = [k // 2 for k in IDS], ["p", "q"] * 15
    one = load(tmp_path, {"item": items, "answer": answers, "llm": ["x", "y"] * 15, "rating": SHARES})
    assert one.answers is not None
    assert one.answers.missing == {"rating": 0}
    items, answers = [k // 4 for k in range(28)], ["p", "p", "q", "q"] * 7
    both = load(tmp_path, {"item": items, "answer": answers, "llm": ["x", "y"] * 14, "rating": SHARES[:28]})
    assert both.answers is not None
    assert both.answers.missing == {"x": 0, "y": 0}


@pytest.mark.parametrize("lists", [[0.1, 0.5, 0.7], [120, 33], [[1.0], [2.0]]])
def test_lists_beside_columns_of_judges_are_left_alone(tmp_path: Path, lists: list[Any]) -> None:
    loaded = load(tmp_path, {**GPT, "embedding": [lists] * N})
    assert judges(loaded) == ("gpt",)
    assert len(loaded.as_pairs()) == N
    sided = {"id": IDS, "rm_score_a": SHARES, "rm_score_b": SHARES[::-1], "embedding": [lists] * N}
    assert judges(load(tmp_path, sided)) == ("rm",)


@pytest.mark.parametrize(
    "columns",
    [("margin",), ("prob_a",), ("p_a",), ("a", "b"), ("A", "B"), ("score_diff",)],
)
def test_numbers_without_a_judges_name_are_a_judge_only_alone(
    tmp_path: Path, columns: tuple[str, ...]
) -> None:
    values = [SHARES, [1 - one for one in SHARES]]
    numbers = dict(zip(columns, values, strict=False))
    beside = load(tmp_path, {**GPT, **numbers})
    assert judges(beside) == ("gpt",)
    assert any("beside columns of judges" in note and columns[0] in note for note in beside.notes)
    assert judges(load(tmp_path, {"id": IDS, **numbers})) == ("judged",)
    assert set(judges(load(tmp_path, {**GPT, **numbers}, known=("gpt", "judged")))) == {"gpt", "judged"}
    digits = {name: [0, 1, 2] * 10 for name in columns}  # that could be verdicts
    sided = {"rm_prob_a": SHARES, "rm_prob_b": [1 - one for one in SHARES]}
    if len(columns) == 1:
        assert judges(load(tmp_path, {"id": IDS, **sided, **digits})) == ("rm",)
    silent = {"id": IDS, "gpt": [None] * N, **numbers}  # the panel's judge, which failed throughout
    assert judges(load(tmp_path, silent, known=("gpt",))) == ("gpt",)


@pytest.mark.parametrize(
    "column",
    ["vote_margin", "votes_margin", "human_margin", "expert_score_diff", "length_margin", "elo_margin",
     "margin_of_victory", "human_winner_a", "is_winner_a", "model_winner_a", "human_prob_a", "top_p_1"],
)  # fmt: skip
def test_numbers_of_people_votes_and_facts_are_no_judges(tmp_path: Path, column: str) -> None:
    assert judges(load(tmp_path, {**GPT, column: SHARES})) == ("gpt",)


def test_a_margin_is_not_called_a_probability(tmp_path: Path) -> None:
    loaded = load(tmp_path, {"id": IDS, "rm_margin": [one - 0.5 for one in SHARES]})
    assert loaded.notes == ()
    alone = load(tmp_path, {"id": IDS, "rm_prob_a": SHARES})
    assert any("P(A) alone" in note for note in alone.notes)


@pytest.mark.parametrize(
    ("stem", "word"), [("gpt", "winner_model"), ("gpt", "prob_response"), ("m", "p_answer")]
)
def test_probabilities_may_be_named_like_kaggles(tmp_path: Path, stem: str, word: str) -> None:
    half = [one / 2 for one in SHARES]
    rest = [1 - one for one in SHARES]
    tie = "gpt_winner_tie" if word == "winner_model" else f"{stem}_{word.partition('_')[0]}_tie"
    columns = {"id": IDS, f"{stem}_{word}_b": half, f"{stem}_{word}_a": rest, tie: half}
    loaded = load(tmp_path, columns)
    assert judges(loaded) == (stem,)
    column = loaded.as_pairs().columns[stem]
    assert isinstance(column, LogProbs)
    found = np.nanmax(np.exp(column.log_probs), axis=1)
    np.testing.assert_allclose(found, np.column_stack([rest, half, half]))
    two = {"id": IDS, f"{stem}_{word}_a": SHARES, f"{stem}_{word}_b": rest}
    assert judges(load(tmp_path, two)) == (stem,)
    assert judges(load(tmp_path, two, known=(f"{stem}_{word}",))) == (f"{stem}_{word}",)


def test_scores_of_responses_are_scores(tmp_path: Path) -> None:
    loaded = load(tmp_path, {"id": IDS, "rm_score_response_a": SHARES, "rm_score_response_b": SHARES[::-1]})
    assert isinstance(loaded.as_pairs().columns["rm"], Scores)


@pytest.mark.parametrize("column", ["first_response", "first_answer"])
def test_the_text_that_was_shown_first_is_no_order(tmp_path: Path, column: str) -> None:
    texts = [f"answer {k}" for k in IDS]
    assert judges(load(tmp_path, {**GPT, column: texts, "second_response": texts})) == ("gpt",)
    path = tmp_path / "orders.csv"
    pl.DataFrame({**GPT, column: ["a", "b"] * 15}).write_csv(path)
    slots = load_judgements(path).as_pairs().columns["gpt"].slot_verdicts
    assert (slots[::2, First.A] >= 0).all()
    assert (slots[1::2, First.B] >= 0).all()


def test_a_rows_number_is_no_order_however_few_rows_there_are(tmp_path: Path) -> None:
    for order in ([7, 8], [40]):
        few = {"id": order, "gpt": WORDS[: len(order)], "order": order}
        assert judges(load(tmp_path, few)) == ("gpt",)
    with pytest.raises(InputError, match="which does not say"):
        load(tmp_path, {**GPT, "order": [1, 2] * 15})


def test_pairs_under_a_name_of_items_are_told_how_to_be_read(tmp_path: Path) -> None:
    for columns in ({"judge": ["x"] * N, "score_a": SHARES}, {"gpt": WORDS}):
        with pytest.raises(InputError, match="about a pair"):
            load(tmp_path, {"prompt_id": IDS, **columns})


@pytest.mark.parametrize("names", [("logp_a", "logp_b", "logp_tie"), ("m_logp_a", "m_logp_b", "m_logp_tie")])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_logarithm_of_nothing_is_no_chance(tmp_path: Path, names: tuple[str, ...], suffix: str) -> None:
    """A panel of votes without ties gives minus infinity for them."""
    path = tmp_path / f"m{suffix}"
    logs = [np.log(SHARES), np.log1p(-np.array(SHARES)), np.full(N, -np.inf)]
    frame = pl.DataFrame({"id": IDS, **dict(zip(names, logs, strict=True))})
    _ = frame.write_csv(path) if suffix == ".csv" else frame.write_parquet(path)
    column = load_judgements(path).as_pairs().columns["m"]
    assert isinstance(column, LogProbs)
    np.testing.assert_allclose(np.exp(column.log_probs[:, First.A]), np.exp(np.column_stack(logs)))
    pl.DataFrame({"id": [1], **{name: [np.inf] for name in names}}).write_csv(path.with_suffix(".csv"))
    with pytest.raises(InputError, match="expected a number"):
        load_judgements(path.with_suffix(".csv"))


def test_a_list_of_low_scores_is_what_the_panel_learned(tmp_path: Path) -> None:
    """Scores of A and B in a list, of which a later file holds 1 and 2 alone."""
    known = {"gpt": KnownJudge(Scores.kind)}
    wide = {"id": IDS, "gpt": [[1 + k % 2, 2] for k in IDS]}
    for rows in (1, N):
        some = {name: values[:rows] for name, values in wide.items()}
        path = tmp_path / "wide.jsonl"
        path.write_text(
            "\n".join(
                json.dumps(dict(zip(some, row, strict=True))) for row in zip(*some.values(), strict=True)
            )
        )
        column = load_judgements(path, known=known).as_pairs().columns["gpt"]
        assert isinstance(column, Scores)
        np.testing.assert_array_equal(column.mean[:, First.UNKNOWN], np.array(some["gpt"]))
    assert judges(load(tmp_path, {**wide, "judge": ["gpt"] * N, "scores": wide["gpt"]})) == ("gpt",)
    samples = load(tmp_path, wide, known=("gpt",)).as_pairs().columns["gpt"]  # of a judge of verdicts
    assert not isinstance(samples, Scores)


@pytest.mark.parametrize("column", ["response", "output", "completion", "answer"])
def test_one_judges_answers_are_read_alone_and_noted_beside_others(tmp_path: Path, column: str) -> None:
    texts = ["I think [[A]]", "[[B]]", "It is hard to say. [[C]]"] * 10
    assert judges(load(tmp_path, {"id": IDS, column: texts})) == ("judged",)
    assert judges(load(tmp_path, {"id": IDS, column: texts}, known=(column,))) == (column,)
    beside = load(tmp_path, {**GPT, column: texts})
    assert judges(beside) == ("gpt",)
    assert any("not read" in note and column in note for note in beside.notes)


@pytest.mark.parametrize("column", ["winner", "winner_model_a"])
def test_a_column_of_votes_is_told_how_to_be_a_judges(tmp_path: Path, column: str) -> None:
    values = WORDS if column == "winner" else SHARES
    with pytest.raises(InputError, match=f"NAME_{column}"):
        load(tmp_path, {"id": IDS, column: values})
    named = {f"gpt_{column}": values, "gpt_winner_model_b": [1 - one for one in SHARES]}
    assert len(judges(load(tmp_path, {"id": IDS, **named}))) == 1
