from __future__ import annotations

import numpy as np
import pytest
from noisy_members import strong_weak_and_noise

from arena_ensemble.diagnostics.label_leakage import leakage_suspicions


def test_honest_members_are_not_suspected() -> None:
    for seed in range(5):
        members, y = strong_weak_and_noise(seed=seed)
        assert leakage_suspicions(members, y) == []
    assert leakage_suspicions({"alone": members["strong"]}, y) == []


def test_a_member_that_saw_the_labels_is_named_with_its_evidence() -> None:
    members, y = strong_weak_and_noise()
    rng = np.random.default_rng(1)
    sees_labels = np.full((len(y), 3), 0.05)
    sees_labels[np.arange(len(y)), y] = 0.9
    sees_labels[rng.random(len(y)) < 0.1] = 1 / 3
    found = leakage_suspicions({**members, "leak": sees_labels}, y)
    assert [one.member for one in found] == ["leak"]
    assert "errs as rarely" in found[0].reasons[0]
    assert found[0].evidence["advantage"] > 0.05
    partly = members["weak"].copy()
    partly[: len(y) // 4] = sees_labels[: len(y) // 4]
    found = leakage_suspicions({**members, "partly": partly}, y)
    assert [one.member for one in found] == ["partly"]
    assert any("row blocks" in reason for reason in found[0].reasons)
    scattered = members["weak"].copy()
    saw = rng.random(len(y)) < 0.3
    scattered[saw] = sees_labels[saw]
    found = leakage_suspicions({**members, "scattered": scattered}, y)
    assert [one.member for one in found] == ["scattered"]
    assert any("surest" in reason for reason in found[0].reasons)


def test_an_over_confident_other_member_makes_nobody_suspect() -> None:
    for seed in range(5):
        members, y = strong_weak_and_noise(seed=seed)
        loud = np.log(members["weak"]) * 4
        loud = np.exp(loud - np.log(np.exp(loud).sum(axis=1, keepdims=True)))
        assert leakage_suspicions({"strong": members["strong"], "loud": loud}, y) == []


@pytest.mark.parametrize("rows", [300, 732, 2874])
def test_beside_a_useless_member_nobody_looks_leaked(rows: int) -> None:
    """Any honest member looks far better than one that knows nothing, everywhere alike."""
    for seed in range(7):
        members, y = strong_weak_and_noise(rows, seed)
        strong = members["strong"]
        confident = np.random.default_rng(seed).dirichlet([0.3, 0.3, 0.3], size=rows)
        for useless in (members["noise"], np.full((rows, 3), 1 / 3), confident):
            assert leakage_suspicions({"strong": strong, "useless": useless}, y) == []
