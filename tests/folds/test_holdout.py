"""Rows held out for early stopping: by the folds' own groups, and the same whatever the order of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.battles import Battles
from arena_ensemble.errors import RecipeError
from arena_ensemble.folds import group_keys
from arena_ensemble.folds.holdout import holdout_by_group

WORDS = [
    "how",
    "do",
    "old",
    "towers",
    "in",
    "green",
    "rivers",
    "answer",
    "blue",
    "questions",
    "about",
    "seven",
    "paths",
    "near",
    "the",
    "sea",
]


def some_battles(n: int, seed: int) -> Battles:
    """Prompts that recur in other spellings: case, width, white space, one word more."""
    rng = np.random.default_rng(seed)
    base = [" ".join(rng.choice(WORDS, 12)) for _ in range(max(2, n // 3))]
    wide = str.maketrans({chr(c): chr(c + 0xFEE0) for c in range(ord("a"), ord("z") + 1)})
    forms: list[Any] = [
        str,
        str.upper,
        lambda t: t.translate(wide),
        lambda t: f"  {t}\n",
        lambda t: t + " ss",
    ]
    forms.append(lambda t: t + " ß")  # casefold alone makes these two equal
    rows = []
    for k in range(n):
        prompt = forms[rng.integers(len(forms))](base[rng.integers(len(base))])
        outcome = None if rng.random() < 0.1 else int(rng.integers(3))
        rows.append(
            {
                "id": k,
                "prompt": [prompt],
                "response_a": [f"a{k}"],
                "response_b": [f"b{k}"],
                "outcome": outcome,
            }
        )
    return Battles.from_rows(rows)


@given(st.integers(30, 200), st.integers(0, 10**6))
def test_no_group_is_on_both_sides_and_the_order_of_rows_does_not_matter(n: int, seed: int) -> None:
    battles = some_battles(n, seed)
    try:
        kept, held = holdout_by_group(battles, seed=seed, share=0.3)
    except RecipeError:
        return  # so few groups that none was drawn
    group = group_keys(battles)
    assert not set(group[kept]) & set(group[held])
    assert battles.frame["outcome"].is_not_null().to_numpy()[held].all(), "a vote to stop by"
    again = holdout_by_group(battles, seed=seed, share=0.3)
    assert all(np.array_equal(a, b) for a, b in zip((kept, held), again, strict=True))
    order = np.random.default_rng(seed).permutation(n)
    shuffled = holdout_by_group(battles.take(order), seed=seed, share=0.3)
    assert set(battles.ids.to_numpy()[held]) == set(battles.take(order).ids.to_numpy()[shuffled[1]])
    assert set(battles.ids.to_numpy()[kept]) == set(battles.take(order).ids.to_numpy()[shuffled[0]])


def test_the_share_is_an_eighth_and_the_seed_matters() -> None:
    rows = [{"id": k, "prompt": [f"{k} {WORDS[k % 15]} {k * k}"], "response_a": ["x"], "response_b": ["y"],
             "outcome": k % 3} for k in range(2000)]  # fmt: skip
    battles = Battles.from_rows(rows)
    _, one = holdout_by_group(battles, seed=0, near_duplicates=None)
    _, two = holdout_by_group(battles, seed=1, near_duplicates=None)
    assert len(one) / 2000 == pytest.approx(0.125, abs=0.03)
    assert not np.array_equal(one, two)


def test_one_prompt_in_several_spellings_cannot_be_held_out() -> None:
    spellings = ["Ｗhat is a fine STRASSE?", "what is  a fine straße?", "WHAT IS A FINE STRASSE?"]
    rows = [{"id": k, "prompt": [text], "response_a": [f"a{k}"], "response_b": [f"b{k}"], "outcome": k % 3}
            for k, text in enumerate(spellings * 5)]  # fmt: skip
    with pytest.raises(RecipeError, match="too few different prompts"):
        holdout_by_group(Battles.from_rows(rows), seed=0)
