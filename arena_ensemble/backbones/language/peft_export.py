"""A fold's model for other tools: a PEFT adapter folder, or a whole model with the adapters merged in.

Both load with PEFT and transformers alone and give the same logits. The head keeps the name that
transformers gives it (``score`` or ``classifier``), so GPTQ, vLLM or another training can go on from
there. ``arena_ensemble.json`` beside the weights says what the model must be shown.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from ...battles import Battles
from ...errors import RecipeError
from ...prompts import template_of
from ...recipes import Recipe
from . import adapters, loading
from .encoder import PromptEncoder
from .notices import quiet
from .peft_import import NOTE

if TYPE_CHECKING:
    from .backbone import LanguageModel

DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_OURS: Final = "model."
_PEFT: Final = "base_model.model."
_LABELS: Final = ("A", "B", "tie")
EXAMPLE: Final = ("What is 2 + 2?", "It is 4.", "Nobody knows.")
"""prompt, A and B of the battle whose token ids stand in the note"""


def export_peft(
    engine: LanguageModel,
    fold: Path,
    target: Path,
    *,
    recipe: Recipe,
    cache: Path,
    hub_id: str | None = None,
) -> None:
    """Write ``adapter_config.json``, ``adapter_model.safetensors``, tokenizer and note into ``target``.

    Parameters
    ----------
    hub_id
        Of the base, where it has one: PEFT then finds it on other machines. Else its folder here is named.

    Raises
    ------
    RecipeError
        The member has no low-rank adapters, or its trained weights are not those of the model that
        transformers builds on this base.
    ArtifactError
        The fold's files are broken, or were trained on another base.
    """
    from peft import LoraConfig
    from safetensors.torch import save_file
    from transformers.pytorch_utils import Conv1D

    if recipe.adapter.kind != "lora":
        raise RecipeError(
            f"member {recipe.name!r}: adapter.kind = {recipe.adapter.kind!r} trains no adapter; "
            "export it with --merged DIR"
        )
    _check_exportable(recipe)
    encoder, _ = engine.open_fold(fold, recipe, cache)
    tensors = engine.weights_of(fold)
    own = {name: tensors.pop(name) for name in list(tensors) if not name.startswith(_OURS)}
    names = {name.removeprefix(_OURS) for name in tensors}
    low_rank = {name.partition(".lora_")[0] for name in names if ".lora_" in name}
    beside = {name.rpartition(".")[0] for name in names if ".lora_" not in name}
    model = _as_transformers_builds_it(encoder)
    known = {} if model is None else {n: isinstance(p, nn.Linear | Conv1D) for n, p in model.named_modules()}
    if strange := sorted((low_rank | beside) - known.keys()):
        raise RecipeError(
            f"member {recipe.name!r}: {strange[0]!r} is no part of the model that transformers builds on "
            f"{recipe.base!r}, so PEFT could not load it; export it with --merged DIR"
        )
    short = sorted({name.rpartition(".")[2] for name in low_rank})
    by_suffix = {name for name, linear in known.items() if linear and name.rpartition(".")[2] in short}
    causal = encoder.head.labels is None
    settings = LoraConfig(
        task_type="CAUSAL_LM" if causal else "SEQ_CLS",
        base_model_name_or_path=hub_id or encoder.source.name,
        revision=recipe.revision or None,
        r=recipe.adapter.r,
        lora_alpha=recipe.adapter.alpha,
        lora_dropout=recipe.adapter.dropout,
        use_rslora=recipe.adapter.rslora,
        use_dora=recipe.adapter.dora,
        target_modules=short if by_suffix == low_rank else sorted(low_rank),
        modules_to_save=sorted(beside) or None,
        fan_in_fan_out=encoder.config.model_type == "gpt2",
        inference_mode=True,
    )
    if _peft_exchanges_targets(settings, model):
        raise RecipeError(
            f"member {recipe.name!r}: in a mixture of experts of this type PEFT takes adapters of "
            f"{', '.join(short)} for those of the experts and would load others; export it with --merged DIR"
        )
    settings.save_pretrained(str(target))
    theirs = {_PEFT + _without_adapter_name(name.removeprefix(_OURS)): t for name, t in tensors.items()}
    save_file(theirs, str(target / "adapter_model.safetensors"), metadata={"format": "pt"})
    encoder.tokenizer.save_pretrained(str(target))
    _write_note(target, encoder, own)


def export_merged(
    engine: LanguageModel, fold: Path, target: Path, *, recipe: Recipe, cache: Path, dtype: str = "bf16"
) -> None:
    """Write the whole model, adapters merged, into ``target``: config, safetensors, tokenizer and note.

    A base that was quantised for training is read whole and merged in 16 or 32 bits; its own rounding is
    then missing, so probabilities differ a little. The head is kept in float32.

    Parameters
    ----------
    dtype
        ``fp32``, ``bf16`` or ``fp16``: what the weights are stored in.

    Raises
    ------
    RecipeError
        A frozen base's generation head: its three rows are no part of a model of transformers.
    ArtifactError
        As :func:`export_peft`.
    """
    _check_exportable(recipe)
    encoder, _ = engine.open_fold(fold, recipe, cache)
    causal = encoder.head.labels is None
    if causal and recipe.adapter.kind == "frozen":
        raise RecipeError(
            f"member {recipe.name!r}: adapter.kind = 'frozen' trains three rows of the output layer, which "
            "no model of transformers holds; train adapter.kind = 'lora' to export"
        )
    whole = recipe.model_copy(
        update={
            "loader": "transformers",
            "adapter": recipe.adapter.model_copy(update={"quantise": "none"}),
        }
    )
    policy = loading.Policy(torch.device("cpu"), DTYPES[dtype], None)
    model, fresh = loading.load_model(encoder.source, whole, policy, labels=encoder.head.labels)
    head = set() if causal else adapters.head_parameters(model, fresh)
    adapters.attach(model, whole.adapter, head)
    head_model = engine.build(model, whole, encoder.tokenizer)
    adapters.put_weights(head_model, engine.weights_of(fold), str(fold))
    adapters.merge_adapters(head_model)
    _unwrap(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(False)
        if name not in head:
            parameter.data = parameter.data.to(DTYPES[dtype])
    model.config.use_cache = True
    model.config.pad_token_id = encoder.pad_id
    if encoder.head.labels == len(_LABELS):
        model.config.id2label = dict(enumerate(_LABELS))
        model.config.label2id = {name: place for place, name in enumerate(_LABELS)}
    with quiet():
        model.save_pretrained(str(target))
        encoder.tokenizer.save_pretrained(str(target))
    own = {n: p for n, p in adapters.trained_parameters(head_model).items() if not n.startswith(_OURS)}
    _write_note(target, encoder, own)


def _check_exportable(recipe: Recipe) -> None:
    if not recipe.has_weights:
        raise RecipeError(
            f"member {recipe.name!r}: nothing was trained (train.epochs = 0), so its base {recipe.base!r} is "
            "the model; use that one"
        )
    if recipe.head.hidden:
        raise RecipeError(
            f"member {recipe.name!r}: head.hidden = {recipe.head.hidden} is a layer that no model of "
            "transformers has, so nothing else could load it; to export, train without head.hidden"
        )


def _without_adapter_name(name: str) -> str:
    """As PEFT writes it: the name of the adapter in use is left out."""
    if name.endswith(".lora_magnitude_vector.default.weight"):
        return name.removesuffix(".default.weight")
    return name.replace(".default.", ".")


def _as_transformers_builds_it(encoder: PromptEncoder) -> Any:
    """The model that transformers builds on this base, without weights; None where it has none."""
    import transformers

    if encoder.head.labels is None:
        loader: Any = transformers.AutoModelForCausalLM
    else:
        loader = transformers.AutoModelForSequenceClassification
    try:
        with torch.device("meta"), quiet():
            return loader.from_config(encoder.config)
    except ValueError:  # no such model for this architecture
        return None


def _peft_exchanges_targets(settings: Any, model: Any) -> bool:
    """Whether PEFT, when it loads the adapter, would take some names for experts' joined weights."""
    from peft.utils import transformers_weight_conversion as conversion

    trial = copy.deepcopy(settings)
    try:
        conversion.convert_peft_config_for_transformers(trial, model, None)
    except ValueError:  # it refuses half of a joined weight
        return True
    return bool(getattr(trial, "target_parameters", None))


def _unwrap(model: nn.Module) -> None:
    """Put the merged layers in the places of the adapters around them."""
    from peft.tuners.lora import LoraLayer

    for name, part in list(model.named_modules()):
        if isinstance(part, LoraLayer):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, part.get_base_layer())


def _write_note(target: Path, encoder: PromptEncoder, own: dict[str, Any]) -> None:
    """What a reader of the model needs beside the weights: prompt, verdict words, labels, ties."""
    recipe = encoder.recipe
    turns = {"prompt": [EXAMPLE[0]], "response_a": [EXAMPLE[1]], "response_b": [EXAMPLE[2]]}
    encoded = encoder.encode(Battles.from_rows([{"id": 0, **turns}]))
    note = {
        "member": recipe.name,
        "backbone": recipe.backbone,
        "base": recipe.base,
        "labels": list(_LABELS),
        "prompt": recipe.prompt.model_dump(mode="json"),
        "template": template_of(recipe.prompt).model_dump(),
        "beside_the_model": {name: value.tolist() for name, value in own.items()},
        # texts and the template's strings are tokenised one by one: the whole at once may give other ids
        "example": {**turns, "token_ids": [one.tokens.tolist() for one in encoded]},
    }
    (target / NOTE).write_text(json.dumps(note, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
