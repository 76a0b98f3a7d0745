"""A micro-batch made ahead is the one that would have been made on time, and its errors surface."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import battles, recipe, save_base
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.backbones.language import adapters, gradients, inference
from arena_ensemble.backbones.language.ahead import Ahead
from arena_ensemble.backbones.language.batching import Index
from arena_ensemble.backbones.language.objective import SoftLoss
from arena_ensemble.backbones.language.opening import open_model
from arena_ensemble.backbones.language.trainer import Trainer
from arena_ensemble.backbones.language.training_data import training_set_of

ROWS = battles(12)
ASKED = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), min_size=1, max_size=8)


@given(asked=ASKED, expected=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), max_size=8))
def test_what_is_asked_for_is_what_comes_whatever_was_expected(
    asked: list[list[int]], expected: list[list[int]]
) -> None:
    made = Ahead(lambda rows: rows.sum())
    for k, rows in enumerate(asked):
        then = np.asarray(expected[k]) if k < len(expected) else None
        assert made.get(np.asarray(rows), then) == sum(rows)


def test_the_next_is_made_in_one_other_thread_and_only_once() -> None:
    threads: list[tuple[list[int], bool]] = []

    def make(rows: Index) -> int:
        threads.append((rows.tolist(), threading.current_thread() is threading.main_thread()))
        return int(rows[0])

    made, parts = Ahead(make), [np.asarray([k]) for k in range(4)]
    found = [made.get(part, then) for part, then in zip(parts, [*parts[1:], None], strict=True)]
    assert found == [0, 1, 2, 3]
    assert threads == [([0], True), ([1], False), ([2], False), ([3], False)]


def test_an_error_comes_when_its_rows_are_asked_for() -> None:
    def make(rows: Index) -> int:
        if rows[0] == 1:
            raise ValueError("row 1 is broken")
        return int(rows[0])

    made = Ahead(make)
    assert made.get(np.asarray([0]), np.asarray([1])) == 0
    with pytest.raises(ValueError, match="row 1 is broken"):
        made.get(np.asarray([1]), np.asarray([2]))
    assert made.get(np.asarray([0]), np.asarray([1])) == 0
    assert made.get(np.asarray([2])) == 2, "what was expected and is not asked for harms nobody"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_base(tmp_path_factory.mktemp("base") / "llama", "llama")


class OnTime(Ahead[Any]):
    """Makes nothing ahead."""

    def get(self, rows: Index, then: Index | None = None) -> Any:
        return super().get(rows)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_training_and_prediction_are_the_same_to_the_bit(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dropout: float
) -> None:
    """With micro-batches of one step and of the next made ahead, and with a teacher and weights."""
    rng = np.random.default_rng(0)
    soft = np.log(rng.dirichlet(np.ones(3), len(ROWS)))
    soft[::3] = np.nan
    found = []
    for kind in (OnTime, Ahead):
        made: list[bool] = []
        monkeypatch.setattr(gradients, "Ahead", kind)
        monkeypatch.setattr(inference, "Ahead", kind)
        train = {"epochs": 2, "batch_rows": 6, "batch_tokens": 200, "predict_tokens": 200}
        member = open_model(recipe(base, train=train, adapter={"dropout": dropout}), cache=tmp_path)
        training_set, _ = training_set_of(
            member.encoder, ROWS, soft_targets=soft, weights=np.linspace(0.5, 2.0, len(ROWS))
        )
        torch.manual_seed(3)
        trainer = Trainer(
            member.head_model, training_set, member.encoder.recipe.train, policy=member.policy, seed=0,
            pad_id=member.encoder.pad_id, head=member.head_parameters, soft=SoftLoss(share=0.5),
        )  # fmt: skip
        whole = trainer.gradients._prepared

        def noted(rows: Index, whole: Any = whole, made: list[bool] = made) -> Any:
            made.append(threading.current_thread() is threading.main_thread())
            return whole(rows)

        trainer.gradients._ahead._make = noted
        trainer.run()
        weights = adapters.trained_parameters(member.head_model)
        logits = member.ready().log_probs(member.encoder.joined(member.encoder.encode(ROWS)))
        found.append((weights, logits, made))
    (plain, logits, on_time), (others, other_logits, made) = found
    assert all(torch.equal(weight, others[name]) for name, weight in plain.items())
    assert np.array_equal(logits, other_logits)
    assert all(on_time)
    assert len(made) == len(on_time)
    assert sum(made) == 2, "only the first of each epoch is not made ahead"
