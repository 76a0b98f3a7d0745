"""Groups of battles that are seen some at a time: those of all at once, to the bit, also from a disk."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from fold_cases import WORDS, battles
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arena_ensemble import folds as F
from arena_ensemble.artifacts.scratch import ScratchPrompts
from arena_ensemble.battles import Battles
from arena_ensemble.errors import InputError
from arena_ensemble.folds.near_duplicates import near_duplicate_links

BASES = [" ".join(WORDS[k:] + WORDS[:k]) * (1 + k % 2) for k in range(0, 12, 3)]
edits = st.sampled_from(
    ["", "!", " please", " PLEASE", " 😀", " ß", " and tell me why it rains over the town"]
)
prompts = st.one_of(
    st.tuples(st.sampled_from(BASES), edits).map("".join), st.sampled_from(["", "hi", "Hi ", None])
)
answers = st.tuples(
    *[st.sampled_from(["no", "a rather long answer, said twice", "another long answer, said once"])] * 2
)
rows = st.lists(st.tuples(prompts, answers), min_size=1, max_size=14)


def oracle(many: Battles, threshold: float | None) -> list[int]:
    """The least row of every row's group, by joining pairs until nothing changes."""
    table = many.frame.to_dicts()
    keys = [F.normalised_text((row["prompt"] or [None])[0]) for row in table]
    texts = list(dict.fromkeys(keys))
    links = (
        set()
        if threshold is None
        else set(map(tuple, near_duplicate_links(texts, threshold=threshold).tolist()))
    )
    sides = [
        tuple(sorted("\n".join(row[side]).strip() for side in ("response_a", "response_b"))) for row in table
    ]

    def together(i: int, j: int) -> bool:
        alike = sides[i] == sides[j] and sum(map(len, sides[i])) >= 40
        pair = tuple(sorted((texts.index(keys[i]), texts.index(keys[j]))))
        return keys[i] == keys[j] or alike or pair in links or pair[::-1] in links

    label = list(range(len(table)))
    for i in range(len(table)):
        for j in range(i):
            if together(i, j):
                old, new = max(label[i], label[j]), min(label[i], label[j])
                label = [new if k == old else k for k in label]
    return label


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows, st.data(), st.sampled_from([0.7, 0.9, None]), st.booleans())
def test_groups_do_not_depend_on_how_the_battles_are_cut(
    tmp_path: Path,
    table: list[tuple[str | None, tuple[str, str]]],
    data: st.DataObject,
    threshold: float | None,
    on_disk: bool,
) -> None:
    many = battles([prompt for prompt, _ in table], answers=[pair for _, pair in table])
    whole = F.grouping(many, near_duplicates=threshold)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(many)), max_size=4)) | {0, len(many)})
    with ScratchPrompts(tmp_path, near_duplicates=threshold or 0.7) as store:
        builder = F.GroupBuilder(near_duplicates=threshold, store=store if on_disk else None)
        for start, stop in itertools.pairwise(cuts):
            builder.add(many.take(range(start, stop)))
        found = builder.finish()
    np.testing.assert_array_equal(found.group, whole.group)
    counts = ("prompts", "joined_by_answers", "joined_by_similarity", "groups", "largest")
    assert [getattr(found, name) for name in counts] == [getattr(whole, name) for name in counts]
    least = oracle(many, threshold)
    assert found.group.tolist() == [sorted(set(least)).index(label) for label in least]
    assert not list(tmp_path.iterdir())


def test_nothing_and_a_wrong_threshold() -> None:
    found = F.GroupBuilder().finish()
    assert (len(found.group), found.groups, found.prompts) == (0, 0, 0)
    with pytest.raises(InputError, match="near_duplicates is 0"):
        F.GroupBuilder(near_duplicates=0)


def test_prompts_on_a_disk_come_back_between_further_ones(tmp_path: Path) -> None:
    texts = ["", "plain", "ß 漢字 😀", "a\x00b", "lone \ud83d"]
    keys = np.arange(125, dtype=np.uint64).reshape(5, 25)
    with ScratchPrompts(tmp_path) as store:
        for k, text in enumerate(texts):
            store.add([text], keys[[k]])
            assert [store.text(place) for place in range(k + 1)] == texts[: k + 1]
            np.testing.assert_array_equal(store.band(3), keys[: k + 1, 3])
