"""Which linear layers get no adapter, as their model multiplies the weight itself, and which do get one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from arena_ensemble.backbones.language.adapters import lora_targets
from arena_ensemble.backbones.language.bypassed import bypassed

_ENCODER = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
_T5 = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 1, "num_heads": 2}


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("deberta", {**_ENCODER, "pos_att_type": ["c2p", "p2c"], "relative_attention": True}),
        ("bloom", {"hidden_size": 32, "n_layer": 1, "n_head": 2}),
    ],
)
def test_layers_that_a_model_calls_get_their_adapter(kind: str, sizes: dict[str, Any]) -> None:
    """Their classes read a weight too, in a branch that is not taken; old adapters of theirs must load."""
    config = transformers.AutoConfig.for_model(kind, vocab_size=99, pad_token_id=0, **sizes)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    settings = SimpleNamespace(first_layer=0, target="linear")
    targets = set(lora_targets(model, settings, set())[0])
    called = set[str]()
    for name, part in model.named_modules():
        if isinstance(part, nn.Linear):
            part.register_forward_hook(lambda *_, name=name: called.add(name))
    model.train()
    model(input_ids=torch.arange(1, 9)[None])
    in_layers = {name for name in called if ".0." in name}
    assert in_layers <= targets
    assert len(in_layers) >= 4


def test_a_question_about_a_weight_s_type_is_no_use_of_it() -> None:
    config = transformers.AutoConfig.for_model("umt5", vocab_size=99, **_T5)
    blocks = transformers.AutoModelForSequenceClassification.from_config(config).modules()
    [one, *_] = [part for part in blocks if type(part).__name__ == "UMT5DenseGatedActDense"]
    assert not bypassed(one)


def test_a_weight_that_goes_into_a_kernel_is_found() -> None:
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    assert "out_proj" in bypassed(Mamba2Mixer.__new__(Mamba2Mixer))
