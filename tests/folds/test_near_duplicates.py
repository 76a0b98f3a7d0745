"""Near-duplicates against an exact search, and the banding against datasketch's."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pytest
from fold_cases import WORDS, battles

from arena_ensemble import folds as F
from arena_ensemble.errors import InputError
from arena_ensemble.folds.near_duplicates import choose_banding, near_duplicate_links, similarity


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


@pytest.mark.parametrize(
    ("threshold", "bands", "rows"),
    [
        (0.1, 62, 1),
        (0.3, 59, 2),
        (0.5, 39, 3),
        (0.6, 32, 4),
        (0.7, 25, 5),
        (0.8, 18, 7),
        (0.9, 11, 11),
        (0.95, 7, 18),
    ],
)
def test_the_banding_is_datasketchs(threshold: float, bands: int, rows: int) -> None:
    # b and r of datasketch 2.0.0: MinHashLSH(threshold=threshold, num_perm=128, weights=(0.01, 0.99))
    assert choose_banding(threshold) == (bands, rows)
