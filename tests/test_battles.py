"""Laws of battles: what exchanging the responses means, what a digest holds on to."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.battles import SWAP, Battles, Outcome
from arena_ensemble.errors import InputError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TURNS = st.lists(st.one_of(st.none(), TEXT), min_size=1, max_size=3)
ROW = st.fixed_dictionaries(
    {
        "prompt": TURNS,
        "response_a": TURNS,
        "response_b": TURNS,
        "outcome": st.sampled_from([0, 1, 2, None]),
        "model_a": st.one_of(st.none(), TEXT),
        "model_b": st.one_of(st.none(), TEXT),
    }
)


@st.composite
def battles(draw: st.DrawFn) -> Battles:
    rows = draw(st.lists(ROW, min_size=1, max_size=6))
    ids = draw(st.sampled_from([lambda k: k, lambda k: f"{k:03d}"]))
    return Battles.from_rows([{"id": ids(k), **row} for k, row in enumerate(rows)])


def one(**changes: Any) -> Battles:
    row = {"id": 1, "prompt": ["q"], "response_a": ["a"], "response_b": ["b"], "outcome": 0, **changes}
    return Battles.from_rows([row])


def test_the_outcome_order_is_kaggles_and_the_swap_its_involution() -> None:
    assert [Outcome.A, Outcome.B, Outcome.TIE] == [0, 1, 2]
    assert [SWAP[SWAP[k]] for k in range(3)] == [0, 1, 2]
    assert SWAP[Outcome.A] == Outcome.B


@given(battles())
def test_swapping_twice_is_identity(given_battles: Battles) -> None:
    back = given_battles.swapped().swapped()
    assert back.frame.equals(given_battles.frame)
    assert back.digest() == given_battles.digest()


@given(battles())
def test_swapping_exchanges_sides_and_keeps_the_rest(given_battles: Battles) -> None:
    before, after = given_battles.frame, given_battles.swapped().frame
    for left, right in [("response_a", "response_b"), ("model_a", "model_b")]:
        assert after[left].to_list() == before[right].to_list()
        assert after[right].to_list() == before[left].to_list()
    for same in ("id", "prompt"):
        assert after[same].equals(before[same])
    swap = {0: 1, 1: 0, 2: 2, None: None}
    assert after["outcome"].to_list() == [swap[y] for y in before["outcome"].to_list()]


@given(battles(), st.randoms(use_true_random=False))
def test_take_then_swap_is_swap_then_take(given_battles: Battles, random: Any) -> None:
    rows = [random.randrange(len(given_battles)) for _ in range(1)]
    assert given_battles.take(rows).swapped().frame.equals(given_battles.swapped().take(rows).frame)


@given(battles())
def test_without_outcomes_nothing_is_left_of_them(given_battles: Battles) -> None:
    blind = given_battles.without_outcomes()
    assert blind.frame["outcome"].null_count() == len(given_battles)
    assert blind.digest(outcomes=False) == given_battles.digest(outcomes=False)
    flipped = given_battles.frame.with_columns((2 - pl.col("outcome")).cast(pl.Int8).alias("outcome"))
    assert Battles(flipped).without_outcomes().digest() == blind.digest()


@pytest.mark.parametrize(
    "change",
    [{"id": 2}, {"id": "1"}, {"prompt": ["q", "r"]}, {"prompt": ["qr"]}, {"response_a": [None]},
     {"response_b": ["B"]}, {"outcome": 1}, {"outcome": None}, {"response_a": ["b"], "response_b": ["a"]}],
)  # fmt: skip
def test_the_digest_sees_every_change(change: dict[str, Any]) -> None:
    assert one(**change).digest() != one().digest()


def test_the_digest_does_not_see_model_names() -> None:
    assert one(model_a="x", model_b="y").digest() == one().digest()


def test_the_digest_is_the_same_forever() -> None:
    # computed once with hashlib and json alone; a change here makes every artifact stale
    assert one().digest()[:16] == "6cb7a715bbfbb305"


def test_swapping_copies_no_text() -> None:
    text = "x" * 1000
    many = Battles.from_rows([
        {"id": k, "prompt": ["q"], "response_a": [text], "response_b": ["b"], "outcome": 0} for k in range(50)
    ])  # fmt: skip
    before = many.frame["response_a"].explode(empty_as_null=True)
    after = many.swapped().frame["response_b"].explode(empty_as_null=True)
    assert before.equals(after)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": 1}, {"id": 1}], "repeat the id 1"),
        ([{"id": 1, "outcome": 3}], "outside 0"),
        ([{"id": 1, "outcome": -1}], "outside 0"),
    ],
)
def test_impossible_battles_are_refused(rows: list[dict[str, Any]], message: str) -> None:
    base = {"prompt": ["q"], "response_a": ["a"], "response_b": ["b"], "outcome": 0}
    with pytest.raises(InputError, match=message):
        Battles.from_rows([{**base, **row} for row in rows])


def test_wrong_columns_are_refused() -> None:
    frame = one().frame
    with pytest.raises(InputError, match="lack the column 'prompt'"):
        Battles(frame.drop("prompt"))
    with pytest.raises(InputError, match="'prompt' is String, expected List"):
        Battles(frame.with_columns(pl.lit("q").alias("prompt")))
    with pytest.raises(InputError, match="integers or strings"):
        Battles(frame.with_columns(pl.col("id").cast(pl.Float64)))
    with pytest.raises(InputError, match="null id"):
        Battles(frame.with_columns(pl.lit(None, pl.Int64).alias("id")))


def test_a_missing_outcome_is_named() -> None:
    blind = one().without_outcomes()
    assert not blind.labelled
    with pytest.raises(InputError, match=r"battle 1 \(row 1\) has no outcome"):
        blind.outcomes()
    assert one().outcomes().dtype == np.int64


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (3, "int"),
        (float("nan"), "float"),
        (b"x", "bytes"),
        ({"role": "user", "content": "x"}, "dict"),
        ([{"role": "user", "content": "x"}], "a list with dict"),
        (["x", 3], "a list with int"),
        ([["x"]], "a list with list"),
    ],
)
def test_what_is_no_text_is_refused_and_never_made_null_or_written_out(value: object, kind: str) -> None:
    row = {"id": 1, "prompt": "q", "response_a": "a", "response_b": "b"}
    with pytest.raises(InputError, match=f"row 2 of the battles: response_b is {kind}; give a text"):
        Battles.from_rows([row, {**row, "id": 2, "response_b": value}])


def test_turns_may_be_any_sequence_of_texts() -> None:
    for turns in (["x", None], ("x", None), np.array(["x", None], dtype=object)):
        assert one(response_a=turns).frame["response_a"].to_list() == [["x", None]]
    assert one(response_a=np.str_("x")).frame["response_a"].to_list() == [["x"]]
    assert one(response_a=None).frame["response_a"].to_list() == [None]


def test_a_plain_text_in_a_row_is_one_turn() -> None:
    plain = Battles.from_rows([{"id": 1, "prompt": "q", "response_a": "a", "response_b": "b"}])
    assert plain.frame.rows() == [(1, ["q"], ["a"], ["b"], None)]


def test_a_row_that_lacks_a_text_is_named() -> None:
    rows = [
        {"id": 1, "prompt": "q", "response_a": "a", "response_b": "b"},
        {"prompt": "q", "response_a": "a"},
    ]
    with pytest.raises(
        InputError, match="row 2 of the battles lacks 'id', 'response_b'; it has: prompt, resp"
    ):
        Battles.from_rows(rows)
