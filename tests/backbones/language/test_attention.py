"""Attention kernels beside each other: expanded heads and flex attention give what the usual ones do."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from architectures import battles, recipe, save_base
from torch.nn.attention.flex_attention import create_block_mask, create_mask
from transformers.integrations import sdpa_attention

from arena_ensemble.backbones.language import adapters, loading
from arena_ensemble.backbones.language.attention import EXPANDED, expand_shared_heads
from arena_ensemble.backbones.language.inference import predict_logits
from arena_ensemble.backbones.language.model import MemberModel
from arena_ensemble.backbones.language.opening import open_model
from arena_ensemble.planning import meta_model

SHARED = ("llama", "qwen3", "mistral", "gemma3_text", "phi3")


def opened(base: Path, policy: loading.Policy, monkeypatch: pytest.MonkeyPatch, **train: Any) -> MemberModel:
    monkeypatch.setattr(loading, "choose_policy", lambda *_: policy)
    return open_model(recipe(base, train=train), cache=base / "cache")


def logits_of(member: MemberModel, *, packed: bool = False) -> Any:
    sequences = member.encoder.joined(member.encoder.encode(battles()))
    return predict_logits(
        member.head_model,
        sequences,
        policy=member.policy,
        pad_id=member.encoder.pad_id,
        batch_tokens=512,
        packed=packed,
    )


def gradients(member: MemberModel) -> torch.Tensor:
    """Of every adapter, for a batch of two rows without a mask."""
    ids = torch.arange(24).reshape(2, 12) % 40 + 5
    member.head_model({"input_ids": ids, "last": torch.tensor([11, 7])}).square().sum().backward()
    named = adapters.trained_parameters(member.head_model)
    return torch.cat([p.grad.flatten() for p in named.values() if p.grad is not None])


@pytest.mark.parametrize("kind", SHARED)
def test_expanded_heads_give_the_same_numbers(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, cpu = save_base(tmp_path / kind, kind), torch.device("cpu")
    plain = opened(base, loading.Policy(cpu, torch.float32, None), monkeypatch)
    expanded = opened(base, loading.Policy(cpu, torch.float32, None, expand=True), monkeypatch)
    assert (plain.facts["attention"], expanded.facts["attention"]) == ("sdpa", EXPANDED)
    assert plain.facts["last_layer"] == expanded.facts["last_layer"] == "where it is read"
    for packed in (False, True):
        one, other = logits_of(plain, packed=packed), logits_of(expanded, packed=packed)
        np.testing.assert_allclose(other, one, atol=1e-5)
        assert one.std() > 1e-3
    one_grad, other_grad = gradients(plain), gradients(expanded)
    torch.testing.assert_close(other_grad, one_grad, atol=1e-5, rtol=1e-4)
    assert float(one_grad.abs().max()) > 1e-3


def test_no_kernel_meets_shared_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the expansion transformers passes ``enable_gqa``; with it, as many keys as queries."""
    base, cpu = save_base(tmp_path / "llama", "llama"), torch.device("cpu")
    seen: list[tuple[bool, bool]] = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def spy(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **named: Any) -> torch.Tensor:
        seen.append((bool(named.get("enable_gqa")), query.shape[1] == key.shape[1] == value.shape[1]))
        return attend(query, key, value, **named)

    monkeypatch.setattr(sdpa_attention.torch.nn.functional, "scaled_dot_product_attention", spy)
    gradients(opened(base, loading.Policy(cpu, torch.float32, None), monkeypatch))
    assert (True, False) in seen
    seen.clear()
    gradients(opened(base, loading.Policy(cpu, torch.float32, None, expand=True), monkeypatch))
    assert set(seen) == {(False, True)}


@pytest.mark.parametrize("kind", ["gpt2", "gemma2", "bert"])
def test_models_without_shared_heads_or_without_that_kernel_are_left_alone(kind: str, tmp_path: Path) -> None:
    base = save_base(tmp_path / kind, kind)
    attention = "eager" if kind == "gemma2" else None
    model = transformers.AutoModel.from_pretrained(base, attn_implementation=attention)
    before = model.config._attn_implementation
    assert not expand_shared_heads(model)
    assert model.config._attn_implementation == before


def block_masks(create: Any, **named: Any) -> Any:
    """Without compiling."""
    return create(**{**named, "_compile": False})


def reference(query: Any, key: Any, value: Any, **named: Any) -> Any:
    """What flex attention computes, by its definition: modified scores, then those that the mask allows."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    sizes = (len(query), query.shape[1], query.shape[2], key.shape[2])
    places = torch.meshgrid(*(torch.arange(size) for size in sizes), indexing="ij")
    scores = named["score_mod"](query @ key.transpose(2, 3) * named["scale"], *places)
    allowed = create_mask(named["block_mask"].mask_mod, *sizes)
    return scores.masked_fill(~allowed, -torch.inf).softmax(-1) @ value


def test_flex_attention_knows_gemmas_soft_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers hands flex attention Gemma's soft-cap, window and packing; the kernel wants a GPU."""
    base, cpu = save_base(tmp_path / "gemma2", "gemma2"), torch.device("cpu")
    monkeypatch.setattr(
        transformers.integrations.flex_attention, "compile_friendly_flex_attention", reference
    )
    uncompiled = functools.partial(block_masks, create_block_mask)
    monkeypatch.setattr(transformers.masking_utils, "create_block_mask", uncompiled)
    eager = opened(base, loading.Policy(cpu, torch.float32, "eager"), monkeypatch)
    flex = opened(base, loading.Policy(cpu, torch.float32, "flex_attention"), monkeypatch)
    assert flex.facts["attention"] == "flex_attention"
    for member in (eager, flex):  # a cap that is felt
        for part in member.head_model.modules():
            if hasattr(part, "attn_logit_softcapping"):
                part.attn_logit_softcapping = 0.5
    for packed in (False, True):
        one = logits_of(eager, packed=packed)
        np.testing.assert_allclose(logits_of(flex, packed=packed), one, atol=2e-5)
    for part in flex.head_model.modules():
        if hasattr(part, "attn_logit_softcapping"):
            part.attn_logit_softcapping = None
    assert np.abs(logits_of(flex, packed=True) - one).max() > 1e-4


@pytest.mark.parametrize(
    ("dtype", "kind", "expected"),
    [
        ("bf16", "gemma2", "eager"),
        ("fp16", "gemma2", "eager"),
        ("fp32", "gemma2", "eager"),
        ("bf16", "llama", "sdpa"),
        ("fp16", "llama", EXPANDED),
        ("fp32", "llama", EXPANDED),
    ],
)
def test_the_planner_assumes_what_the_engine_does(dtype: str, kind: str, expected: str) -> None:
    shape = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    more = {"intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 50}
    config = transformers.AutoConfig.for_model(kind, **shape, **more)
    chosen = recipe("any/base", "classify")
    assert meta_model.attention_for(chosen, config, dtype) == expected
    built = meta_model.meta_model(chosen, config, dtype).model
    assert built.config._attn_implementation == expected
    assert (
        meta_model.attention_for(recipe("any/base", train={"attention": "eager"}), config, dtype) == "eager"
    )
