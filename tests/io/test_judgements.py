"""Files of judgements: every accepted shape, every spelling of a verdict, missing never a tie."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.errors import InputError
from arena_ensemble.io.best_votes import read_best_votes
from arena_ensemble.io.judgements import load_judgements, read_judgements
from arena_ensemble.io.panel_votes import read_panel_votes
from arena_ensemble.io.verdict_words import NUMBERED, NUMBERED_FROM_ZERO, verdict_of
from arena_ensemble.judgements import First, Judgements


def _file(folder: Path, text: str, name: str = "judges.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("spelled", "code"),
    [
        *((word, 0) for word in ["model_a", "A", "[[A]]", "A>B", "A>>B", "[[A>>B]]", "B<A", "win", "1"]),
        *((word, 1) for word in ["model_b", "b", "[[B]]", "B>A", "A<<B", "response_b", "lose", "2", "2.0"]),
        *((word, 2) for word in ["tie", "C", "[[C]]", "A=B", "B=A", "A~B", "tie (bothbad)", "both bad", "0"]),
        *((word, -1) for word in ["", "garbage", "I cannot judge", "A>A", "3", "-1", "error"]),
        *((cell, code) for cell, code in ((None, -1), (math.nan, -1), (True, -1), (2, 1), (2.0, 1), (0, 2))),
    ],
)  # fmt: skip
def test_spellings(spelled: object, code: int) -> None:
    assert verdict_of(spelled, numbers=NUMBERED) == code


@given(st.text())
def test_any_text_is_a_verdict_or_missing(text: str) -> None:
    assert verdict_of(text, numbers=NUMBERED_FROM_ZERO) in (-1, 0, 1, 2)


def test_long_verdicts_of_both_orders_samples_and_refusals(tmp_path: Path) -> None:
    found = read_judgements(
        _file(
            tmp_path,
            "id,judge,first,verdict,sample\n"
            "p1,x,a,A,0\np1,x,a,[[B]],1\np1,x,b,model_a,0\n"
            "p2,x,a,I refuse,0\np2,y,,tie,0\np1,y,a,,0\n",
        )
    )
    assert found.ids.to_list() == ["p1", "p2"]
    counts = found.columns["x"].arrays()["counts"]
    assert counts[0].tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert found.columns["x"].arrays()["unusable"].tolist() == [[0, 0, 0], [1, 0, 0]]
    assert found.columns["y"].arrays()["counts"][1].tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert found.missing == {"x": 1, "y": 1}


def test_without_a_column_first_verdicts_are_of_the_pair_as_it_stands(tmp_path: Path) -> None:
    path = _file(tmp_path, "id,judge,verdict\n1,x,A\n2,x,B\n")
    assert read_judgements(path).columns["x"].first.tolist() == [0, 0]
    assert read_judgements(path, first=First.UNKNOWN).columns["x"].first.tolist() == [2, 2]


def test_wide_verdicts_scores_and_probabilities_in_one_file(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        "id,model_a,model_b,winner,annotator_1,gpt,rm:score_a,rm:score_b,lm_a,lm_b,lm_tie,two_a,two_b\n"
        "1,m,n,model_a,model_b,model_a,1.5,2,0.5,0.3,0.2,0.9,0.1\n"
        "2,m,o,tie,tie,sorry,,2,,,,0.4,0.6\n",
    )
    found = read_judgements(path)
    assert sorted(found.judges) == ["gpt", "lm", "rm", "two"]
    assert found.ids.to_list() == [1, 2]
    assert found.columns["gpt"].verdicts.tolist() == [0, -1]
    assert found.columns["rm"].verdicts.tolist() == [1, -1]
    assert found.columns["rm"].first.tolist() == [2, 2]
    np.testing.assert_allclose(np.exp(found.columns["lm"].arrays()["log_probs"][0, 0]), [0.5, 0.3, 0.2])
    assert found.columns["lm"].missing.tolist() == [False, True]
    assert found.columns["two"].arrays()["log_probs"][1, 0, 2] == -math.inf


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_every_kind_of_file_gives_the_same(tmp_path: Path, kind: str) -> None:
    rows = [
        {"id": 1, "judge": "x", "score_a": 1.0, "score_b": 2.0},
        {"id": 2, "judge": "x", "score_a": 0.5, "score_b": None},
    ]
    path = tmp_path / f"scores.{kind}"
    frame = pl.DataFrame(rows)
    if kind == "parquet":
        frame.write_parquet(path)
    elif kind in ("csv", "tsv"):
        frame.write_csv(path, separator="," if kind == "csv" else "\t")
    else:
        text = json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows))
        path.write_text(text, encoding="utf-8")
    found = read_judgements(path)
    assert found.ids.to_list() == [1, 2]
    assert found.columns["x"].verdicts.tolist() == [1, -1]


def test_answers_long_and_wide(tmp_path: Path) -> None:
    long = load_judgements(
        _file(tmp_path, "item,answer,judge,score,sample\nq,x,rm,1,0\nq,x,rm,3,1\nq,y,rm,0,0\nq,y,k,,0\n")
    ).answers
    assert long is not None
    assert long.judges == ("rm", "k")
    assert long.mean[:, 0].tolist() == [2, 0]
    assert long.spread[:, 0].tolist() == [1, 0]
    assert long.missing == {"rm": 0, "k": 2}
    path = _file(tmp_path, "item,answer,expert_1,rm\nq,x,5,1\nq,y,4,\nq,z,4,3\n", "wide.csv")
    wide = load_judgements(path).answers
    assert wide is not None
    assert wide.judges == ("rm",)
    votes = read_panel_votes(path)
    pairs = read_judgements(path).aligned_to(votes.ids)
    assert votes.ids.to_list() == ["q|x|y", "q|x|z", "q|y|z"]
    assert votes.codes[:, 0].tolist() == [0, 0, 2]
    assert votes.groups is not None
    assert votes.groups.to_list() == ["q"] * 3
    assert pairs.columns["rm"].verdicts.tolist() == [-1, 1, -1]


def test_votes_of_one_or_several_annotators(tmp_path: Path) -> None:
    one = read_panel_votes(_file(tmp_path, "id,winner\n1,model_a\n2,\n3,tie\n", "one.csv"))
    assert one.ids.to_list() == [1, 3]
    assert one.majority.tolist() == [0, 2]
    wide = read_panel_votes(
        _file(
            tmp_path,
            "id,annotator_1,annotator_2,annotator_3,judge\n1,A,A,B,A\n2,,,,A\n3,A,B,garbage,A\n",
            "wide.csv",
        )
    )
    assert wide.ids.to_list() == [1, 3]
    np.testing.assert_allclose(wide.shares, [[2 / 3, 1 / 3, 0], [0.5, 0.5, 0]])
    assert wide.majority.tolist() == [0, 2]
    rows = read_panel_votes(_file(tmp_path, "id,annotator,winner\n1,p,A\n1,q,B\n2,p,tie\n", "rows.csv"))
    assert rows.annotators == ("p", "q")
    assert rows.codes.tolist() == [[0, 1], [2, -1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,judge,verdict\n1,x,0\n2,x,1\n", "say it with --numbers"),
        ("id,judge,verdict\n1,x,maybe\n2,x,perhaps\n", "not one of 2 verdicts of 'x' can be read"),
        ("id,judge,verdict,first\n1,x,A,left\n", "expected a or b; write"),
        ("id,judge,verdict\n1,,A\n", "row 1 \\(id 1\\): judge is empty; name"),
        ("id,judge\n1,x\n", "name them so"),
        ("id,text\n1,hello\n", "holds no judge"),
        ("judge,verdict\nx,A\n", "lacks the column id"),
        ("id,x_a,x_b,x_tie\n1,0.5,0.9,0.2\n", "give numbers that sum to 1"),
        ("id,judge,score_a,score_b\n1,x,high,2\n", "leave a missing one empty"),
        ("item,answer,text\nq,a,hello\n", "holds no judge's scores"),
        ("id,judge,verdict\n", "no rows; fetch"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_remedy(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_judgements(_file(tmp_path, text))


def test_a_verdict_in_double_brackets_is_read_in_a_whole_answer() -> None:
    for text, code in (
        ("Both are fine, yet [[B]]", 1), ("[[A>B]], so my final verdict is: [[A>B]]", 0),
        ("[[A]] or [[B]]", -1), ("Rating: [[5]]", -1), ("Response 2", 1), ("Answer 1.", 0), ("[[C]]: so", 2),
    ):  # fmt: skip
        assert verdict_of(text, numbers=NUMBERED) == code, text


def test_texts_that_are_no_verdict_are_listed_with_their_counts(tmp_path: Path) -> None:
    long = "no idea " * 20
    rows = [
        ("x", "A"),
        ("x", "both\x1b[31m"),
        ("x", f'"{long}"'),
        ("x", "both\x1b[31m"),
        ("y", "B"),
        ("y", ""),
    ]
    text = "id,judge,verdict\n" + "".join(f"{k},{judge},{word}\n" for k, (judge, word) in enumerate(rows))
    for name, body in (("long.csv", text), ("wide.csv", "id,x\n1,A\n2,both\n3,\n4,both\n5,neither good\n")):
        found = load_judgements(_file(tmp_path, body, name))
        line = next(note for note in found.notes if "no verdict" in note)
        if name == "long.csv":
            assert found.unread["x"][0] == ("both\x1b[31m", 2)
            assert len(found.unread["x"][1][0]) == 60
            assert found.unread["y"] == ()
            assert line.startswith("x: 3 answers are no verdict: 'both\\x1b[31m' 2, 'no idea no idea")
        else:
            assert line == "x: 1 answers are no verdict: 'neither good' 1"


@pytest.mark.parametrize("text", [
    "id,judge,verdict\n" + "".join(f"{k},x,{k % 5 + 1}\n" for k in range(20)),
    "id,gpt\n" + "".join(f"{k},{k % 5 + 1}\n" for k in range(20)),
    "id,judge,verdict\n" + "".join(f"{k},x,Good. Rating: [[{k % 5 + 1}]]\n" for k in range(20)),
])  # fmt: skip
def test_a_scale_is_no_verdict(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"holds numbers beyond 0, 1 and 2 \(3, 4, 5\): .*write model_a"):
        read_judgements(_file(tmp_path, text))


def test_a_failure_written_as_a_number_is_missing(tmp_path: Path) -> None:
    rows = "".join(f"{k},x,{(1, 2, -1, 2)[k % 4]}\n" for k in range(40))
    found = read_judgements(_file(tmp_path, "id,judge,verdict\n" + rows))
    assert found.missing == {"x": 10}


def test_annotators_who_give_scores_or_only_0_and_1_are_refused(tmp_path: Path) -> None:
    scores = "id,annotator_1,annotator_2\n" + "".join(f"{k},{k % 5 + 1},A\n" for k in range(20))
    with pytest.raises(InputError, match="'annotator_1' holds numbers beyond 0, 1 and 2"):
        read_panel_votes(_file(tmp_path, scores))
    coded = "id,human\n1,0\n2,1\n3,0\n"
    with pytest.raises(
        InputError, match="votes of 'human' are 0 and 1 alone, of which A may be either; write"
    ):
        read_panel_votes(_file(tmp_path, coded))
    rows = "id,annotator,winner\n" + "".join(f"{k},p,{k % 7}\n" for k in range(20))
    with pytest.raises(InputError, match="'winner' holds numbers beyond"):
        read_panel_votes(_file(tmp_path, rows))


def test_votes_that_are_none_are_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_panel_votes(_file(tmp_path, "id,annotator_1,annotator_2\n1,A,garbage\n2,B,B\n3,tie,garbage\n"))
    assert "2 cells of annotator_2 are no vote: 'garbage' 2" in caplog.text


def test_a_judge_that_was_asked_late_or_mostly_refuses_is_read(tmp_path: Path) -> None:
    rows = [f"{k},{'' if k < 300 else 'AB'[k % 2]},{'A' if k % 3 == 0 else 'I refuse'}" for k in range(400)]
    late = [f"{'' if k < 300 else 0.7},{'' if k < 300 else 0.3}" for k in range(400)]
    text = "id,late,rude,lm_a,lm_b\n" + "".join(f"{row},{end}\n" for row, end in zip(rows, late, strict=True))
    found = load_judgements(_file(tmp_path, text))
    assert found.judgements is not None
    assert found.judgements.judges == ("late", "rude", "lm")
    assert found.judgements.missing == {"late": 300, "rude": 266, "lm": 300}
    assert found.unread["rude"] == (("I refuse", 266),)


def test_columns_about_pairs_are_no_judges_and_scores_are_named(tmp_path: Path) -> None:
    text = "id,turn,category,tokens_a,tokens_b,gpt,rating\n" + "".join(
        f"{k},{k % 2 + 1},A,{90 + k},{80 + k},{'AB'[k % 2]},{k % 5 + 1}\n" for k in range(30)
    )
    text = text.replace("rating", "stars")
    path = _file(tmp_path, text)
    with pytest.raises(InputError, match="'stars' holds numbers beyond"):
        read_judgements(path)
    found = load_judgements(_file(tmp_path, text.replace(",1\n", ",7\n").replace(",2\n", ",8\n")))
    assert found.judgements is not None
    assert found.judgements.judges == ("gpt",)
    assert any(
        "not read, though they hold few numbers, as scores do: stars (3 to 8)" in one for one in found.notes
    )


def test_a_judge_that_failed_everywhere_is_missing_beside_others_or_where_it_is_known(tmp_path: Path) -> None:
    path = _file(tmp_path, "id,judge,verdict\n1,x,A\n1,y,refused\n2,y,no\n2,x,B\n")
    assert read_judgements(path).missing == {"x": 0, "y": 2}
    lone = _file(tmp_path, "id,judge,verdict\n1,y,refused\n", "lone.csv")
    with pytest.raises(InputError, match="not one of 1 verdicts of 'y' can be read"):
        read_judgements(lone)
    assert read_judgements(lone, known=["y"]).missing == {"y": 1}
    wide = _file(tmp_path, "id,x,y\n1,A,refused\n2,B,no\n", "wide.csv")
    assert read_judgements(wide).judges == ("x",)
    assert read_judgements(wide, known=["x", "y"]).missing == {"x": 0, "y": 2}


def test_texts_and_truths_are_no_judges(tmp_path: Path) -> None:
    """Answers to multiple-choice questions are spelled like verdicts, and so are labels."""
    head = "id,prompt,response_a,response_b,model_a,correct,gold,comment,gpt\n"
    rows = "".join(f"{k},A,{'ABC'[k % 3]},B,a,{k % 2},A,tie,{'AB'[k % 2]}\n" for k in range(12))
    assert read_judgements(_file(tmp_path, head + rows)).judges == ("gpt",)
    answers = "item,answer,correct,label,length,rm\n1,a,1,1,90,0.2\n1,b,0,0,80,0.1\n"
    found = load_judgements(_file(tmp_path, answers)).answers
    assert found is not None
    assert found.judges == ("rm",)


def test_verdicts_in_columns_named_like_truths_or_people_are_noted(tmp_path: Path) -> None:
    rows = "".join(
        f"{k},{k % 2 + 1},{'AB'[k % 2]},{'AB'[k % 2]},{'no' if k % 3 else 'tie'}\n" for k in range(9)
    )
    path = _file(tmp_path, "id,turn,gpt,expert-7b,correct\n" + rows)
    found = load_judgements(path)
    assert found.judgements is not None
    assert found.judgements.judges == ("gpt",)
    assert [note for note in found.notes if "not read, since they are named" in note] == [
        "not read, since they are named like truths, people or facts about pairs: expert-7b, correct; if "
        "they are judges, give them other names"
    ]
    assert read_judgements(path, known=["gpt", "correct"]).judges == ("gpt", "correct")
    lone = _file(tmp_path, "id,correct\n1,A\n2,B\n", "lone.csv")
    with pytest.raises(InputError, match=r"no judge \(not read, since they are named .*: correct; if they"):
        read_judgements(lone)


def test_columns_about_pairs_that_look_like_a_judge_have_a_remedy(tmp_path: Path) -> None:
    for least, count in ((0, 2), (1, 5)):
        rows = "".join(f"{k},{'AB'[k % 2]},{k % count + least}\n" for k in range(20))
        with pytest.raises(InputError, match="leave out a column that is no judge's"):
            read_judgements(_file(tmp_path, "id,gpt,hard\n" + rows))
    with pytest.raises(InputError, match="leave out columns that are no judge's"):
        read_judgements(_file(tmp_path, "id,gpt,size_a,size_b\n1,A,3,4\n2,B,2,1\n"))
    turns = "".join(f"{k},{'AB'[k % 2]},{k % 2 + 1}\n" for k in range(8))
    assert read_judgements(_file(tmp_path, "id,gpt,num_turns\n" + turns)).judges == ("gpt",)


def test_scores_of_a_file_without_judge_are_of_one_named_like_it(tmp_path: Path) -> None:
    found = read_judgements(_file(tmp_path, "id,score_a,score_b\n1,2.5,-1\n2,0,3\n", "reward.csv"))
    assert found.judges == ("reward",)
    assert found.columns["reward"].verdicts.tolist() == [0, 1]


def test_samples_that_are_there_twice_are_noted(tmp_path: Path) -> None:
    text = "id,judge,first,sample,verdict\n1,x,a,0,A\n1,x,a,1,A\n1,x,b,0,B\n1,x,a,0,A\n"
    notes = load_judgements(_file(tmp_path, text)).notes
    assert any("1 row repeats id, judge, sample, first" in note for note in notes)


def test_logarithms_of_probabilities_are_named_as_such(tmp_path: Path) -> None:
    path = _file(tmp_path, "id,judge,p_a,p_b\n1,x,-0.105,-2.303\n")
    with pytest.raises(InputError, match="these are logarithms: write their exponentials"):
        read_judgements(path)


def test_numbers_that_are_stated_are_read(tmp_path: Path) -> None:
    path = _file(tmp_path, "id,judge,verdict\n1,x,0\n2,x,1\n")
    assert read_judgements(path, numbers="012").columns["x"].verdicts.tolist() == [0, 1]
    assert read_judgements(path, numbers="120").columns["x"].verdicts.tolist() == [2, 0]


def test_a_file_without_votes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no vote that can be read; write"):
        read_panel_votes(_file(tmp_path, "id,annotator_1\n1,garbage\n"))
    with pytest.raises(InputError, match="votes twice; keep one"):
        read_panel_votes(_file(tmp_path, "id,annotator,winner\n1,p,A\n1,p,B\n", "twice.csv"))
    with pytest.raises(
        InputError, match=r"\(id 1\): the id repeats row 1; .*name each voter in a column annotator"
    ):
        read_panel_votes(_file(tmp_path, "id,winner\n1,model_a\n1,model_b\n", "several.csv"))


@pytest.mark.parametrize("extra", ["vote_count", "annotator_id", "human-language", "voteTime", "Rater ID"])
def test_what_is_told_of_voters_is_no_vote(tmp_path: Path, extra: str) -> None:
    """Counts of 1 and 2 would be A and B, in place of the winner."""
    rows = "".join(f"{k},{('model_a', 'model_b', 'tie')[k % 3]},{k % 2 + 1}\n" for k in range(9))
    votes = read_panel_votes(_file(tmp_path, f"id,winner,{extra}\n" + rows))
    assert votes.codes[:, 0].tolist() == [k % 3 for k in range(9)]
    two = read_panel_votes(_file(tmp_path, f"id,human_1,human_2,{extra}\n1,A,B,2\n2,B,B,1\n", "two.csv"))
    assert two.annotators == ("human_1", "human_2")
    scores = f"item,answer,expert_1,{extra}\n1,a,5,1\n1,b,2,9\n"
    assert read_panel_votes(_file(tmp_path, scores, "scores.csv")).annotators == ("expert_1",)
    best = read_best_votes(_file(tmp_path, scores, "scores.csv"), scores=True)
    assert best is not None
    assert best.shares == {"1": {"a": 1.0}}


def test_ids_of_two_kinds_are_shown(tmp_path: Path) -> None:
    numbers = read_judgements(_file(tmp_path, "id,judge,verdict\n1,x,A\n2,x,B\n"))
    texts = read_judgements(_file(tmp_path, "id,judge,verdict\n1,y,A\nq2,y,B\n", "texts.csv"))
    with pytest.raises(
        InputError, match="whole numbers, such as 1, another texts, such as 'q2'; write them alike"
    ):
        Judgements.joined([numbers, texts])
    with pytest.raises(
        InputError, match="judgements have texts, such as 'q2', votes whole numbers, such as 1"
    ):
        texts.aligned_to(numbers.ids)


def test_the_column_of_a_bad_number_is_named(tmp_path: Path) -> None:
    path = _file(tmp_path, "id,judge,score_a,score_b\n1,x,5,7/10\n")
    with pytest.raises(InputError, match=r"row 1 \(id 1\): score_b is '7/10', expected a number"):
        read_judgements(path)
    with pytest.raises(InputError, match="no expert's scores"):
        read_panel_votes(_file(tmp_path, "item,answer,rm\nq,a,1\n", "none.csv"))
