"""Texts in two folds are found, and extra battles kept from the folds that they resemble."""

from __future__ import annotations

from typing import Any

import numpy as np
from fold_cases import battles, example_folds

from arena_ensemble import folds as F
from arena_ensemble.battles import Battles


def test_grouped_folds_are_clean_and_random_ones_are_not(shared_data: Any) -> None:
    from arena_ensemble.io import read_battles

    many = read_battles(shared_data / "votes" / "tulu1.csv")
    folds = F.make_folds(many)
    assert F.fold_overlap(many, folds.fold).clean
    shuffled = np.random.default_rng(0).permutation(folds.fold)
    found = F.fold_overlap(many, shuffled)
    assert not found.clean
    assert found.groups > 250
    pair = found.examples[0]
    rows = [many.ids.to_list().index(name) for name in pair.ids]
    assert pair.what == "first turn"
    assert tuple(shuffled[rows]) == pair.folds
    assert pair.folds[0] != pair.folds[1]
    texts = [F.normalised_text(many.frame["prompt"][row][0]) for row in rows]
    assert texts[0] == texts[1]


def test_near_duplicates_across_folds_are_shown() -> None:
    base = "Write a short story about a lighthouse keeper who finds a message in a bottle"
    many = battles([base, base + "!!", "Write a haiku about rain", "Explain photosynthesis to a child"])
    found = F.fold_overlap(many, np.array([0, 1, 0, 1]))
    assert (found.rows, found.near_duplicate_pairs) == (0, 1)
    (pair,) = found.examples
    assert (pair.what, pair.ids, pair.folds) == ("near-duplicate prompt", ("r0", "r1"), (0, 1))
    assert 0.7 <= pair.similarity < 1
    assert F.fold_overlap(many, np.array([0, 1, 0, 1]), near_duplicates=None).clean
    assert F.fold_overlap(many, np.array([0, 0, 0, 1])).clean


def test_extra_battles_never_train_against_what_they_resemble() -> None:
    many, folds = example_folds()
    first = [row[0] for row in many.frame["prompt"].to_list()]
    prompts = ["something quite new and unrelated to it", first[7].upper(), first[8], first[9] + " "]
    extra = battles(prompts, answers=[(f"a new answer {k}, unlike the others", "another") for k in range(4)])
    allowed = F.may_train(extra, many, folds)
    assert allowed.shape == (4, 5)
    assert allowed[0].all()
    for row, source in [(1, 7), (2, 8), (3, 9)]:
        assert np.flatnonzero(~allowed[row]).tolist() == [folds.fold[source]]


def test_an_extra_battle_that_bridges_two_groups_is_kept_from_both_folds() -> None:
    many, folds = example_folds(near_duplicates=None)
    one, two = 0, int(np.flatnonzero(folds.fold != folds.fold[0])[0])
    shown = many.frame.select("response_a", "response_b").row(two)
    bridge = Battles.from_rows([
        {"id": 1, "prompt": [many.frame["prompt"][one][0]], "response_a": list(shown[1]),
         "response_b": list(shown[0]), "outcome": 0}
    ])  # fmt: skip
    blocked = np.flatnonzero(~F.may_train(bridge, many, folds)[0]).tolist()
    assert blocked == sorted({int(folds.fold[one]), int(folds.fold[two])})
