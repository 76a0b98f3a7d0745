"""Which columns of predictions belong together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.errors import InputError
from arena_ensemble.io.column_names import Columns
from arena_ensemble.io.prediction_columns import find_trios, one_or_named

WORD = st.text("abdeghkpqrsuvxyz0123456789", max_size=6)


@given(
    WORD,
    WORD,
    st.sampled_from([("a", "b", "tie"), ("A", "B", "C"), ("model_a", "model_b", "tie"), ("A", "B", "Draw")]),
    st.permutations(range(3)),
)
def test_any_affix_around_one_trio(
    before: str, after: str, ends: tuple[str, str, str], order: list[int]
) -> None:
    names = ["_".join(part for part in (before, end, after) if part) for end in ends]
    (trio,) = find_trios(Columns(["id", "x", *(names[k] for k in order)], file="x"), "stem")
    assert trio.columns == tuple(names)


def test_our_own_columns_are_logarithms() -> None:
    names = [
        "id",
        "logp_a",
        "logp_b",
        "logp_tie",
        "swap_logp_a",
        "swap_logp_b",
        "swap_logp_tie",
        "p_a",
        "p_b",
        "p_tie",
    ]
    (trio,) = find_trios(Columns(names, file="x"), "stem")
    assert trio.logs
    assert trio.swap == ("swap_logp_a", "swap_logp_b", "swap_logp_tie")


def test_two_columns_where_no_tie_can_be_voted() -> None:
    (trio,) = find_trios(Columns(["id", "p_a", "p_b"], file="x"), "stem")
    assert trio.columns == ("p_a", "p_b")


def test_members_by_name_are_all_kept_and_others_asked_for() -> None:
    names = ["m_a", "m_b", "m_tie", "n_a", "n_b", "n_tie"]
    trios = find_trios(Columns(names, file="x"), "stem")
    assert [trio.name for trio in one_or_named(trios, "x")] == ["m", "n"]
    both = find_trios(Columns([*names, "A", "B", "C"], file="x"), "stem")
    with pytest.raises(InputError, match="holds 3 sets of predictions"):
        one_or_named(both, "x")
