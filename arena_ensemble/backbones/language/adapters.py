"""What of a model is trained: low-rank adapters, everything, or the head alone; and how it is kept.

The trained parameters, whatever they are, lie by name in one ``weights.safetensors``. Reading them
back demands exactly the names that this recipe trains, so a head can never come back freshly
initialised without an error.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from ...errors import ArtifactError, RecipeError
from . import old_torchao
from .bypassed import bypassed
from .text_decoder import text_config, text_decoder

_log = logging.getLogger(__name__)
SETTINGS: Final = "settings.json"
WEIGHTS: Final = "weights.safetensors"
BASE_RECORD: Final = "base.json"
"""Files of a fitted fold."""
_LAYER: Final = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks)\.(\d+)\.")
_ATTENTION: Final = re.compile(r"attn|attention", re.IGNORECASE)
_INNER: Final = "inner"
_EMBEDDING: Final = re.compile(r"embed|wte|wpe", re.IGNORECASE)


def layer_of(name: str) -> int | None:
    """The number of the transformer layer that a parameter or module belongs to, or None."""
    found = _LAYER.search(name)
    return int(found.group(1)) if found else None


def head_parameters(model: nn.Module, fresh: Collection[str]) -> set[str]:
    """Names of the head's parameters: those the checkpoint lacked, and any module called a head."""
    heads = ("score", "classifier")
    named = {name for name, _ in model.named_parameters() if name.split(".")[0] in heads}
    return named | {name for name, _ in model.named_parameters() if name in fresh}


def attach(
    model: nn.Module,
    settings: Any,
    head: Collection[str],
    *,
    bf16: bool = False,
    insert: Callable[[], None] | None = None,
) -> None:
    """Set what is trained, insert the adapters, and keep every trained weight in float32.

    Parameters
    ----------
    settings
        As :class:`arena_ensemble.recipes.AdapterSettings` (any object with its fields).
    head
        Names of the head's parameters, always trained.
    bf16
        Whether full fine-tuning leaves the base in bfloat16; the head is float32 all the same.
    insert
        Inserts low-rank adapters in place of PEFT's own function.

    Raises
    ------
    RecipeError
        No linear layer is left to adapt.
    """
    if settings.kind == "full":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(True)
            parameter.data = parameter.data.to(torch.bfloat16 if bf16 and name not in head else torch.float32)
        return
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if settings.kind == "lora":
        _insert_lora(model, settings, head) if insert is None else insert()
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            # PEFT injects adapters in the base's type; in bf16 most of their updates round to nothing
            parameter.data = parameter.data.float()
        elif name in head or _trained_beside(model, name, parameter, settings.also):
            if not parameter.is_floating_point():
                raise RecipeError(
                    f"{name} is quantised and cannot be trained; keep heads out of quantisation"
                )
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
    if settings.kind == "frozen" and not head:
        return
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RecipeError("nothing is left to train with these adapter settings")


def freeze(model: nn.Module, head: Collection[str]) -> None:
    """Train nothing. The head's parameters are kept in float32 all the same."""
    model.requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name in head:
            parameter.data = parameter.data.float()


def _trained_beside(model: nn.Module, name: str, parameter: nn.Parameter, also: Collection[str]) -> bool:
    if "embeddings" in also and _EMBEDDING.search(name) and parameter.ndim == 2:
        return True
    return (
        "norms" in also and parameter.ndim == 1 and bool(re.search(r"norm|\.ln_|\.ln\d", name, re.IGNORECASE))
    )


def lora_targets(model: nn.Module, settings: Any, head: Collection[str]) -> tuple[list[str], bool]:
    """Names of the linear layers that get an adapter, and whether any keeps its weight transposed.

    Raises
    ------
    RecipeError
        There is none.
    """
    from transformers.pytorch_utils import Conv1D

    outputs = getattr(model, "get_output_embeddings", lambda: None)()
    heads = {name.rpartition(".")[0] for name in head}
    targets, transposed = [], False
    inside = _decoder_prefix(model)
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear | Conv1D) or module is outputs or name in heads:
            continue
        if type(module).__module__.startswith("transformers.models."):
            continue  # a router of experts (Llama 4) with a forward of its own
        if name.rpartition(".")[2] in bypassed(model.get_submodule(name.rpartition(".")[0])):
            continue
        layer = layer_of(f"{name}.")
        if layer is None or layer < settings.first_layer or not name.startswith(inside):
            continue
        if settings.target == "attention" and not _ATTENTION.search(name):
            continue
        targets.append(name)
        transposed |= isinstance(module, Conv1D)
    if not targets:
        remedy = "lower it" if settings.first_layer else "set adapter.kind = 'full' or 'frozen'"
        raise RecipeError(
            f"adapter.first_layer = {settings.first_layer} leaves no linear layer to adapt; {remedy}"
        )
    return targets, transposed


