"""Folds: the groups, scikit-learn's folds, the fold file and its digest."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import polars as pl
import pytest
from fold_cases import battles, example_folds
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from arena_ensemble import folds as F
from arena_ensemble.battles import Battles
from arena_ensemble.errors import ArtifactError, InputError, StaleError
from arena_ensemble.folds import split
from arena_ensemble.folds.split import stratified_group_folds


def test_groups_are_equal_first_turns_after_normalising() -> None:
    same = ["What  is\nthis?", "what is this?", "ＷＨＡＴ is this？".replace("？", "?"), " WHAT IS THIS? "]
    group = F.group_keys(battles([*same, "Straße", "STRASSE", "other", None, ""]), near_duplicates=None)
    assert group.tolist() == [0, 0, 0, 0, 1, 1, 2, 3, 3]
    assert group.dtype == np.int64


def test_equal_answers_join_groups_in_either_order_but_short_or_empty_ones_do_not() -> None:
    long = ("a rather long answer to the question", "another answer, long enough")
    pairs = [
        long,
        long[::-1],
        (long[0], "something else entirely, and long"),
        ("Yes.", "No."),
        ("Yes.", "No."),
    ]
    group = F.grouping(battles([f"prompt {k}" for k in range(5)], answers=pairs), near_duplicates=None)
    assert group.group.tolist() == [0, 0, 1, 2, 3]
    assert (group.prompts, group.groups, group.joined_by_answers, group.largest) == (5, 4, 1, 2)


@given(st.lists(st.sampled_from(["red", "blue", "green", "grey"]), min_size=1, max_size=12), st.randoms())
def test_groups_do_not_depend_on_the_order_of_rows(prompts: list[str], random: Any) -> None:
    many = battles(list(prompts))
    order = list(range(len(prompts)))
    random.shuffle(order)
    group = F.group_keys(many)
    shuffled = F.group_keys(many.take(order))
    for i, j in itertools.combinations(range(len(order)), 2):
        assert (shuffled[i] == shuffled[j]) == (group[order[i]] == group[order[j]])


def test_groups_are_the_same_for_swapped_battles(shared_data: Any) -> None:
    from arena_ensemble.io import read_battles

    many = read_battles(shared_data / "votes" / "pandalm.csv")
    assert np.array_equal(F.group_keys(many), F.group_keys(many.swapped()))


@pytest.mark.parametrize("seed", range(25))
def test_the_folds_are_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, n_folds = int(rng.integers(30, 500)), int(rng.integers(2, 9))
    y = rng.choice(int(rng.integers(2, 4)), n, p=None)
    group = np.unique(rng.integers(0, int(rng.integers(n_folds, n)), n), return_inverse=True)[1]
    if group.max() + 1 < n_folds:
        return
    expected = np.empty(n, dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        split = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed).split(np.zeros(n), y, group)
        for k, (_, rows) in enumerate(split):
            expected[rows] = k
    found = stratified_group_folds(y, group.astype(np.int64), n_folds=n_folds, seed=seed)
    np.testing.assert_array_equal(found, expected)


def test_a_group_is_whole_and_outcomes_are_spread() -> None:
    rng = np.random.default_rng(3)
    y, group = rng.choice(3, 3000, p=[0.45, 0.35, 0.2]), rng.integers(0, 700, 3000)
    group = np.unique(group, return_inverse=True)[1].astype(np.int64)
    fold = stratified_group_folds(y, group, n_folds=5, seed=0)
    assert all(len(set(fold[group == g])) == 1 for g in range(group.max() + 1))
    share = np.stack([np.bincount(y[fold == k], minlength=3) for k in range(5)]) / np.bincount(y)
    assert np.abs(share - 0.2).max() < 0.005
    assert not np.array_equal(fold, stratified_group_folds(y, group, n_folds=5, seed=1))


def test_folds_that_cannot_be_made_are_explained() -> None:
    with pytest.raises(InputError, match=r"3 groups of battles .* for 5 folds; use at most 3 folds"):
        F.make_folds(battles(["a", "b", "c"], seed=1))
    many = battles([f"prompt {k}" for k in range(9)])
    with pytest.raises(InputError, match="folds is 1"):
        F.make_folds(many, n_folds=1)
    with pytest.raises(InputError, match="all 9 battles have the same outcome"):
        F.make_folds(Battles(many.frame.with_columns(pl.lit(1, pl.Int8).alias("outcome"))))
    with pytest.raises(InputError, match="has no outcome"):
        F.make_folds(many.without_outcomes())


# ---- the fold file


def test_folds_are_seeded_and_survive_the_file() -> None:
    many, folds = example_folds()
    assert folds.digest == example_folds()[1].digest
    assert folds.digest != example_folds(seed=1)[1].digest
    assert folds.digest != example_folds(n_folds=4)[1].digest
    assert folds.digest != example_folds(near_duplicates=None)[1].digest
    again = F.Folds.from_frame(folds.to_frame(), folds.meta())
    assert again.digest == folds.digest
    again.check(many)
    assert sorted(np.concatenate([folds.rows(k) for k in range(5)]).tolist()) == list(range(60))
    assert set(folds.rows(2)) & set(folds.rest(2)) == set()
    assert not folds.fold.flags.writeable


def test_folds_of_other_battles_are_stale() -> None:
    many, folds = example_folds()
    with pytest.raises(StaleError, match=r"60 ids there, 59 here.*a folder of their own"):
        folds.check(many.take(range(59)))
    with pytest.raises(StaleError, match="first different in row 1: 'r0' and 'r59'"):
        folds.check(many.take(range(59, -1, -1)))
    with pytest.raises(StaleError, match="same ids, but texts or outcomes changed"):
        folds.check(many.swapped())
    numbered = Battles(many.frame.with_columns(pl.int_range(pl.len()).alias("id")))
    with pytest.raises(StaleError, match="of type String and Int64"):
        folds.check(numbered)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame": lambda f: f.drop("fold")}, "lacks fold"),
        ({"frame": lambda f: f.with_columns(pl.col("fold").cast(pl.String))}, "another type"),
        ({"frame": lambda f: f.with_columns(fold=pl.lit(None, pl.Int64))}, "another type"),
        ({"frame": lambda f: f.with_columns(fold=(pl.col("fold") + 1) % 5)}, "was edited"),
        ({"frame": lambda f: f.with_columns(fold=pl.col("fold") + 1)}, "none empty and none beyond"),
        ({"frame": lambda f: f.with_columns(fold=-pl.col("fold"))}, "none empty and none beyond"),
        ({"frame": lambda f: f.with_columns(group=pl.lit(0))}, "group 0 lies in two folds"),
        ({"frame": lambda f: f.with_columns(id=pl.lit("same"))}, "'same' repeats"),
        ({"frame": lambda f: f.head(30)}, "was edited"),
        ({"meta": lambda m: {**m, "digest": "0" * 64}}, "was edited"),
        ({"meta": lambda m: {**m, "seed": 1}}, "was edited"),
        ({"meta": lambda m: {**m, "seed": "0"}}, "another type"),
        ({"meta": lambda m: {**m, "n_folds": 10**12}}, "folds"),
        ({"meta": lambda m: {k: v for k, v in m.items() if k != "battles_digest"}}, "lacks battles_digest"),
    ],
)
def test_an_edited_fold_file_is_refused(change: dict[str, Any], message: str) -> None:
    _, folds = example_folds()
    frame = change.get("frame", lambda f: f)(folds.to_frame())
    meta = change.get("meta", lambda m: m)(folds.meta())
    with pytest.raises(ArtifactError, match=message) as caught:
        F.Folds.from_frame(frame, meta)
    assert "remove the fold file to make new folds" in str(caught.value)


@pytest.mark.parametrize("large", [0, 40])
def test_many_groups_are_spread_evenly_and_kept_whole(monkeypatch: pytest.MonkeyPatch, large: int) -> None:
    monkeypatch.setattr(split, "MANY_GROUPS", 100)
    rng = np.random.default_rng(large)
    group = np.concatenate([np.arange(900), *(np.full(k % 7 + 2, 900 + k) for k in range(large))])
    outcome = rng.choice(3, size=len(group), p=[0.5, 0.3, 0.2])
    fold = split.stratified_group_folds(outcome, group, n_folds=5, seed=1)
    table = np.array([np.bincount(outcome[fold == k], minlength=3) for k in range(5)])
    assert (table.max(axis=0) - table.min(axis=0)).max() <= 1
    assert len(np.unique(np.stack([group, fold]), axis=1).T) == group.max() + 1
    np.testing.assert_array_equal(fold, split.stratified_group_folds(outcome, group, n_folds=5, seed=1))
    other = split.stratified_group_folds(outcome, group, n_folds=5, seed=2)
    assert (other != fold).mean() > 0.5
