"""liger-kernel's norms and feed-forward blocks: which models get them, and that they compute the same."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import architectures
import pytest
import torch
import transformers

from arena_ensemble.backbones.language import opening
from arena_ensemble.backbones.language.speedups import liger
from arena_ensemble.errors import DependencyError, RecipeError

ON_A_CARD = torch.cuda.is_available() and liger.installed()


def _config(kind: str) -> Any:
    return SimpleNamespace(model_type=kind)


@pytest.mark.parametrize(("cuda", "there", "kind", "gets"), [
    (True, True, "llama", True), (False, True, "llama", False), (True, False, "llama", False),
    (True, True, "bert", False),
])  # fmt: skip
def test_auto_takes_them_where_they_run(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, there: bool, kind: str, gets: bool
) -> None:
    monkeypatch.setattr(liger, "installed", lambda: there)
    assert liger.wanted("auto", _config(kind), cuda=cuda) is gets
    assert not liger.wanted("plain", _config(kind), cuda=cuda)


def test_asked_for_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liger, "installed", lambda: False)
    with pytest.raises(DependencyError, match="pip install"):
        liger.wanted("liger", _config("llama"), cuda=True)
    monkeypatch.setattr(liger, "installed", lambda: True)
    with pytest.raises(RecipeError, match="needs a GPU"):
        liger.wanted("liger", _config("llama"), cuda=False)
    with pytest.raises(RecipeError, match="not checked for a base of type 'bert'"):
        liger.wanted("liger", _config("bert"), cuda=True)
    assert liger.wanted("liger", _config("qwen3"), cuda=True)


def test_other_models_of_the_process_stay_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """liger-kernel exchanges the classes of transformers' module beside the parts of the model at hand."""
    from transformers.models.llama import modeling_llama

    seen: dict[str, Any] = {}

    def patch(model: Any, **options: Any) -> None:
        seen.update(options, model=model)
        monkeypatch.setattr(modeling_llama, "LlamaRMSNorm", torch.nn.Identity)
        model.norm.marked = True

    package, inner = ModuleType("liger_kernel"), ModuleType("liger_kernel.transformers")
    inner._apply_liger_kernel_to_instance = patch  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "liger_kernel", package)
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", inner)
    before = modeling_llama.LlamaRMSNorm
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    model = transformers.LlamaForSequenceClassification(config)
    liger.apply(model)
    assert seen["model"] is model.model
    assert model.model.norm.marked
    assert seen["rms_norm"]
    assert seen["swiglu"]
    assert seen["geglu"]
    assert not (seen["rope"])
    assert not (seen["cross_entropy"])
    assert not (seen["fused_linear_cross_entropy"])
    assert modeling_llama.LlamaRMSNorm is before


@pytest.mark.skipif(not ON_A_CARD, reason="needs a GPU and liger-kernel")
@pytest.mark.parametrize("kind", liger.FAMILIES)
@pytest.mark.parametrize("backbone", ["classify", "generate"])
def test_the_same_numbers_on_a_card(tmp_path: Any, kind: str, backbone: str) -> None:
    """Log-probabilities and the gradients of the adapters, in float32."""
    base = architectures.save_base(tmp_path / "base", kind)
    found = []
    for kernels in ("plain", "liger"):
        recipe = architectures.recipe(base, backbone, train={"kernels": kernels, "precision": "fp32"})
        member = opening.open_model(recipe, cache=tmp_path / "cache")
        assert member.facts["kernels"] == kernels
        for name, parameter in member.head_model.named_parameters():
            if ".lora_B." in name:
                with torch.no_grad():
                    parameter.copy_(torch.sin(torch.arange(parameter.numel())).view_as(parameter) / 10)
        ids = torch.arange(3, 43, device=member.policy.device).view(1, 40)
        output = member.head_model.model(input_ids=ids).logits.float()
        output.square().mean().backward()
        grads = {n: p.grad.clone() for n, p in member.head_model.named_parameters() if p.grad is not None}
        found.append((output.detach(), grads))
    (plain, plain_grads), (fast, fast_grads) = found
    torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-3)
    assert fast_grads.keys() == plain_grads.keys()
    for name, value in plain_grads.items():
        scale = float(value.abs().max()) + 1e-6
        torch.testing.assert_close(fast_grads[name] / scale, value / scale, rtol=0, atol=1e-2)
