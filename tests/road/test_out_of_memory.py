"""Memory that runs out at any batch, in training and in prediction: smaller batches, the same numbers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from architectures import battles, recipe, save_base

from arena_ensemble.backbones.language import adapters, gradients, out_of_memory
from arena_ensemble.backbones.language.model import MemberModel
from arena_ensemble.backbones.language.opening import open_model
from arena_ensemble.backbones.language.trainer import Trainer
from arena_ensemble.backbones.language.training import train_member
from arena_ensemble.backbones.language.training_data import training_set_of
from arena_ensemble.errors import MemberError

ROWS = battles(12)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_base(tmp_path_factory.mktemp("base") / "llama", "llama")


def member_of(base: Path, cache: Path, *, swap: str = "paired", **adapter: Any) -> MemberModel:
    # the rate is small: what is compared is arithmetic, and Adam divides by gradients near zero
    train = {"epochs": 2, "batch_rows": 6, "batch_tokens": 800, "predict_tokens": 400, "learning_rate": 1e-4}
    return open_model(recipe(base, swap=swap, train=train, adapter=adapter), cache=cache)


def trainer_of(member: MemberModel) -> Trainer:
    training_set, _ = training_set_of(member.encoder, ROWS)
    settings = member.encoder.recipe.train
    return Trainer(
        member.head_model,
        training_set,
        settings,
        policy=member.policy,
        seed=0,
        pad_id=member.encoder.pad_id,
        head=member.head_parameters,
        name="mine fold-0",
    )


class Card:
    """A forward hook that runs out of memory: at the calls of given numbers, or above a number of tokens."""

    def __init__(self, model: torch.nn.Module, *, at: tuple[int, ...] = (), most: int = 1 << 30) -> None:
        self.at, self.most, self.calls, self.refused = at, most, 0, 0
        self.backward = False
        model.register_forward_hook(self.forward, with_kwargs=False)

    def forward(self, module: Any, given: Any, output: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls - 1 in self.at or given[0]["input_ids"].numel() > self.most:
            self.refused += 1
            if self.backward and output.requires_grad:
                output.register_hook(self.fail)
                return output
            self.fail()
        return output

    def fail(self, gradient: torch.Tensor | None = None) -> None:
        if self.refused % 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """This process as the only one of a group: what it does then cannot be cut, for the others would wait."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def test_a_card_of_several_names_the_keys(base: Path, tmp_path: Path, group: None) -> None:
    member = member_of(base, tmp_path)
    trainer = trainer_of(member)
    card = Card(member.head_model, most=300)
    with pytest.raises(
        MemberError,
        match=r"training of mine fold-0: out of memory in process 0 of 1; set "
        r"train.gradient_checkpointing = true, train.batch_tokens lower, or machine.processes higher",
    ):
        trainer.run()
    card.most = 100
    rows = member.encoder.joined(member.encoder.encode(ROWS.without_outcomes()))
    with pytest.raises(
        MemberError,
        match=r"prediction of test: out of memory in process 0 of 1; set predict.tokens lower, or "
        r"machine.processes higher",
    ):
        member.log_probs(rows)


