"""Which number type a model computes in on a card."""

from __future__ import annotations

from typing import Any, Final, Literal

_OVERFLOW_FP16: Final = frozenset(
    {
        *("embedding_gemma2", "embedding_gemma2_text", "gemma3", "gemma3_text", "gemma3n", "gemma3n_text"),
        *("gemma4", "gemma4_text", "gemma4_unified", "gemma4_unified_text", "glm4_moe", "glm4_moe_lite"),
        *("gpt_oss", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_moe"),
    }
)
"""Model types (``config.model_type``, whole) whose activations or gradients leave float16's range: the list
FORCE_FLOAT32 of unsloth_zoo 2026.10.9 (model_lists.py), its prefixes written out as the types that they
match. Gemma-2 is not in it: first and second place of LMSYS read it in float16 on T4 cards."""


def precision_on_gpu(config: Any, *, bf16: bool) -> Literal["fp32", "bf16", "fp16"]:
    """What ``precision = "auto"`` comes to on a GPU that has bfloat16 or has not."""
    if bf16:
        return "bf16"
    return "fp32" if overflows_fp16(config) else "fp16"


def overflows_fp16(config: Any) -> bool:
    """Whether a model of this configuration leaves float16's range."""
    return str(config.model_type) in _OVERFLOW_FP16
