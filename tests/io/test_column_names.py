"""Names of columns: any case, aliases, the exact spelling first."""

from __future__ import annotations

import pytest

from arena_ensemble.errors import InputError
from arena_ensemble.io.column_names import Columns, canonical


@pytest.mark.parametrize(
    "name", ["response_a", "Response A", "response-a", "responseA", "RESPONSE_A", " Response.a "]
)
def test_spellings_of_one_name(name: str) -> None:
    assert canonical(name) == "response_a"
    assert Columns([name], file="x.csv").find("response_a") == name


def test_the_exact_spelling_counts_first_and_an_alias_last() -> None:
    assert Columns(["Prompt", "prompt", "answer_a"], file="x").find("prompt") == "prompt"
    assert Columns(["answer_a", "Response_A"], file="x").find("response_a") == "Response_A"
    assert Columns(["Answer_A"], file="x").find("response_a") == "Answer_A"
    assert Columns(["answer"], file="x").find("response_a") is None


def test_two_that_differ_in_case_only_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"x\.csv has the columns PROMPT and Prompt, which differ in case only"
    ):
        Columns(["PROMPT", "Prompt"], file="x.csv").find("prompt")


def test_many_columns_are_counted() -> None:
    shown = Columns([f"c{k}" for k in range(30)], file="x").shown
    assert shown.startswith("c0, c1, ")
    assert shown.endswith("c9 and 20 more")
