"""Layouts round by round: aligned, whole but for one round at the edge, in the window, equivariant."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.battles import Battles
from arena_ensemble.prompts import (
    TEMPLATES,
    Encoded,
    Ids,
    TokenizedTemplate,
    assemble,
    assemble_singles,
    get_template,
    rounds_kept,
    turns_of,
)
from arena_ensemble.prompts.rounds import LEAST_EDGE
from arena_ensemble.recipes import PromptSettings

OPENING, A, B, ONE, CUE, TURN, MARKER = 900, 901, 902, 903, 904, 906, 907


def ids(*values: int) -> Ids:
    return np.asarray(values, dtype=np.int32)


PIECES = TokenizedTemplate(
    opening=ids(OPENING), before_a=ids(A), before_b=ids(B), before_response=ids(ONE), cue=ids(CUE),
    turn=ids(TURN), marker=ids(MARKER), rounds=True,
)  # fmt: skip
CUTS = st.sampled_from(["middle", "head", "tail", "last-turns"])


def text(column: int, place: int, size: int) -> Ids:
    """Tokens that say whose they are: column and round."""
    return np.full(size, 10 * place + column, dtype=np.int32)


@st.composite
def conversations(draw: st.DrawFn) -> list[list[tuple[int, int, int]]]:
    """Per battle, per round, the sizes of prompt, A and B."""
    size = st.one_of(st.integers(1, 12), st.integers(1, 200))
    one = st.lists(st.tuples(size, size, size), min_size=1, max_size=6)
    return draw(st.lists(one, min_size=1, max_size=3))


def columns(battles: list[list[tuple[int, int, int]]]) -> tuple[list[list[Ids]], ...]:
    return tuple(
        [[text(k, place, sizes[k]) for place, sizes in enumerate(battle)] for battle in battles]
        for k in range(3)
    )


def row(encoded: Encoded, k: int) -> list[int]:
    found: list[int] = encoded.tokens[encoded.offsets[k] : encoded.offsets[k + 1]].tolist()
    return found


def shown(tokens: list[int]) -> list[list[list[int]]]:
    """Per round, the ids of prompt, A and B, read back from a row."""
    assert tokens[0] == OPENING
    assert tokens[-1] == CUE
    rounds: list[list[list[int]]] = [[[]]]
    for token in tokens[1:-1]:
        if token == TURN:
            rounds.append([[]])
        elif token in (A, B, ONE):
            assert token != B or len(rounds[-1]) == 2, "A comes before B"
            rounds[-1].append([])
        else:
            rounds[-1][-1].append(token)
    return rounds


@given(conversations(), CUTS, st.integers(32, 400))
def test_rounds_stay_aligned_whole_and_in_the_window(
    battles: list[list[tuple[int, int, int]]], how: str, window: int
) -> None:
    encoded = assemble(columns(battles), PIECES, PromptSettings(max_tokens=window, cut=how))
    assert (encoded.lengths <= window).all()
    assert len(encoded.segments) == len(encoded.tokens)
    for k, battle in enumerate(battles):
        rounds = shown(row(encoded, k))
        assert all(len(texts) == 3 for texts in rounds)
        whole, places = [], []
        for texts in rounds:
            found = {token // 10 for ids_ in texts for token in ids_ if token != MARKER}
            assert len(found) == 1, "texts of one round stand together"
            places += found
            for column, ids_ in enumerate(texts):
                assert {token % 10 for token in ids_ if token != MARKER} <= {column}
            whole.append(tuple(map(len, texts)) == battle[places[-1]])
        assert all(b == a + 1 for a, b in pairwise(places)), "no round is missing between two that are shown"
        first, last = 0, len(battle) - 1
        assert places[0 if how == "tail" else -1] == (first if how == "tail" else last)
        edge = len(rounds) - 1 if how == "tail" else 0
        assert all(is_whole for place, is_whole in enumerate(whole) if place != edge)
        left_out = PIECES.fixed + sum(map(sum, battle)) + 3 * (len(battle) - 1) - len(row(encoded, k))
        assert encoded.cut[k].sum() == left_out, "nothing is cut silently"


@given(conversations(), CUTS, st.integers(32, 400))
def test_a_swap_exchanges_the_answers_of_every_round_and_nothing_else(
    battles: list[list[tuple[int, int, int]]], how: str, window: int
) -> None:
    settings = PromptSettings(max_tokens=window, cut=how)
    prompt, a, b = columns(battles)
    one, other = assemble((prompt, a, b), PIECES, settings), assemble((prompt, b, a), PIECES, settings)
    assert one.cut[:, [0, 2, 1]].tolist() == other.cut.tolist()
    for k in range(len(battles)):
        for texts, swapped in zip(shown(row(one, k)), shown(row(other, k)), strict=True):
            assert [texts[0], texts[2], texts[1]] == swapped


@given(conversations(), CUTS, st.integers(32, 400))
def test_one_response_round_by_round(
    battles: list[list[tuple[int, int, int]]], how: str, window: int
) -> None:
    settings = PromptSettings(max_tokens=window, cut=how)
    prompt, a, b = columns(battles)
    one, other = (
        assemble_singles((prompt, a, b), PIECES, settings),
        assemble_singles((prompt, b, a), PIECES, settings),
    )
    assert one[0].tokens.tolist() == other[1].tokens.tolist()
    assert one[1].tokens.tolist() == other[0].tokens.tolist()
    for side in range(2):
        assert (one[side].lengths <= window).all()
        for k, battle in enumerate(battles):
            rounds = shown(row(one[side], k))
            assert all(len(texts) == 2 for texts in rounds)
            left_out = 3 + sum(s[0] + s[1 + side] for s in battle) + 2 * (len(battle) - 1)
            assert one[side].cut[k].sum() == left_out - len(row(one[side], k))


@pytest.mark.parametrize("how", ["middle", "last-turns"])
def test_a_round_that_overflows_alone_takes_the_whole_window(how: str) -> None:
    encoded = assemble(columns([[(4, 4, 4), (4, 90, 90)]]), PIECES, PromptSettings(max_tokens=64, cut=how))
    (prompt, a, b) = shown(row(encoded, 0))[0]
    assert (len(prompt), len(a), len(b)) == (4, 28, 28)
    assert a.count(MARKER) == b.count(MARKER) == 1
    assert encoded.lengths.tolist() == [64]
    assert encoded.cut.tolist() == [[4 + 1, 4 + 1 + 62, 4 + 1 + 62]]


def test_an_edge_that_is_too_small_is_left_out() -> None:
    def share(size: tuple[int, ...], room: int) -> tuple[int, ...]:
        return (room,)

    sizes = [(500,), (100,)]
    assert rounds_kept(sizes, 103 + LEAST_EDGE, 3, "middle", share) == [(0, (LEAST_EDGE,)), (1, (100,))]
    assert rounds_kept(sizes, 102 + LEAST_EDGE, 3, "middle", share) == [(1, (100,))]
    assert rounds_kept(sizes, 102 + LEAST_EDGE, 3, "tail", share) == [(0, (102 + LEAST_EDGE,))]
    assert rounds_kept(sizes, 603, 3, "head", share) == [(0, (500,)), (1, (100,))]


def test_missing_turns_are_filled_up() -> None:
    battles = Battles.from_rows(
        [{"id": 1, "prompt": ["hi", "go on"], "response_a": ["x"], "response_b": ["y", None], "outcome": 0}]
    )
    template = get_template("rounds-1")
    assert turns_of(battles, template) == (
        [["hi", "go on"]],
        [["x", template.empty]],
        [["y", template.empty]],
    )
    assert turns_of(battles, get_template("plain-1"))[1] == [["x"]]


@pytest.mark.parametrize("name", TEMPLATES)
@given(st.integers(0, 2))
def test_no_outcome_reaches_a_text(name: str, outcome: int) -> None:
    fields = {"id": 1, "prompt": ["p", "q"], "response_a": ["x", "y"], "response_b": ["z"]}
    template = get_template(name)
    blind = turns_of(Battles.from_rows([{**fields, "outcome": 0}]), template)
    assert turns_of(Battles.from_rows([{**fields, "outcome": outcome}]), template) == blind
