"""Folds: the groups, scikit-learn's folds, near-duplicates against exact search, leaks, digests."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from arena_ensemble import folds as F
from arena_ensemble.battles import Battles
from arena_ensemble.errors import ArtifactError, InputError, StaleError
from arena_ensemble.folds.near_duplicates import near_duplicate_links, similarity
from arena_ensemble.folds.split import stratified_group_folds


def battles(
    prompts: list[str | None], *, answers: list[tuple[str, str]] | None = None, seed: int = 0
) -> Battles:
    outcome = np.random.default_rng(seed).integers(0, 3, len(prompts))
    pairs = answers or [
        (f"answer {k} of the first", f"answer {k} of the second") for k in range(len(prompts))
    ]
    return Battles.from_rows(
        [
            {"id": f"r{k}", "prompt": [p, "later"], "response_a": [a, "x"], "response_b": [b, "x"],
             "outcome": int(outcome[k])}
            for k, (p, (a, b)) in enumerate(zip(prompts, pairs, strict=True))
        ]
    )  # fmt: skip


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


# ---- near-duplicates

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "while",
    "rain",
    "fell",
    "over",
    "quiet",
    "towns",
    "and",
    "nobody",
    "asked",
    "why",
    "it",
    "never",
    "stopped",
]


def sentences(n: int, seed: int) -> list[str]:
    """Random sentences, some of them edited copies of earlier ones."""
    rng = np.random.default_rng(seed)
    texts: list[str] = []
    for _ in range(n):
        if texts and rng.random() < 0.5:
            words = texts[int(rng.integers(len(texts)))].split()
            for _ in range(int(rng.integers(1, 4))):
                words[int(rng.integers(len(words)))] = WORDS[int(rng.integers(len(WORDS)))]
        else:
            words = [WORDS[k] for k in rng.integers(0, len(WORDS), int(rng.integers(12, 40)))]
        texts.append(" ".join(words))
    return list(dict.fromkeys(texts))


def grams(text: str) -> set[str]:
    padded = f" {text} "
    return {padded[k : k + 5] for k in range(len(padded) - 4)}


def exact_pairs(texts: list[str], threshold: float) -> set[tuple[int, int]]:
    """Brute force on sets of strings: the oracle."""
    sets = [grams(text) for text in texts]
    pairs = itertools.combinations(range(len(texts)), 2)
    return {(i, j) for i, j in pairs if len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= threshold}


def clusters(n: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """The least member of every text's cluster."""
    label = list(range(n))
    for i, j in pairs:
        old, new = sorted((label[i], label[j]))[::-1]
        label = [new if k == old else k for k in label]
    return label


@pytest.mark.parametrize("threshold", [0.6, 0.7, 0.8, 0.9, 1.0])
def test_near_duplicates_are_those_of_an_exact_search(threshold: float) -> None:
    missed = joined = 0
    for seed in range(2):
        texts = sentences(120, seed)
        expected = exact_pairs(texts, threshold)
        found = [tuple(pair) for pair in near_duplicate_links(texts, threshold=threshold).tolist()]
        assert {tuple(sorted(pair)) for pair in found} <= expected  # never a false join
        wanted = len(texts) - len(set(clusters(len(texts), expected)))
        assert len(found) == len(texts) - len(set(clusters(len(texts), found)))  # no link is idle
        missed += wanted - len(found)
        joined += wanted
    assert missed <= 0.02 * joined
    assert joined > 20 or threshold == 1.0


def test_similarity_is_the_jaccard_index_of_5_grams() -> None:
    for a, b in itertools.pairwise(sentences(40, 9)):
        expected = len(grams(a) & grams(b)) / len(grams(a) | grams(b))
        assert similarity(a, b) == pytest.approx(expected, abs=1e-12)
    assert similarity("same", "same") == 1
    assert similarity("hi", "ho") == 0


def test_edited_prompts_share_a_group_and_the_threshold_can_be_turned_off() -> None:
    base = "Write a short story about a lighthouse keeper who finds a message in a bottle"
    many = battles([base, base.replace("short", "shorter") + "!", "Write a haiku about rain", base.upper()])
    near = F.grouping(many, near_duplicates=0.7)
    assert near.group.tolist() == [0, 0, 1, 0]
    assert near.joined_by_similarity == 1
    assert F.grouping(many, near_duplicates=None).group.tolist() == [0, 1, 2, 0]
    for wrong in (0, 1.1, -1):
        with pytest.raises(InputError, match="near_duplicates is"):
            F.grouping(many, near_duplicates=wrong)


def test_long_and_strange_prompts_are_compared_too() -> None:
    words = [f"{k}{WORDS[k % len(WORDS)]}" for k in range(3000)]
    long = " ".join(words)
    texts = ["", "a", "ab", long + " end", long + " End!", "😀" * 30, "😀" * 31, "\x00\u202e", long[:1000]]
    pairs = near_duplicate_links(texts, threshold=0.7).tolist()
    assert sorted(map(sorted, pairs)) == [[3, 4], [5, 6]]


