"""Adapters that other tools trained (PEFT's own format: unsloth, axolotl, Trainer), in our terms.

A PEFT folder holds ``adapter_config.json`` and ``adapter_model.safetensors``. Its low-rank weights and
its saved head are renamed to the names of our scorer; nothing in it is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import torch

from ...errors import ArtifactError, RecipeError

_PREFIX: Final = "base_model.model."
_LOW_RANK: Final = re.compile(r"\.(lora_[AB]|lora_embedding_[AB])\.weight\Z")
_MAGNITUDE: Final = re.compile(r"\.lora_magnitude_vector(\.weight)?\Z")
_CHANGES_BASE: Final = ("pissa", "olora", "corda", "loftq")
_SETTINGS: Final = (
    ("r", "r"),
    ("lora_alpha", "alpha"),
    ("use_rslora", "rslora"),
    ("use_dora", "dora"),
)


def read_adapter(folder: Path, settings: Any) -> dict[str, torch.Tensor]:
    """The weights of a PEFT adapter under our names.

    Parameters
    ----------
    folder
        With ``adapter_config.json`` and ``adapter_model.safetensors``.
    settings
        As :class:`arena_ensemble.recipes.AdapterSettings`: must agree with the adapter.

    Raises
    ------
    ArtifactError
        A file is missing or broken, or it is no LoRA adapter.
    RecipeError
        The recipe's adapter settings differ; the message says what to write.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = load_file(str(folder / "adapter_model.safetensors"))
    except (OSError, ValueError, SafetensorError) as error:
        raise ArtifactError(
            f"{folder}: no PEFT adapter (adapter_config.json and adapter_model.safetensors): {error}"
        ) from None
    if config.get("peft_type") != "LORA":
        raise ArtifactError(f"{folder}: peft_type is {config.get('peft_type')!r}; only LORA can be imported")
    if config.get("rank_pattern") or config.get("alpha_pattern"):
        raise ArtifactError(f"{folder}: ranks that differ by layer (rank_pattern) cannot be imported")
    if str(how := config.get("init_lora_weights")).startswith(_CHANGES_BASE):
        raise ArtifactError(
            f"{folder}: init_lora_weights = {how!r} was trained on a changed base; convert it to a plain "
            "LoRA first (PEFT's save_pretrained with path_initial_model_for_weight_conversion)"
        )
    wrong = [
        f"{own} = {str(config[theirs]).lower()}"
        for theirs, own in _SETTINGS
        if config.get(theirs) is not None and config[theirs] != getattr(settings, own)
    ]
    if settings.kind != "lora" or wrong:
        raise RecipeError(f"{folder} was trained otherwise: under [adapter] write {', '.join(wrong)}")
    return {_renamed(name): tensor.float() for name, tensor in tensors.items()}


def _renamed(name: str) -> str:
    name = name.removeprefix(_PREFIX)
    name = _LOW_RANK.sub(r".\1.default.weight", name)
    name = _MAGNITUDE.sub(".lora_magnitude_vector.default.weight", name)
    return f"model.{name}"


def completed(
    tensors: dict[str, torch.Tensor], trained: dict[str, torch.nn.Parameter], folder: Path
) -> dict[str, torch.Tensor]:
    """Add what an adapter of fewer layers leaves out: their updates start at zero.

    A head that is missing is never added: :func:`.adapters.put_weights` refuses it. With DoRA a layer
    without an update looks like a missing file, so none may be missing.
    """
    dora = any("lora_magnitude_vector" in name for name in trained)
    absent: Collection[str] = [] if dora else [n for n in trained if n not in tensors and ".lora_" in n]
    if absent and not any(".lora_" in name for name in tensors):
        raise ArtifactError(f"{folder}: holds no low-rank weights for this base; is it another architecture?")
    return {**tensors, **{name: trained[name].detach() for name in absent}}
