"""Forms of AdamW: against PyTorch's own, in bfloat16, in 8 bits, killed and resumed, out of memory."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from architectures import battles, recipe, save_base

from arena_ensemble.backbones.language import optimizers
from arena_ensemble.backbones.language.model import MemberModel
from arena_ensemble.backbones.language.opening import open_model
from arena_ensemble.backbones.language.optimizers import KahanAdamW, build_optimizer, state_bytes
from arena_ensemble.backbones.language.trainer import Trainer
from arena_ensemble.backbones.language.training_data import training_set_of
from arena_ensemble.errors import DependencyError, MemberError, RecipeError
from arena_ensemble.recipes import recipe_from

CPU = torch.device("cpu")
eight_bits = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="the extra arena-ensemble[quantised] is absent"
)


def groups(weights: list[torch.nn.Parameter], rate: float, decay: float = 0.0) -> list[dict[str, Any]]:
    return [{"params": weights, "lr": rate, "weight_decay": decay}]


def descend(
    dtype: torch.dtype, make: Callable[[list[dict[str, Any]]], torch.optim.Optimizer], steps: int
) -> torch.Tensor:
    """Weights after many small noisy steps towards a target; the noise is the same for every optimizer."""
    random = torch.Generator().manual_seed(0)
    start, target = torch.randn(2, 500, generator=random)
    weight = torch.nn.Parameter(start.to(torch.bfloat16).to(dtype))
    optimizer = make(groups([weight], 1e-4, decay=0.01))
    for _ in range(steps):
        noise = 0.3 * torch.randn(500, generator=random)
        weight.grad = (start - target + noise).to(torch.bfloat16).to(dtype)
        optimizer.step()
    return weight.detach().float()


def test_bfloat16_with_kahan_sums_follows_float32_where_plain_bfloat16_stands_still() -> None:
    steps = 150
    exact = descend(torch.float32, lambda g: build_optimizer("adamw", g, CPU), steps)
    start = descend(torch.float32, lambda g: build_optimizer("adamw", g, CPU), 0)
    kahan = descend(torch.bfloat16, KahanAdamW, steps)
    plain = descend(torch.bfloat16, torch.optim.AdamW, steps)
    travelled = float((exact - start).abs().mean())
    assert travelled > 0.01
    rounding = float((exact.bfloat16().float() - exact).abs().mean())  # nearer no bfloat16 weight can come
    assert float((kahan - exact).abs().mean()) < 1.1 * rounding + 0.02 * travelled
    assert float((plain - exact).abs().mean()) > 0.4 * travelled


def test_on_float32_weights_it_is_pytorchs_adamw() -> None:
    found = [
        descend(torch.float32, make, 20) for make in (KahanAdamW, lambda g: build_optimizer("adamw", g, CPU))
    ]
    torch.testing.assert_close(found[0], found[1], atol=8e-6, rtol=0)


@pytest.mark.parametrize("name", ["adamw", "adamw-kahan", pytest.param("adamw-8bit", marks=eight_bits)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_bytes_foretold_are_those_kept(name: str, dtype: torch.dtype) -> None:
    weights = [torch.nn.Parameter(torch.randn(n).to(dtype)) for n in (64 * 256, 300)]
    optimizer = build_optimizer(name, groups(weights, 1e-3), CPU)
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    optimizer.step()
    kept = sum(
        value.numel() * value.element_size()
        for weight in weights
        for key, value in optimizer.state[weight].items()
        if isinstance(value, torch.Tensor) and key != "step" and not key.startswith("qmap")
    )
    if name == "adamw" and dtype is torch.bfloat16:
        kept *= 2  # moments of the weights' type; no recipe trains so
    assert kept == state_bytes(name, weights)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_base(tmp_path_factory.mktemp("base") / "llama", "llama")


def member_of(base: Path, cache: Path, name: str, **train: Any) -> MemberModel:
    values = {"epochs": 3, "batch_rows": 4, "learning_rate": 1e-3, "checkpoint_every": 4, "optimizer": name}
    kind = {"kind": "full"} if name != "adamw" else {"kind": "lora"}
    return open_model(recipe(base, train={**values, **train}, adapter=kind), cache=cache)


def trainer_of(member: MemberModel) -> Trainer:
    training_set, _ = training_set_of(member.encoder, battles(12))
    return Trainer(
        member.head_model,
        training_set,
        member.encoder.recipe.train,
        policy=member.policy,
        seed=0,
        pad_id=member.encoder.pad_id,
        head=member.head_parameters,
        name="mine fold-0",
    )


class Killed(Exception):
    """The end of a process."""


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("adamw-kahan", "bf16"),
        pytest.param("adamw-8bit", "fp32", marks=eight_bits),
        pytest.param("adamw-paged-8bit", "bf16", marks=eight_bits),
    ],
)
def test_it_learns_and_goes_on_after_a_kill_to_the_same_bits(
    base: Path, tmp_path: Path, name: str, precision: str
) -> None:
    # ema: its steps are smaller still than a weight's
    whole = trainer_of(member_of(base, tmp_path, name, precision=precision, ema=0.9))
    bf16 = {p.dtype for p in whole.parameters} == {torch.bfloat16, torch.float32}
    assert bf16 == (name == "adamw-kahan" and precision == "bf16")
    losses = whole.run()["epoch_losses"]
    assert losses[-1] < losses[0]
    folder = tmp_path / "kept"
    for last in (6, 9):
        part = trainer_of(member_of(base, tmp_path, name, precision=precision, ema=0.9))

        def stop(done: float, *_: object, last: int = last) -> None:
            if done == last:
                raise Killed

        with pytest.raises(Killed):
            part.run(checkpoints=folder, resume=True, on_progress=stop)
    rest = trainer_of(member_of(base, tmp_path, name, precision=precision, ema=0.9))
    rest.run(checkpoints=folder, resume=True)
    for key, value in whole.named.items():
        assert torch.equal(value, rest.named[key]), key
        for part_name, kept in whole.optimizer.state[value].items():
            again = rest.optimizer.state[rest.named[key]][part_name]
            assert torch.equal(torch.as_tensor(kept), torch.as_tensor(again)), (key, part_name)


def test_bfloat16_weights_come_back_as_they_were(base: Path, tmp_path: Path) -> None:
    from arena_ensemble import backbones

    train = {"epochs": 2, "learning_rate": 1e-3, "optimizer": "adamw-kahan", "precision": "bf16"}
    chosen, module = recipe(base, train=train, adapter={"kind": "full"}), backbones.get("classify")
    folder, rows = tmp_path / "fold", battles(8)
    folder.mkdir()
    module.prepare(rows, recipe=chosen, cache=tmp_path)
    fitted = module.fit(rows, recipe=chosen, folder=folder, cache=tmp_path)
    again = module.load(folder, recipe=chosen, cache=tmp_path)
    np.testing.assert_array_equal(module.predict(again, rows), module.predict(fitted, rows))


def test_without_bitsandbytes_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    with pytest.raises(DependencyError, match=r"arena-ensemble\[quantised\]"):
        build_optimizer("adamw-8bit", [], CPU)


@eight_bits
def test_pages_are_asked_for_on_a_gpu_and_filled_again_from_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import bitsandbytes

    found: list[tuple[str, dict[str, Any]]] = []
    for name in ("AdamW8bit", "PagedAdamW8bit"):
        monkeypatch.setattr(
            bitsandbytes.optim, name, lambda groups, _name=name, **options: found.append((_name, options))
        )
    for name in ("adamw-8bit", "adamw-paged-8bit"):
        for device in ("cpu", "cuda"):
            build_optimizer(name, [], torch.device(device))
    assert [name for name, _ in found] == ["AdamW8bit", "AdamW8bit", "AdamW8bit", "PagedAdamW8bit"]
    assert all(options == found[0][1] for _, options in found)
    pages: list[torch.Tensor] = []

    def page(parameter: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        pages.append(torch.zeros_like(parameter, dtype=dtype))
        return pages[-1]

    paging = SimpleNamespace(is_paged=True, get_state_buffer=page)
    weight, kept = torch.zeros(8), torch.arange(8, dtype=torch.uint8)
    assert optimizers.on_device(paging, weight, kept) is pages[0]
    assert torch.equal(pages[0], kept)
    optimizers.on_device(paging, weight, torch.zeros(256))
    assert len(pages) == 1, "maps and scales lie in no page"


def test_out_of_memory_in_an_optimizer_step_says_what_helps(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(member_of(base, tmp_path, "adamw"))

    def step(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(trainer.optimizer, "step", step)
    with pytest.raises(MemberError, match=r"training of mine fold-0: optimizer step 1 ran out") as caught:
        trainer.run()
    for remedy in ("same command again", "checkpoint that was written is kept", "adamw-8bit", "adapter.r"):
        assert remedy in str(caught.value)


def test_a_default_optimizer_is_no_part_of_a_digest() -> None:
    values = {"backbone": "classify", "base": "tiny:encoder"}
    usual, named, other = (
        recipe_from({**values, "train": train})
        for train in ({}, {"optimizer": "adamw"}, {"optimizer": "adamw-8bit"})
    )
    assert usual.digest() == named.digest() != other.digest()
    assert usual.fit_digest() == named.fit_digest() != other.fit_digest()


def test_kahan_sums_are_for_weights_that_are_trained_in_bfloat16() -> None:
    with pytest.raises(RecipeError, match="adamw-kahan"):
        recipe_from({"backbone": "classify", "base": "tiny:encoder", "train": {"optimizer": "adamw-kahan"}})
