"""Prompts: budgets, cuts, the cue, and what exchanging the responses does to token ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.battles import Battles
from arena_ensemble.errors import RecipeError
from arena_ensemble.prompts import (
    TEMPLATES,
    Encoded,
    Ids,
    TokenizedTemplate,
    assemble,
    assemble_singles,
    cut_turns,
    get_template,
    share_budget,
    template_digest,
    turns_of,
)
from arena_ensemble.recipes import PromptSettings, recipe_from


def ids(*values: int) -> Ids:
    return np.asarray(values, dtype=np.int32)


PIECES = TokenizedTemplate(
    opening=ids(900), before_a=ids(901), before_b=ids(902), before_response=ids(903), cue=ids(904, 905),
    turn=ids(906), marker=ids(907),
)  # fmt: skip
TEXT = st.lists(st.lists(st.integers(0, 9), max_size=30).map(lambda v: ids(*v)), min_size=1, max_size=3)
ROWS = st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=4)
CUTS = st.sampled_from(["middle", "head", "tail", "last-turns"])
WINDOW = st.integers(32, 120)


def row(encoded: Encoded, k: int) -> list[int]:
    return encoded.tokens[encoded.offsets[k] : encoded.offsets[k + 1]].tolist()


@given(st.tuples(*[st.integers(0, 400)] * 3), st.integers(12, 300), st.floats(0, 0.8))
def test_budgets_fit_and_are_symmetric(size: tuple[int, int, int], room: int, share: float) -> None:
    prompt, a, b = share_budget(*size, room, share)
    assert prompt + a + b <= room
    assert 0 <= prompt <= size[0]
    assert 0 <= a <= size[1]
    assert 0 <= b <= size[2]
    assert share_budget(size[0], size[2], size[1], room, share) == (prompt, b, a)
    if sum(size) >= room:
        assert prompt + a + b >= room - 1, "room is left over"
    if a < size[1] and b < size[2]:
        assert a == b, "both overflow, so both keep the same"


@given(ROWS, CUTS, WINDOW)
def test_exchanging_responses_exchanges_two_runs_of_ids(rows: list, how: str, window: int) -> None:
    settings = PromptSettings(max_tokens=window, cut=how)
    columns = tuple(list(column) for column in zip(*rows, strict=True))
    shown = assemble(columns, PIECES, settings)
    swapped = assemble((columns[0], columns[2], columns[1]), PIECES, settings)
    assert (shown.lengths <= window).all()
    assert shown.cut[:, [0, 2, 1]].tolist() == swapped.cut.tolist()
    for k in range(len(rows)):
        one, other = row(shown, k), row(swapped, k)
        assert one[-2:] == other[-2:] == [904, 905], "the cue is never cut"
        split = [(r.index(901), r.index(902)) for r in (one, other)]
        assert one[: split[0][0]] == other[: split[1][0]]
        assert one[split[0][0] + 1 : split[0][1]] == other[split[1][1] + 1 : -2]
        assert one[split[0][1] + 1 : -2] == other[split[1][0] + 1 : split[1][1]]
    assert len(shown.segments) == len(shown.tokens)


@given(ROWS, CUTS, WINDOW)
def test_nothing_is_cut_silently(rows: list, how: str, window: int) -> None:
    settings = PromptSettings(max_tokens=window, cut=how)
    columns = tuple(list(column) for column in zip(*rows, strict=True))
    encoded = assemble(columns, PIECES, settings)
    for k, texts in enumerate(rows):
        whole = PIECES.fixed + sum(sum(map(len, t)) + len(t) - 1 for t in texts)
        assert whole - len(row(encoded, k)) == encoded.cut[k].sum()
    facts = encoded.facts()
    assert sum(facts["truncated_tokens"].values()) == encoded.cut.sum()


@given(ROWS, CUTS, WINDOW)
def test_single_responses_exchange_with_the_battle(rows: list, how: str, window: int) -> None:
    settings = PromptSettings(max_tokens=window, cut=how)
    columns = tuple(list(column) for column in zip(*rows, strict=True))
    first, second = assemble_singles(columns, PIECES, settings)
    other = assemble_singles((columns[0], columns[2], columns[1]), PIECES, settings)
    assert first.tokens.tolist() == other[1].tokens.tolist()
    assert second.tokens.tolist() == other[0].tokens.tolist()
    assert max(first.lengths.max(), second.lengths.max()) <= window


def test_what_each_cut_leaves() -> None:
    turns = [ids(1, 2, 3), ids(4, 5, 6, 7)]
    turn, marker = ids(90), ids(99)
    assert cut_turns(turns, 8, "middle", turn, marker)[0].tolist() == [1, 2, 3, 90, 4, 5, 6, 7]
    assert cut_turns(turns, 5, "middle", turn, marker)[0].tolist() == [1, 2, 99, 6, 7]
    assert cut_turns(turns, 5, "head", turn, marker)[0].tolist() == [99, 4, 5, 6, 7]
    assert cut_turns(turns, 5, "tail", turn, marker)[0].tolist() == [1, 2, 3, 90, 99]
    assert cut_turns(turns, 5, "last-turns", turn, marker)[0].tolist() == [4, 5, 6, 7]
    assert cut_turns(turns, 2, "middle", turn, marker) == (pytest.approx([1, 2]), 6)
    assert cut_turns(turns, 0, "middle", turn, marker)[0].tolist() == []


def test_null_and_blank_turns_have_words() -> None:
    battles = Battles.from_rows(
        [{"id": 1, "prompt": ["hi", None], "response_a": [], "response_b": [" \n"], "outcome": 0}]
    )
    template = get_template("plain-1")
    prompt, a, b = turns_of(battles, template)
    assert prompt == [["hi", template.empty]]
    assert a == b == [[template.empty]]


def test_templates_are_named_and_digested() -> None:
    assert all(name == template.name for name, template in TEMPLATES.items())
    with pytest.raises(RecipeError, match="nearest is 'plain-1'"):
        get_template("plane-1")
    base = {"backbone": "classify", "base": "tiny:encoder"}
    digests = {
        template_digest(recipe_from({**base, "prompt": prompt}))
        for prompt in ({}, {"template": "short-1"}, {"max_tokens": 99}, {"cut": "tail"})
    }
    assert len(digests) == 4


def test_window_too_small_for_the_template() -> None:
    pieces = TokenizedTemplate(ids(*range(47)), ids(1), ids(2), ids(3), ids(4), ids(5), ids(6))
    with pytest.raises(RecipeError, match="give at least 62"):
        assemble(([[ids(1)]], [[ids(1)]], [[ids(1)]]), pieces, PromptSettings(max_tokens=40))
