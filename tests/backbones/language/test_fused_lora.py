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
        assert torch.equal(ours(x), theirs(x)), "reading goes PEFT's way"


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
