"""The fused adapter says and learns what PEFT's own forward does; unusual adapters keep PEFT's."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
from torch import nn

from arena_ensemble.backbones.language.speedups.fused_lora import fuse


def adapted(bias: bool = True, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 20, bias=bias), nn.Tanh(), nn.Linear(20, 3, bias=bias))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=["0", "2"], **settings)
    peft.inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    return model


def outputs_and_gradients(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_(True)
    predicted = model(x)
    predicted.square().sum().backward()
    assert x.grad is not None
    return [predicted.detach(), x.grad, *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rslora", [True, False])
def test_same_values_and_gradients_as_peft(bias: bool, rslora: bool) -> None:
    x = torch.randn(2, 5, 12)
    theirs, ours = adapted(bias, use_rslora=rslora), adapted(bias, use_rslora=rslora)
    assert fuse(ours) == 2
    one, other = outputs_and_gradients(theirs, x), outputs_and_gradients(ours, x)
    assert len(one) == len(other) == 6
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(b, a, atol=1e-5 * float(a.abs().max()), rtol=1e-5)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x)), "prediction in float32 goes PEFT's way, on merged weights"


@pytest.mark.parametrize("settings", [{"lora_dropout": 0.1}, {"use_dora": True}])
def test_other_adapters_are_left_to_peft(settings: dict[str, Any]) -> None:
    assert fuse(adapted(**settings)) == 0


def test_merged_weights_and_autocast_are_left_to_peft() -> None:
    theirs, ours = adapted(), adapted()
    fuse(ours)
    x = torch.randn(4, 12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ours(x), theirs(x))
    for model in (theirs, ours):
        for part in model.modules():
            if isinstance(part, peft.tuners.lora.LoraLayer):
                part.merge()
    assert torch.equal(ours(x), theirs(x))


def half(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The base in 16 bits, the adapters in float32, as the engine has them."""
    for name, parameter in model.named_parameters():
        if "lora_" not in name:
            parameter.data = parameter.data.to(dtype)
    return model


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("given", [torch.float32, None], ids=["float32 inputs", "inputs of 16 bits"])
def test_in_16_bits_it_is_as_near_to_float32_as_peft_is(
    bias: bool, dtype: torch.dtype, given: torch.dtype | None
) -> None:
    x = torch.randn(3, 40, 12).to(dtype)
    exact = outputs_and_gradients(half(adapted(bias), dtype).float(), x.float())
    found = []
    for fused in (False, True):
        model = half(adapted(bias), dtype)
        if fused:
            assert fuse(model) == 2
        inputs = x.to(given or dtype).clone().requires_grad_(True)
        with torch.autocast("cpu", dtype=dtype):
            predicted = model(inputs)
            with torch.no_grad():
                assert torch.equal(model(inputs), predicted), "prediction goes the way of training"
        predicted.float().square().sum().backward()
        assert inputs.grad is not None
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert {g.dtype for g in gradients} == {torch.float32}
        found.append([predicted.detach(), inputs.grad, *gradients])
    theirs, ours = found
    assert [t.dtype for t in ours] == [t.dtype for t in theirs]
    assert len(ours) == len(exact) == 6
    for right, one, other in zip(exact, theirs, ours, strict=True):
        scale = float(right.norm())
        off_theirs, off_ours = (float((t.float() - right).norm()) / scale for t in (one, other))
        assert off_ours <= 1.2 * off_theirs + torch.finfo(dtype).eps / 8
        assert off_ours < 4 * torch.finfo(dtype).eps