def _insert_lora(model: nn.Module, settings: Any, head: Collection[str]) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    old_torchao.pass_over()
    targets, transposed = lora_targets(model, settings, head)
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        use_rslora=settings.rslora,
        use_dora=settings.dora,
        target_modules=[f"{_INNER}.{name}" for name in targets],
        fan_in_fan_out=transposed,
    )
    # In a holder without a configuration PEFT takes names as they are. By the type of a mixture of experts it
    # would exchange every layer called gate_proj, up_proj or down_proj for the experts' joined weights.
    holder = nn.Module()
    holder.add_module(_INNER, model)
    for flag in ("is_loaded_in_8bit", "is_loaded_in_4bit"):
        setattr(holder, flag, getattr(model, flag, False))
    inject_adapter_in_model(config, holder)
    if settings.target == "linear" and (share := share_without_adapter(model, settings.first_layer)) > 0.5:
        _log.warning(
            "%.0f %% of the weights in the layers are no linear layers (experts of a mixture) and get no "
            "adapter: the rest alone is trained",
            100 * share,
        )


def _decoder_prefix(model: Any) -> str:
    """What the names of a text decoder's modules start with in a model that also sees; else nothing."""
    config = getattr(model, "config", None)
    if text_config(config) is config:
        return ""
    decoder = text_decoder(model)
    return next(f"{name}." for name, part in model.named_modules() if part is decoder)


def share_without_adapter(model: Any, first_layer: int = 0) -> float:
    """Share of the text decoder's weight matrices, from ``first_layer`` on, that no adapter changes."""
    inside, sizes = _decoder_prefix(model), {True: 0, False: 0}
    for name, parameter in model.named_parameters():
        layer = layer_of(name)
        if layer is None or layer < first_layer or parameter.ndim < 2 or ".lora_" in name:
            continue
        if name.startswith(inside):
            sizes[".base_layer." in name] += parameter.numel()
    return sizes[False] / max(1, sum(sizes.values()))


def unmoved(module: nn.Module) -> list[str]:
    """Names of the adapters whose update is still zero: after training, those that nothing flows through."""
    named = trained_parameters(module).items()
    return [name for name, weight in named if ".lora_B." in name and not bool(weight.any())]


def float32_head(model: nn.Module, head: Collection[str]) -> None:
    """Let the head's modules compute in float32 even under autocast."""
    for name in sorted({name.rpartition(".")[0] for name in head}):
        module = model.get_submodule(name)
        forward = module.forward

        def exact(x: torch.Tensor, *rest: Any, _forward: Any = forward, **named: Any) -> Any:
            with torch.autocast(x.device.type, enabled=False):
                return _forward(x.float(), *rest, **named)

        module.forward = exact


def leave_casts_to_autocast(model: nn.Module) -> None:
    """Spare plain adapters PEFT's cast of their input to float32, which autocast would undo at once."""
    from peft.tuners.lora import LoraLayer

    for part in model.modules():
        if isinstance(part, LoraLayer) and not part.lora_variant:
            part.cast_input_dtype_enabled = False


def trained_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training changes, by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def save_weights(module: nn.Module, path: Path) -> None:
    """Write the trained parameters, in their own types, as safetensors."""
    from safetensors.torch import save_file

    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in trained_parameters(module).items()}
    save_file(tensors, str(path))


def load_weights(module: nn.Module, path: Path) -> None:
    """Read what :func:`save_weights` wrote; names and shapes must be exactly those trained here.

    Raises
    ------
    ArtifactError
        The file is absent or broken, or a weight is missing, unknown or of another shape.
    """
    put_weights(module, read_weights(path), str(path))


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors that :func:`save_weights` wrote.

    Raises
    ------
    ArtifactError
        The file is absent or broken.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(str(path)))
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}); remove its fold and train it again") from None


def put_weights(module: nn.Module, tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """Copy tensors into the trained parameters of the same names; strict in both directions."""
    wanted = trained_parameters(module)
    if missing := sorted(wanted.keys() - tensors.keys()):
        raise ArtifactError(
            f"{source}: the trained weight {missing[0]!r} is missing ({len(missing)} in all): it would be "
            "freshly initialised and the member would predict noise; train this fold again"
        )
    if unknown := sorted(tensors.keys() - wanted.keys()):
        raise ArtifactError(
            f"{source}: holds {unknown[0]!r}, which this recipe does not train; train this fold again"
        )
    with torch.no_grad():
        for name, parameter in wanted.items():
            if parameter.shape != tensors[name].shape:
                raise ArtifactError(
                    f"{source}: {name!r} has shape {tuple(tensors[name].shape)}, "
                    f"expected {tuple(parameter.shape)}"
                )
            parameter.copy_(tensors[name])


def merge_adapters(module: nn.Module) -> None:
    """Fold the low-rank updates into the weights: prediction then costs what the base costs.

    The sum is taken in float32, in which the adapters are, and rounded once to the weight's type. Quantised
    weights are left alone: rounded again to 4 or 8 bits they would lose most of the update.
    """
    for part, _ in merged_layers(module):
        part.merge()


def merged_layers(module: nn.Module) -> list[tuple[Any, torch.Tensor]]:
    """The layers whose adapters :func:`merge_adapters` merges, and the weights of the base in them."""
    from peft.tuners.lora import LoraLayer

    layers = [part for part in module.modules() if isinstance(part, LoraLayer)]
    found = [(layer, layer.get_base_layer().weight) for layer in layers]
    return [(layer, weight) for layer, weight in found if weight.is_floating_point()]