def test_a_thousand_copies_of_a_template_take_no_quadratic_time() -> None:
    rng = np.random.default_rng(0)
    filler = "please write a long article about the chemical industry with the following words in it " * 3
    texts = [f"{filler} {rng.integers(10**9)}" for _ in range(1500)]
    assert len(near_duplicate_links(texts, threshold=0.7)) == 1499


# ---- the fold file


def made(**settings: Any) -> tuple[Battles, F.Folds]:
    words = [f"{a} {b}" for a in ("alpha", "beta", "gamma", "delta") for b in WORDS]
    many = battles(words[:60])
    return many, F.make_folds(many, **settings)


def test_folds_are_seeded_and_survive_the_file() -> None:
    many, folds = made()
    assert folds.digest == made()[1].digest
    assert folds.digest != made(seed=1)[1].digest
    assert folds.digest != made(n_folds=4)[1].digest
    assert folds.digest != made(near_duplicates=None)[1].digest
    again = F.Folds.from_frame(folds.to_frame(), folds.meta())
    assert again.digest == folds.digest
    again.check(many)
    assert sorted(np.concatenate([folds.rows(k) for k in range(5)]).tolist()) == list(range(60))
    assert set(folds.rows(2)) & set(folds.rest(2)) == set()
    assert not folds.fold.flags.writeable


def test_folds_of_other_battles_are_stale() -> None:
    many, folds = made()
    with pytest.raises(StaleError, match=r"60 ids there, 59 here.*remove the fold file"):
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
    _, folds = made()
    frame = change.get("frame", lambda f: f)(folds.to_frame())
    meta = change.get("meta", lambda m: m)(folds.meta())
    with pytest.raises(ArtifactError, match=message) as caught:
        F.Folds.from_frame(frame, meta)
    assert "remove the fold file to make new folds" in str(caught.value)


# ---- leaks


def test_grouped_folds_are_clean_and_random_ones_are_not(shared_data: Any) -> None:
    from arena_ensemble.io import read_battles

    many = read_battles(shared_data / "votes" / "tulu1.csv")
    folds = F.make_folds(many)
    assert F.audit(many, folds.fold).clean
    shuffled = np.random.default_rng(0).permutation(folds.fold)
    found = F.audit(many, shuffled)
    assert not found.clean
    assert found.groups > 250
    leak = found.examples[0]
    rows = [many.ids.to_list().index(name) for name in leak.ids]
    assert leak.what == "first turn"
    assert tuple(shuffled[rows]) == leak.folds
    assert leak.folds[0] != leak.folds[1]
    texts = [F.normalised_text(many.frame["prompt"][row][0]) for row in rows]
    assert texts[0] == texts[1]


def test_near_duplicates_across_folds_are_shown() -> None:
    base = "Write a short story about a lighthouse keeper who finds a message in a bottle"
    many = battles([base, base + "!!", "Write a haiku about rain", "Explain photosynthesis to a child"])
    found = F.audit(many, np.array([0, 1, 0, 1]))
    assert (found.rows, found.near_duplicate_pairs) == (0, 1)
    (leak,) = found.examples
    assert (leak.what, leak.ids, leak.folds) == ("near-duplicate prompt", ("r0", "r1"), (0, 1))
    assert 0.7 <= leak.similarity < 1
    assert F.audit(many, np.array([0, 1, 0, 1]), near_duplicates=None).clean
    assert F.audit(many, np.array([0, 0, 0, 1])).clean


def test_extra_battles_never_train_against_what_they_resemble() -> None:
    many, folds = made()
    first = [row[0] for row in many.frame["prompt"].to_list()]
    prompts = ["something quite new and unrelated to it", first[7].upper(), first[8], first[9] + " "]
    extra = battles(prompts, answers=[(f"a new answer {k}, unlike the others", "another") for k in range(4)])
    allowed = F.may_train(extra, many, folds)
    assert allowed.shape == (4, 5)
    assert allowed[0].all()
    for row, source in [(1, 7), (2, 8), (3, 9)]:
        assert np.flatnonzero(~allowed[row]).tolist() == [folds.fold[source]]


def test_an_extra_battle_that_bridges_two_groups_is_kept_from_both_folds() -> None:
    many, folds = made(near_duplicates=None)
    one, two = 0, int(np.flatnonzero(folds.fold != folds.fold[0])[0])
    shown = many.frame.select("response_a", "response_b").row(two)
    bridge = Battles.from_rows([
        {"id": 1, "prompt": [many.frame["prompt"][one][0]], "response_a": list(shown[1]),
         "response_b": list(shown[0]), "outcome": 0}
    ])  # fmt: skip
    blocked = np.flatnonzero(~F.may_train(bridge, many, folds)[0]).tolist()
    assert blocked == sorted({int(folds.fold[one]), int(folds.fold[two])})