def weights(trainer: Trainer) -> dict[str, np.ndarray[Any, Any]]:
    return {name: p.detach().numpy().copy() for name, p in trainer.named.items()}


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_training_comes_to_the_same_weights(base: Path, tmp_path: Path, where: str, backward: bool) -> None:
    plain = trainer_of(member_of(base, tmp_path))
    card = Card(plain.head_model)
    facts = plain.run()
    assert facts["batch_tokens"] == 800
    at = {"first": 0, "middle": card.calls // 2, "last": card.calls - 1}[where]
    hit = trainer_of(member_of(base, tmp_path))
    card = Card(hit.head_model, at=(at, at + 1))
    card.backward = backward
    found = hit.run()
    assert card.refused
    assert found["batch_tokens"] <= 384
    for name, value in weights(plain).items():
        np.testing.assert_allclose(weights(hit)[name], value, rtol=0, atol=2e-6, err_msg=name)
    for name in ("training_tokens", "optimizer_steps"):
        assert found[name] == facts[name], "a step that was repeated counts once"
    np.testing.assert_allclose(found["epoch_losses"], facts["epoch_losses"], atol=2e-6)


def test_it_finds_the_size_that_fits_and_says_so_once(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = trainer_of(member_of(base, tmp_path))
    plain.run()
    hit = trainer_of(member_of(base, tmp_path))
    card = Card(hit.head_model, most=300)
    with caplog.at_level(logging.WARNING):
        facts = hit.run()
    assert 128 <= facts["batch_tokens"] <= 300
    assert card.refused <= 4, "what was learned of the size is kept"
    told = [record.message for record in caplog.records if "out of memory" in record.message]
    assert len(told) <= 2
    assert "training of mine fold-0" in told[0]
    for name, value in weights(plain).items():
        np.testing.assert_allclose(weights(hit)[name], value, rtol=0, atol=2e-6, err_msg=name)


def test_the_smaller_size_outlives_the_session(base: Path, tmp_path: Path) -> None:
    hit = trainer_of(member_of(base, tmp_path))
    hit.settings = hit.settings.model_copy(update={"checkpoint_every": 3})
    Card(hit.head_model, most=300)
    facts = hit.run(checkpoints=tmp_path / "kept")
    again = trainer_of(member_of(base, tmp_path))
    again.settings = hit.settings
    card = Card(again.head_model, most=300)
    resumed = again.run(checkpoints=tmp_path / "kept", resume=True)
    assert card.refused == 0
    assert resumed["batch_tokens"] == facts["batch_tokens"]
    assert all(torch.equal(a, b) for a, b in zip(hit.parameters, again.parameters, strict=True))


class Switch:
    """What turns recomputation on; a card then holds more."""

    def __init__(self, card: Card, most: int) -> None:
        self.card, self.most, self.tokens = card, most, list[int]()

    def __call__(self) -> None:
        self.tokens.append(self.card.calls)
        self.card.most = self.most


@pytest.mark.parametrize("rehearse", [False, True])
@pytest.mark.parametrize(
    ("enough", "most", "then", "switched", "tokens"),
    [
        (100, 1 << 30, 0, False, 800),  # all fits as it is
        (100, 300, 1 << 30, False, 300),  # halves are large enough: nothing is computed twice
        (400, 300, 1 << 30, True, 800),  # they are not: whole micro-batches, recomputed
        (400, 300, 400, True, 400),  # and halves of those
        (1, 0, 1 << 30, True, 800),  # nothing left to halve
    ],
)
def test_recomputation_comes_after_large_halves_and_before_small_ones(
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    enough: int,
    most: int,
    then: int,
    switched: bool,
    tokens: int,
    rehearse: bool,
) -> None:
    monkeypatch.setattr(gradients, "ENOUGH_TOKENS", enough)
    plain = trainer_of(member_of(base, tmp_path))
    plain.run()
    hit = trainer_of(member_of(base, tmp_path))
    card = Card(hit.head_model, most=most)
    switch = Switch(card, then)
    hit.gradients.recompute = switch
    facts = hit.run(rehearse=rehearse)
    assert len(switch.tokens) == switched == facts["gradient_checkpointing"]
    assert tokens // 2 < facts["batch_tokens"] <= tokens
    for name, value in weights(plain).items():
        np.testing.assert_allclose(weights(hit)[name], value, rtol=0, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("rehearse", [False, True])
def test_recomputation_outlives_the_session(base: Path, tmp_path: Path, rehearse: bool) -> None:
    """It is turned on before the first step of the next, which meets no error; nor are halves halved."""
    for most, then in ((200, 1 << 30), (100, 300)):
        hit = trainer_of(member_of(base, tmp_path))
        hit.settings = hit.settings.model_copy(update={"checkpoint_every": 3})
        card = Card(hit.head_model, most=most)
        hit.gradients.recompute = Switch(card, then)
        facts = hit.run(checkpoints=tmp_path / f"{then}")
        again = trainer_of(member_of(base, tmp_path))
        again.settings = hit.settings
        card = Card(again.head_model, most=most)
        again.gradients.recompute = switch = Switch(card, then)
        found = again.run(checkpoints=tmp_path / f"{then}", resume=True, rehearse=rehearse)
        assert card.refused == 0
        assert switch.tokens == [0]
        for name in ("batch_tokens", "gradient_checkpointing"):
            assert found[name] == facts[name]
        assert all(torch.equal(a, b) for a, b in zip(hit.parameters, again.parameters, strict=True))


def test_a_model_that_cannot_recompute_gets_smaller_batches(base: Path, tmp_path: Path) -> None:
    hit = trainer_of(member_of(base, tmp_path))
    Card(hit.head_model, most=300)

    def refuse() -> None:
        raise ValueError("LlamaModel is not compatible with gradient checkpointing.")

    hit.gradients.recompute = refuse
    facts = hit.run()
    assert facts["batch_tokens"] <= 300
    assert facts["gradient_checkpointing"] is False


def test_the_recipe_s_auto_turns_the_model_s_own_recomputation_on(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The real switch, through the backbone: the card is full until the layers recompute."""
    found = []
    for full in (False, True):
        member = member_of(base, tmp_path)
        assert member.encoder.recipe.train.gradient_checkpointing == "auto"
        layers = [m for m in member.head_model.modules() if hasattr(m, "gradient_checkpointing")]
        card = Card(member.head_model)

        def forward(*_: Any, card: Card = card, layers: list[Any] = layers, full: bool = full) -> None:
            card.most = 0 if full and not layers[-1].gradient_checkpointing else 1 << 30

        member.head_model.register_forward_pre_hook(forward)
        training_set, _ = training_set_of(member.encoder, ROWS)
        with caplog.at_level(logging.INFO):
            facts = train_member(
                member, training_set, ROWS.take(np.arange(0)), folder=tmp_path / "fold-0", resume=False,
                on_progress=None,
            )  # fmt: skip
        assert facts["gradient_checkpointing"] == full == layers[-1].gradient_checkpointing
        found.append(adapters.trained_parameters(member.head_model))
    assert sum("computed again" in record.message for record in caplog.records) == 1
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=0, atol=2e-6)


def test_a_single_row_too_many_names_the_remedies(base: Path, tmp_path: Path) -> None:
    hit = trainer_of(member_of(base, tmp_path))
    before = weights(hit)
    Card(hit.head_model, most=0)
    with pytest.raises(
        MemberError, match=r"training of mine fold-0: out of memory with a single row"
    ) as caught:
        hit.run()
    for remedy in ("prompt.max_tokens", "gradient_checkpointing", "4bit", "smaller base"):
        assert remedy in str(caught.value)
    assert all(np.array_equal(before[name], value) for name, value in weights(hit).items())


@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_prediction_comes_to_the_same_numbers(base: Path, tmp_path: Path, where: str) -> None:
    member = member_of(base, tmp_path).ready()
    sequences = member.encoder.joined(member.encoder.encode(ROWS))
    card = Card(member.head_model)
    plain = member.log_probs(sequences)
    batches, card.calls = card.calls, 0
    assert batches > 3
    at = {"first": 0, "middle": batches // 2, "last": batches - 1}[where]
    card.at = (at,)
    np.testing.assert_allclose(member.log_probs(sequences), plain, atol=2e-6)
    assert card.refused == 1
    card.at, card.most = (), 300
    np.testing.assert_allclose(member.log_probs(sequences), plain, atol=2e-6)
    refused = card.refused
    np.testing.assert_allclose(member.log_probs(sequences), plain, atol=2e-6)
    assert card.refused == refused, "the size that fits is remembered"
    card.most = 0
    with pytest.raises(MemberError, match=r"prediction of .* out of memory with a single row"):
        member.log_probs(sequences)


def test_a_rehearsal_changes_no_bit(base: Path, tmp_path: Path) -> None:
    found = []
    for rehearse in (False, True):
        torch.manual_seed(5)
        trainer = trainer_of(member_of(base, tmp_path, dropout=0.3))
        card = Card(trainer.head_model)
        facts = trainer.run(rehearse=rehearse)
        found.append((card.calls, trainer, {k: v for k, v in facts.items() if "second" not in k}))
    (calls, plain, facts), (more, rehearsed, others) = found
    assert more == calls + 2
    assert facts == others
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters, rehearsed.parameters, strict=True))


def test_a_rehearsal_meets_the_fullest_batch_before_any_step(base: Path, tmp_path: Path) -> None:
    trainer = trainer_of(member_of(base, tmp_path))
    card = Card(trainer.head_model, most=300)
    steps: list[int] = []
    trainer.optimizer.register_step_pre_hook(lambda *_: steps.append(card.refused))
    facts = trainer.run(rehearse=True)
    assert facts["batch_tokens"] <= 300
    assert steps[0] == card.refused, "no step runs out of memory after the rehearsal"


def test_other_errors_pass(base: Path, tmp_path: Path) -> None:
    assert not out_of_memory.is_out_of_memory(RuntimeError("shapes cannot be multiplied"))
    assert not out_of_memory.is_out_of_memory(ValueError("out of memory"))
    with pytest.raises(RuntimeError, match="shapes"):
        out_of_memory.attempt(lambda: (_ for _ in ()).throw(RuntimeError("shapes")))
