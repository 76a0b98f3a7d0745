"""Precision and attention for each kind of device; packing on every causal architecture."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from architectures import DECODERS, battles, recipe, save_base

from arena_ensemble.backbones.language import loading
from arena_ensemble.backbones.language.inference import predict_logits
from arena_ensemble.backbones.language.opening import open_model
from arena_ensemble.backbones.language.precision import overflows_fp16
from arena_ensemble.errors import RecipeError

LLAMA = SimpleNamespace(model_type="llama")
GEMMA = SimpleNamespace(model_type="gemma2", attn_logit_softcapping=50.0)


def card(monkeypatch: pytest.MonkeyPatch, *, bf16: bool, flash: str | None = None) -> None:
    """A card that computes bf16 natively, or one that only emulates it, as a T4 does."""

    def supported(including_emulation: bool = True) -> bool:
        return bf16 or including_emulation

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0) if bf16 else (7, 5))
    known = importlib.metadata.version

    def version(name: str) -> str:
        if name == "flash_attn" and flash is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return str(flash) if name == "flash_attn" else known(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


def policy(config: Any, **train: Any) -> loading.Policy:
    return loading.choose_policy(recipe("any/base", train=train), config)


def test_a_cpu_computes_in_float32() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    found = policy(LLAMA)
    assert (found.dtype, found.attention, found.autocast, found.scaled) == (torch.float32, None, False, False)
    assert policy(GEMMA).attention == "eager"
    assert policy(LLAMA, precision="bf16").autocast
    with pytest.raises(RecipeError, match="needs a GPU"):
        policy(LLAMA, precision="fp16")


def test_native_bf16_is_taken_and_needs_no_scaler(monkeypatch: pytest.MonkeyPatch) -> None:
    card(monkeypatch, bf16=True)
    found = policy(LLAMA)
    assert (found.dtype, found.attention, found.autocast, found.scaled) == (torch.bfloat16, None, True, False)
    card(monkeypatch, bf16=True, flash="2.5.9.post1")
    assert policy(LLAMA).attention == "flash_attention_2"
    assert policy(LLAMA, precision="fp32").attention is None, "flash kernels know no float32"


def test_emulated_bf16_is_not_native(monkeypatch: pytest.MonkeyPatch) -> None:
    card(monkeypatch, bf16=False, flash="2.8.3")
    found = policy(LLAMA)
    assert (found.dtype, found.scaled) == (torch.float16, True)
    assert found.attention is None, "flash kernels want a newer card"
    assert policy(GEMMA).dtype is torch.float16, "the winners of LMSYS read Gemma-2 in float16 on such cards"
    assert policy(GEMMA).attention == "eager"
    assert policy(SimpleNamespace(model_type="gemma3_text")).dtype is torch.float32
    assert policy(LLAMA, precision="bf16").dtype is torch.bfloat16, "what the recipe says is done"


@pytest.mark.parametrize("flash", [None, "2.5.9.post1"])
def test_a_soft_cap_on_scores_is_never_left_out(monkeypatch: pytest.MonkeyPatch, flash: str | None) -> None:
    card(monkeypatch, bf16=True, flash=flash)
    assert policy(GEMMA).attention == "eager"
    for attention in ("sdpa", "flash_attention_2"):
        with pytest.raises(RecipeError, match="soft-cap"):
            policy(GEMMA, attention=attention)


def test_flash_attention_that_knows_the_soft_cap_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    card(monkeypatch, bf16=True, flash="2.10.1")
    for attention in ("auto", "flash_attention_2"):
        assert policy(GEMMA, attention=attention).attention == "flash_attention_2"
    assert policy(GEMMA, precision="fp32").attention == "eager"
    with pytest.raises(RecipeError, match="soft-cap"):
        policy(GEMMA, attention="sdpa")


def test_flex_attention_is_taken_where_a_recipe_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    card(monkeypatch, bf16=True)
    assert policy(GEMMA).attention == "eager"
    assert policy(LLAMA).attention is None, "PyTorch's own kernel"
    assert policy(GEMMA, attention="flex_attention").attention == "flex_attention"
    card(monkeypatch, bf16=True, flash="2.8.3")
    assert policy(GEMMA).attention == "flash_attention_2"
    card(monkeypatch, bf16=False, flash="2.8.3")
    assert policy(GEMMA).attention == "eager", "a T4"


def test_shared_heads_are_expanded_where_no_fused_kernel_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        assert not policy(LLAMA).expand
    card(monkeypatch, bf16=False)
    assert policy(LLAMA).expand
    card(monkeypatch, bf16=True)
    assert not policy(LLAMA).expand
    assert policy(LLAMA, precision="fp32").expand


def test_float32_families_are_whole_names() -> None:
    for kind in ("gemma3", "gemma3_text", "gemma4_text", "gpt_oss", "qwen3_5", "qwen3_moe", "glm4_moe_lite"):
        assert overflows_fp16(SimpleNamespace(model_type=kind))
        assert kind in transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES
    for kind in ("gemma", "gemma2", "llama", "qwen3", "qwen2", "mistral", "glm4"):
        assert not overflows_fp16(SimpleNamespace(model_type=kind))


@pytest.mark.parametrize("kind", DECODERS)
def test_packed_rows_say_what_rows_alone_say(tmp_path: Path, kind: str) -> None:
    chosen = recipe(save_base(tmp_path / kind, kind))
    member = open_model(chosen, cache=tmp_path / "cache")
    facts = member.facts
    assert facts["device"]
    assert facts["dtype"]
    assert facts["attention"] == ("eager" if kind == "gemma2" else "sdpa")
    sequences = member.encoder.joined(member.encoder.encode(battles()))
    options: dict[str, Any] = {"policy": member.policy, "pad_id": member.encoder.pad_id}
    alone = predict_logits(member.head_model, sequences, batch_tokens=1, **options)
    packed = predict_logits(member.head_model, sequences, batch_tokens=1 << 20, packed=True, **options)
    np.testing.assert_allclose(packed, alone, atol=2e-5)
    assert alone.std(axis=0).min() > 1e-3


def test_micro_batches_are_cut_on_a_cpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [policy(LLAMA).micro_batch(tokens) for tokens in (500, 8192)] == [500, 2048]
    card(monkeypatch, bf16=True)
    assert policy(LLAMA).micro_batch(8192) == 8192
