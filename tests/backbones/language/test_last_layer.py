"""The last layer computed only where it is read says what the whole layer says, and learns the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import DECODERS, ENCODERS, battles, recipe, save_base

from arena_ensemble.backbones.language.encoder import PromptEncoder
from arena_ensemble.backbones.language.opening import open_model
from arena_ensemble.backbones.language.sequences import TokenSequences, collate

CASES = [(kind, "classify") for kind in (*ENCODERS, *DECODERS)]
CASES += [("llama", "generate"), ("gemma2", "generate"), ("llama", "reward"), ("bert", "reward")]


def head_model_of(root: Path, kind: str, head: str, **sections: Any) -> tuple[Any, PromptEncoder]:
    base = save_base(root / kind, kind)
    chosen = recipe(base, head, **sections)
    member = open_model(chosen, cache=root / "cache")
    facts = member.facts
    assert facts["last_layer"] == "where it is read"
    for name, part in member.head_model.named_parameters():
        if "lora_B" in name:  # adapters that say nothing have gradients of nothing
            torch.nn.init.normal_(part, std=0.1)
    return member.head_model, member.encoder


def outputs_and_gradients(
    head_model: Any, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    head_model.zero_grad(set_to_none=True)
    logits = head_model(batch)
    torch.nn.functional.cross_entropy(logits, torch.arange(len(logits)) % 3).backward()
    named = {k: p.grad.clone() for k, p in head_model.named_parameters() if p.grad is not None}
    return logits.detach(), named


@pytest.mark.parametrize("case", CASES, ids="-".join)
@pytest.mark.parametrize("packed", [False, True])
def test_equal_to_the_whole_layer(tmp_path: Path, case: tuple[str, str], packed: bool) -> None:
    kind, head = case
    if packed and kind in ENCODERS:
        pytest.skip("encoders are not packed")
    head_model, encoder = head_model_of(tmp_path, kind, head)
    sequences = encoder.joined(encoder.encode(battles()))
    batch = collate(
        sequences,
        np.arange(8),
        pad_id=encoder.pad_id,
        segment_ids=head_model.segment_ids,
        causal=head_model.causal,
        packed=packed,
    )
    some, some_grads = outputs_and_gradients(head_model, batch)
    with head_model.positions.whole():
        whole, whole_grads = outputs_and_gradients(head_model, batch)
    torch.testing.assert_close(some, whole, atol=1e-5, rtol=1e-5)
    assert float(whole.std()) > 1e-3, "constant answers would pass"
    scale = max(float(g.abs().max()) for g in whole_grads.values())
    assert some_grads.keys() <= whole_grads.keys()
    for name, gradient in whole_grads.items():
        torch.testing.assert_close(
            some_grads.get(name, torch.zeros_like(gradient)), gradient, atol=1e-5 * scale, rtol=1e-3
        )


@pytest.mark.parametrize("kind", ["llama", "gemma2", "bert", "deberta-v2", "modernbert"])
def test_the_wide_block_sees_one_position_of_a_row(tmp_path: Path, kind: str) -> None:
    head_model, encoder = head_model_of(tmp_path, kind, "classify")
    sequences = TokenSequences.of(*encoder.encode(battles()))
    batch = collate(
        sequences, np.arange(5), pad_id=encoder.pad_id, segment_ids=None, causal=head_model.causal
    )
    body = head_model.body[0]
    layers = body.layers if hasattr(body, "layers") else body.encoder.layer
    linear = [m for n, m in layers[-1].named_modules() if n.endswith(("down_proj", "mlp.Wo", "output.dense"))]
    sizes: list[int] = []
    hook = linear[-1].register_forward_hook(lambda _, args, out: sizes.append(out.shape[:-1].numel()))
    head_model(batch)
    with head_model.positions.whole():
        head_model(batch)
    hook.remove()
    assert sizes == [5, batch["input_ids"].numel()]


def test_an_encoder_that_averages_positions_runs_whole(tmp_path: Path) -> None:
    import json

    base = save_base(tmp_path / "m", "modernbert")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "classifier_pooling": "mean"}))
    chosen = recipe(base)
    member = open_model(chosen, cache=tmp_path / "cache")
    facts = member.facts
    assert facts["last_layer"] == "whole"
