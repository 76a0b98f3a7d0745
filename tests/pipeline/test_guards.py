"""The guards where a member enters an ensemble, without files and without the command line."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import polars as pl
import pytest
from external_members import softmax

from arena_ensemble.errors import InputError
from arena_ensemble.features import Features
from arena_ensemble.pipeline.guards import check_members, check_tests, refuse_exchanged_columns
from arena_ensemble.predictions import Predictions

ROWS = 600


def predictions(probs: Any) -> Predictions:
    n = len(probs)
    return Predictions(pl.Series("id", range(n)), np.log(np.maximum(probs, 1e-15)), np.full(n, -1))


def world(seed: int, rows: int = ROWS) -> tuple[Any, Any]:
    """True logits (n, 3) and votes."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, 3)) * 1.2 + [0.2, 0.0, -0.4]
    votes = (rng.random(rows)[:, None] > softmax(logits).cumsum(axis=1)[:, :2]).sum(axis=1)
    return logits, votes


def honest(logits: Any, seed: int) -> Any:
    return softmax(0.7 * logits + 0.5 * np.random.default_rng(seed).normal(size=logits.shape))


def test_honest_members_pass_at_every_size() -> None:
    for seed in range(40):
        logits, votes = world(seed, rows=(60, 150, 300, 900)[seed % 4])
        members = {f"m{k}": predictions(honest(logits, 50 * seed + k)) for k in range(3)}
        assert not check_members(members, votes, external=members).alarms


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_exchanged_columns_are_refused_for_external_members_alone(order: tuple[int, int, int]) -> None:
    logits, votes = world(1)
    members = {"theirs": predictions(honest(logits, 1)[:, list(order)])}
    with pytest.raises(InputError, match="'theirs': its columns look exchanged"):
        check_members(members, votes, external=["theirs"])
    assert not check_members(members, votes).alarms


def test_members_that_know_nothing_are_alarms_whatever_their_columns() -> None:
    _, votes = world(2)
    rng = np.random.default_rng(0)
    for base in ([0.3, 0.3, 0.4], [0.1, 0.1, 0.8], [0.36, 0.34, 0.3]):
        for spread in (0.0, 0.02, 0.3):
            probs = softmax(np.log(base) + spread * rng.normal(size=(ROWS, 3)))
            found = check_members({"theirs": predictions(probs)}, votes, external=["theirs"])
            assert found.alarms["theirs"], (base, spread)


def test_a_weak_member_of_few_rows_is_a_quiet_note_at_most() -> None:
    notes = 0
    for seed in range(8):
        logits, votes = world(seed, rows=40)
        noise = np.random.default_rng(seed).normal(size=logits.shape)
        shares = (np.bincount(votes, minlength=3) + 1) / 43
        weak = predictions(softmax(np.log(shares) + 0.05 * logits + 0.05 * noise))
        found = check_members({"theirs": weak}, votes, external=["theirs"])
        assert not found.alarms
        notes += bool(found.notes["theirs"])
    assert notes


def test_folds_of_an_external_member_that_split_groups_are_noted() -> None:
    logits, votes = world(10)
    probs = honest(logits, 1)
    group = np.arange(ROWS) // 2
    given = predictions(probs)
    for fold, split in ((group % 3, 0), (np.arange(ROWS) % 3, ROWS // 2), (np.full(ROWS, -1), 0)):
        member = Predictions(given.ids, given.log_probs, fold)
        found = check_members({"theirs": member}, votes, groups=group, external=["theirs"])
        assert not found.alarms
        told = [note for note in found.notes["theirs"] if "different folds" in note]
        assert len(told) == (split > 0)
        assert all(f"{split} groups" in note for note in told)


def test_a_member_whose_tie_rate_alone_is_off_knows_something() -> None:
    logits, votes = world(4, rows=2000)
    probs = honest(logits, 1) * [1, 1, 0.3]
    found = check_members(
        {"theirs": predictions(probs / probs.sum(axis=1, keepdims=True))}, votes, external=["theirs"]
    )
    assert not found.alarms


def test_the_same_exchange_in_all_members_is_told_from_one_in_some() -> None:
    logits, votes = world(5)
    wrong = {name: predictions(honest(logits, k)[:, [1, 0, 2]]) for k, name in enumerate("abc")}
    with pytest.raises(InputError, match=r"all 3 external members .a, b, c. .* labels are coded otherwise"):
        refuse_exchanged_columns(wrong, votes)
    with pytest.raises(InputError, match=r"member 'a': its columns look exchanged .and those of b.:"):
        refuse_exchanged_columns({**wrong, "c": predictions(honest(logits, 7))}, votes)


def test_of_three_external_members_the_exchanged_test_file_is_named() -> None:
    logits, _ = world(6)
    test_logits, _ = world(7, rows=300)
    members = {name: predictions(honest(logits, k)) for k, name in enumerate("abc")}
    tests = {name: predictions(honest(test_logits, k)) for k, name in enumerate("abc")}
    check_tests(members, tests, external=members)
    for name in "abc":
        wrong = {**tests, name: predictions(np.exp(tests[name].log_probs)[:, [1, 0, 2]])}
        with pytest.raises(InputError, match=f"member '{name}': A and B look exchanged"):
            check_tests(members, wrong, external=members)
        with pytest.raises(InputError, match=f"member '{name}': A and B look exchanged"):
            check_tests(members, wrong, external=[name])
    two = {name: members[name] for name in "ab"}
    wrong = {"a": tests["a"], "b": predictions(np.exp(tests["b"].log_probs)[:, [1, 0, 2]])}
    with pytest.raises(InputError, match="one of the members a, b: A and B look exchanged"):
        check_tests(two, wrong, external=two)


def test_what_cannot_be_compared_is_said(caplog: pytest.LogCaptureFixture) -> None:
    logits, _ = world(8)
    member = predictions(honest(logits, 1))
    caplog.set_level(logging.WARNING)
    check_tests({"a": member}, {"a": member}, external=["a"])
    assert "nothing tells whether A and B are exchanged" in caplog.text
    caplog.clear()
    odd = Features(logits[:, :1] - logits[:, 1:2], np.zeros((ROWS, 0)), ("length.diff",), ())
    check_tests({"a": member}, {"a": member}, external=["a"], features=odd, test_features=odd)
    assert not caplog.text


def test_perfection_is_an_alarm_for_members_that_were_trained_here_too() -> None:
    _, votes = world(9)
    perfect = predictions(softmax(3.0 * np.eye(3)[votes]))
    assert "is right in 100.0% of 600 rows" in check_members({"mine": perfect}, votes).alarms["mine"][0]
