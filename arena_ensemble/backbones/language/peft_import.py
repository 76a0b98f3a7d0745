"""Adapters that other tools trained (PEFT's own format: unsloth, axolotl, Trainer), in our terms.

A PEFT folder holds ``adapter_config.json`` and ``adapter_model.safetensors``. Its low-rank weights and
its saved head are renamed to the names of our scorer; nothing in it is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from ...errors import ArtifactError, RecipeError

CONFIG: Final = "adapter_config.json"
TENSORS: Final = "adapter_model.safetensors"
NOTE: Final = "arena_ensemble.json"
"""What a model of this package is shown, and what stands beside it; in its own exports alone."""
FILES: Final = (CONFIG, TENSORS, NOTE)
_PREFIX: Final = "base_model.model."
_LOW_RANK_LAYER: Final = re.compile(r"\.(?:layers|layer|h|blocks)\.(\d+)\.")
_ATTENTION: Final = re.compile(r"attn|attention", re.IGNORECASE)
_HEADS: Final = ("score.weight", "classifier.weight", "classifier.out_proj.weight")
_BACKBONES: Final = {3: "classify", 2: "reward", 1: "reward"}
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
    config, tensors = _read(folder)
    wrong = [
        f"{own} = {json.dumps(config[theirs])}"
        for theirs, own in _SETTINGS
        if config.get(theirs) is not None and config[theirs] != getattr(settings, own)
    ]
    if settings.kind != "lora" or wrong:
        wrong = wrong or ['kind = "lora"']
        raise RecipeError(f"{folder} was trained otherwise: under [adapter] write {', '.join(wrong)}")
    beside = _note(folder).get("beside_the_model", {})
    own = {str(name): torch.tensor(value, dtype=torch.float32) for name, value in beside.items()}
    return {_renamed(name): tensor.float() for name, tensor in tensors.items()} | own


@dataclass(frozen=True)
class AdapterFacts:
    """What an adapter's folder says of it, as settings of a recipe."""

    backbone: str
    base: str
    revision: str
    settings: dict[str, Any]
    """of the section ``adapter``"""
    prompt: dict[str, Any]
    """of the section ``prompt``; empty where the folder does not say"""


def describe(folder: Path) -> AdapterFacts:
    """The settings of a recipe in which an adapter is a member.

    The backbone follows from the task type and the head: three outputs classify, one or two score each
    response, and a causal model predicts the verdict's token.

    Raises
    ------
    ArtifactError
        A file is missing or broken, or it is no LoRA adapter of such a kind.
    """
    config, tensors = _read(folder)
    names = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}
    outputs = next((len(names[head]) for head in _HEADS if head in names), None)
    if outputs is None and config.get("task_type") not in (None, "CAUSAL_LM"):
        raise ArtifactError(
            f"{folder}: task_type {config['task_type']!r} and no head ({', '.join(_HEADS)}) in {TENSORS}; "
            "save it with modules_to_save, which keeps the head"
        )
    if outputs is not None and outputs not in _BACKBONES:
        raise ArtifactError(
            f"{folder}: its head has {outputs} outputs; use one of 3 (A, B, tie), or of 1 (a reward model)"
        )
    low_rank = [name for name in names if ".lora_" in name]
    layers = [int(found[1]) for name in low_rank if (found := _LOW_RANK_LAYER.search(name))]
    plain: dict[str, Any] = {own: config[theirs] for theirs, own in _SETTINGS if config.get(theirs)}
    if "alpha" in plain:
        plain["alpha"] = float(plain["alpha"])
    if low_rank and all(_ATTENTION.search(name) for name in low_rank):
        plain["target"] = "attention"
    if first := min(layers, default=0):
        plain["first_layer"] = first
    prompt = _note(folder).get("prompt", {})
    return AdapterFacts(
        "generate" if outputs is None else _BACKBONES[outputs],
        str(config.get("base_model_name_or_path") or ""),
        str(config.get("revision") or ""),
        plain,
        prompt if isinstance(prompt.get("template"), str) else {},
    )


def _note(folder: Path) -> dict[str, Any]:
    path = folder / NOTE
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}); export the adapter again") from None


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = dict(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        tensors = load_file(str(folder / TENSORS))
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise ArtifactError(f"{folder}: no PEFT adapter ({CONFIG} and {TENSORS}): {error}") from None
    if config.get("peft_type") != "LORA":
        raise ArtifactError(f"{folder}: peft_type is {config.get('peft_type')!r}; only LORA can be imported")
    if config.get("rank_pattern") or config.get("alpha_pattern"):
        raise ArtifactError(f"{folder}: ranks that differ by layer (rank_pattern) cannot be imported")
    if str(how := config.get("init_lora_weights")).startswith(_CHANGES_BASE):
        raise ArtifactError(
            f"{folder}: init_lora_weights = {how!r} was trained on a changed base; convert it to a plain "
            "LoRA first (PEFT's save_pretrained with path_initial_model_for_weight_conversion)"
        )
    return config, tensors


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
