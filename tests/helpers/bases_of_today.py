"""Tiny random bases of the model families of today, text alone and models that also see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers
from architectures import save_random, tokenizer

from arena_ensemble.backbones.language.text_decoder import auto_class

TEXT: dict[str, Any] = {
    **{"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256},
}
_IMAGE = {
    **{"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2},
    **{"image_size": 28, "patch_size": 14},
}
_QWEN_IMAGE = {
    **{"depth": 1, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "patch_size": 4},
    "out_hidden_size": 32,
}
_ROPE = {"rope_scaling": {"rope_type": "default", "mrope_section": [1, 1, 2]}}
_GEMMA4 = {
    **{"sliding_window": 24, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0},
    "global_head_dim": 8,
}
_QWEN35 = {
    **{"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2},
    **{"linear_num_value_heads": 2, "layer_types": ["linear_attention", "full_attention"]},
}
_EXPERTS = {"moe_intermediate_size": 16, "num_experts_per_tok": 2}
_MAMBA = {
    **{"mamba_num_heads": 8, "mamba_head_dim": 8, "n_groups": 1, "ssm_state_size": 8, "chunk_size": 16},
    "layers_block_type": ["mamba", "attention", "mlp"],
}
_LLAMA4 = {"intermediate_size_mlp": 48, "num_local_experts": 2, "attention_chunk_size": 32}

TEXT_ONLY: dict[str, dict[str, Any]] = {
    "cohere2": {"sliding_window": 24},
    "granite": {},
    "qwen3_moe": {"moe_intermediate_size": 64, "num_experts": 4, "num_experts_per_tok": 2},
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 24},
    "gemma4_text": _GEMMA4,
    "qwen3_5_text": _QWEN35,
    # experts beside dense layers whose names PEFT takes for experts' of an older transformers
    "glm4_moe": {
        **{**_EXPERTS, "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
    },
    "qwen3_next": {**_EXPERTS, **_QWEN35, "num_experts": 4, "shared_expert_intermediate_size": 16},
    "nemotron_h": {**_MAMBA, "num_hidden_layers": 3},
    "lfm2": {"layer_types": ["conv", "full_attention"], "conv_L_cache": 3, "block_multiple_of": 8},
    "olmo3": {"sliding_window": 24},
    "modernbert-decoder": {"local_attention": 16, "global_attn_every_n_layers": 2},
}
SEEING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "gemma3": ({"sliding_window": 24}, _IMAGE),
    "gemma4": (_GEMMA4, _IMAGE),
    "mistral3": ({"model_type": "mistral"}, {**_IMAGE, "head_dim": 8, "model_type": "pixtral"}),
    "llama4": (
        _LLAMA4,
        {**_IMAGE, "projector_input_dim": 16, "projector_output_dim": 16, "vision_output_dim": 16},
    ),
    "qwen2_5_vl": (_ROPE, {**_QWEN_IMAGE, "fullatt_block_indexes": [0]}),
    "qwen3_vl": (_ROPE, {**_QWEN_IMAGE, "deepstack_visual_indexes": [0], "num_position_embeddings": 16}),
    "qwen3_5": (_QWEN35, {**_QWEN_IMAGE, "num_position_embeddings": 16}),
}


def save_base(folder: Path, kind: str) -> Path:
    """Write a tiny random base of that family."""
    words = tokenizer("llama")
    ids = {"vocab_size": len(words), "pad_token_id": words.pad_token_id, "bos_token_id": 1, "eos_token_id": 2}
    if kind in SEEING:
        text, image = SEEING[kind]
        values = {"text_config": {**TEXT, **ids, **text}, "vision_config": image}
        if kind == "gemma3":
            values["mm_tokens_per_image"] = 4  # type: ignore[assignment]
        if "gemma4" in kind:
            values["text_config"]["vocab_size_per_layer_input"] = len(words)
    else:
        values = {**TEXT, **ids, **TEXT_ONLY[kind]}
        if "gemma4" in kind:
            values["vocab_size_per_layer_input"] = len(words)
    config = transformers.AutoConfig.for_model(kind, **values)
    return save_random(auto_class(config, None)[0], config, words, folder)
