"""What this machine offers the engine: device, number types, attention, optional packages."""

from __future__ import annotations

import importlib.util
import os
from types import SimpleNamespace
from typing import Any, Final

import torch

from ..backbones.language import loading
from ..errors import ArenaError
from ..recipes import recipe_from

EXTRAS: Final = {
    "bitsandbytes": "4-bit and 8-bit bases: pip install 'arena-ensemble[quantised]' (GPU only)",
    "unsloth": "loader = 'unsloth': pip install 'arena-ensemble[unsloth]', needs an older transformers (GPU)",
    "tensorboard": "train.report_to = ['tensorboard']: pip install 'arena-ensemble[tensorboard]'",
    "flash_attn": "flash attention: pip install flash-attn (GPU only; for Gemma-2 from 2.6 on)",
}
"""Optional packages, and what each is for."""


def extras() -> dict[str, bool]:
    """Which optional packages are importable here. Nothing is imported."""
    return {name: importlib.util.find_spec(name) is not None for name in EXTRAS}


def device_facts() -> dict[str, Any]:
    """Devices, and what the engine's policy would choose on the first one.

    Raises
    ------
    ArenaError
        A GPU is there and does not answer.
    """
    facts: dict[str, Any] = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    facts["cores"] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if torch.cuda.is_available():
        try:
            facts |= _cuda()
        except RuntimeError as error:
            raise ArenaError(
                f"the GPU is there and does not answer ({error}); restart its driver, or hide it with "
                "CUDA_VISIBLE_DEVICES= to work on the CPU"
            ) from None
    else:
        facts["device"] = "cpu"
        facts["cuda_build"] = torch.version.cuda
    recipe = recipe_from({"backbone": "classify", "base": "any/base"})
    for name, config in (
        ("usual", SimpleNamespace(model_type="llama")),
        ("gemma-2", SimpleNamespace(model_type="gemma2", attn_logit_softcapping=50.0)),
    ):
        policy = loading.choose_policy(recipe, config)
        facts[f"policy {name}"] = {
            "dtype": str(policy.dtype).removeprefix("torch."),
            "attention": policy.attention or "sdpa where the model has it",
        }
    return facts


def _cuda() -> dict[str, Any]:
    devices = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        devices.append(
            {
                "name": properties.name,
                "capability": f"{properties.major}.{properties.minor}",
                "memory_bytes": total,
                "free_bytes": free,
            }
        )
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    return {"device": "cuda", "devices": devices, "bf16_native": bool(native), "cuda": torch.version.cuda}
