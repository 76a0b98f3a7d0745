"""Before training: a base whose rows depend on their neighbours, or that does not run, is refused by name."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import bases_of_today
import pytest
import torch
import transformers
from architectures import _DECODER, battles, recipe, save_base, save_random, tokenizer

from arena_ensemble import backbones
from arena_ensemble.backbones.language import row_check, text_decoder
from arena_ensemble.backbones.language.opening import open_model
from arena_ensemble.errors import RecipeError

LONG_ROPE = {
    "original_max_position_embeddings": 110,
    "rope_scaling": {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4},
}


def save(folder: Path, kind: str, **settings: Any) -> Path:
    words = tokenizer("llama")
    ids = {"pad_token_id": words.pad_token_id, "bos_token_id": 1, "eos_token_id": 2}
    config = transformers.AutoConfig.for_model(kind, vocab_size=len(words), **ids, **settings)
    return save_random(transformers.AutoModelForCausalLM, config, words, folder)


def fit(base: Path, folder: Path, head: str, **sections: Any) -> None:
    chosen, module = recipe(base, head, **sections), backbones.get(head)
    module.prepare(battles(8), recipe=chosen, cache=folder / "cache")
    (folder / "fold").mkdir(exist_ok=True)
    module.fit(battles(8), recipe=chosen, folder=folder / "fold", cache=folder / "cache")


@pytest.mark.parametrize("head", ["classify", "generate"])
def test_positions_that_change_with_the_longest_row_are_refused(tmp_path: Path, head: str) -> None:
    base = save(tmp_path / "phi3", "phi3", **{**_DECODER, "sliding_window": None, **LONG_ROPE})
    with pytest.raises(
        RecipeError, match=r"change each other's logits by .*set prompt\.max_tokens lower"
    ) as caught:
        fit(base, tmp_path, head)
    assert "\n" not in str(caught.value)


def test_a_base_that_does_not_run_with_a_head_is_named_with_its_error(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "attention_hidden_size": 32, "num_hidden_layers": 2, "context_length": 256}
    base = save(tmp_path / "rwkv", "rwkv", **sizes)
    with pytest.raises(
        RecipeError, match=r"'rwkv' do not run with backbone = 'generate'.*choose another base"
    ):
        fit(base, tmp_path, "generate")


def test_zero_shot_members_are_checked_too(tmp_path: Path) -> None:
    base = save(tmp_path / "phi3", "phi3", **{**_DECODER, "sliding_window": None, **LONG_ROPE})
    with pytest.raises(RecipeError, match="each other's logits"):
        fit(base, tmp_path, "generate", train={"epochs": 0})


def test_an_error_of_the_card_is_not_blamed_on_the_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    base = save_base(tmp_path / "llama", "llama")
    monkeypatch.setattr(row_check, "_together_and_alone", fails)
    with pytest.raises(RuntimeError, match="no kernel image"):
        fit(base, tmp_path, "classify")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_packed_rows_that_see_each_other_are_refused_in_every_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """gpt-oss makes its masks without positions, so that nothing tells where a row ends."""
    base, train = bases_of_today.save_base(tmp_path / "base", "gpt_oss"), {"packing": True}
    with pytest.raises(RecipeError, match="leave packing out"):
        fit(base, tmp_path, "classify", train=train)
    monkeypatch.setattr(text_decoder, "_MASKS_WITHOUT_POSITIONS", ())
    with pytest.raises(RecipeError, match=r"lie in one sequence; leave train\.packing out"):
        fit(base, tmp_path, "classify", train={**train, "precision": precision})


def test_in_16_bits_a_difference_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = recipe(save_base(tmp_path / "llama", "llama"), train={"precision": "bf16"})
    member = open_model(chosen, cache=tmp_path)
    sequences = member.encoder.joined(member.encoder.encode(battles(6)))
    with caplog.at_level(logging.WARNING):
        row_check.check_rows(member, sequences)
        assert not caplog.text
        apart = lambda *_: (torch.zeros(2, 3), torch.ones(2, 3))  # noqa: E731
        monkeypatch.setattr(row_check, "_together_and_alone", apart)
        row_check.check_rows(member, sequences)
        assert "precision = 'fp32'" in caplog.text
        caplog.clear()
        nothing = lambda *_: (torch.full((2, 3), torch.nan), torch.ones(2, 3))  # noqa: E731
        monkeypatch.setattr(row_check, "_together_and_alone", nothing)
        row_check.check_rows(member, sequences)
    assert not caplog.text, "training says which rows, and what to do"
