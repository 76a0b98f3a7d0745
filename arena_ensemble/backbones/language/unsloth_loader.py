"""Bases and adapters as unsloth builds them: its fused kernels and checkpointing, our loop and heads on top.

Written against unsloth 2026.10.9 and held against the signatures of that wheel
(tests/backbones/language/unsloth_signatures.json); never run by us, since unsloth needs a GPU to import.

unsloth patches transformers and PEFT when it is imported and should come before both; `import_unsloth` is
the first thing that a worker process does for a recipe with this loader. Its ``get_peft_model`` inserts the
adapters into the very model that it gets, so PEFT's wrapper is left aside and every parameter keeps the name
that it has with the plain loader: a fold loads through either.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from torch import nn

from ...errors import DependencyError, RecipeError
from . import adapters
from .notices import quiet

if TYPE_CHECKING:
    from ...recipes import Recipe
    from .loading import Policy, Source

_log = logging.getLogger(__name__)


def import_unsloth() -> Any:
    """The module unsloth. Warns once where transformers or PEFT came first.

    Raises
    ------
    DependencyError
        It is not installed, or refuses this machine (it wants a GPU).
    """
    if "unsloth" in sys.modules:
        return sys.modules["unsloth"]
    if importlib.util.find_spec("unsloth") is None:
        raise DependencyError(
            "loader = 'unsloth' needs the package unsloth: pip install 'arena-ensemble[unsloth]' in an "
            "environment of its own (it pins an older transformers than constraints.txt); or leave loader out"
        )
    early = [name for name in ("transformers", "peft") if name in sys.modules]
    if early:
        _log.warning(
            "unsloth is imported after %s in this process: its patches come late and some of its speed is "
            "lost; train by the command line or cross_fit, which start a fresh process for such members, or "
            "import unsloth first",
            " and ".join(early),
        )
    try:
        import unsloth
    except (ImportError, NotImplementedError, RuntimeError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DependencyError(
            f"loader = 'unsloth': unsloth cannot be imported here ({line}); use a machine with a GPU, "
            "or leave loader out"
        ) from error
    return unsloth


def load(source: Source, recipe: Recipe, policy: Policy, labels: int | None) -> tuple[Any, frozenset[str]]:
    """The base, with a head of so many ``labels`` or as a causal model, and the names of fresh parameters.

    ``dtype`` is the policy's, so that autocast and weights agree; the number of bits is always given, since
    unsloth's own default is 4.
    """
    options: dict[str, Any] = {} if labels is None else {"num_labels": labels}
    if source.revision:
        options["revision"] = source.revision
    loader = import_unsloth().FastLanguageModel
    with quiet():
        model, _ = loader.from_pretrained(
            model_name=source.name,
            max_seq_length=recipe.prompt.max_tokens,
            dtype=policy.dtype,
            load_in_4bit=recipe.adapter.quantise == "4bit",
            load_in_8bit=recipe.adapter.quantise == "8bit",
            use_gradient_checkpointing=_checkpointing(recipe),
            use_exact_model_name=True,  # else names are exchanged for unsloth's own quantised copies
            random_state=recipe.seed,
            trust_remote_code=False,
            **options,
        )
    if labels is not None and not isinstance(getattr(model, "score", None), nn.Module):
        raise RecipeError(
            f"base {source.name!r}: unsloth loads it as {type(model).__name__}, without a head of {labels} "
            "labels; leave loader out, or use backbone = 'generate'"
        )
    model.config.use_cache = False
    fresh = {name for name, _ in model.named_parameters() if labels and name.startswith("score.")}
    return model, frozenset(fresh)


def insert_adapters(model: Any, recipe: Recipe, head: Collection[str]) -> None:
    """Insert LoRA by unsloth's ``get_peft_model``; names are then those of the plain loader.

    A classifier's head is not listed under ``modules_to_save``: unsloth 2026.10.9 refuses any module but
    embeddings, output layer and norms there, and PEFT wraps the head by itself for a sequence classifier.

    Raises
    ------
    RecipeError
        unsloth adapted other layers than the plain loader does.
    """
    settings = recipe.adapter
    wanted = set(adapters.lora_targets(model, settings, head)[0])
    layers = {layer for name in wanted if (layer := adapters.layer_of(f"{name}.")) is not None}
    wrapped = import_unsloth().FastLanguageModel.get_peft_model(
        model,
        r=settings.r,
        target_modules=sorted({name.rpartition(".")[2] for name in wanted}),
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        bias="none",
        layers_to_transform=sorted(layers) if settings.first_layer else None,
        use_gradient_checkpointing=_checkpointing(recipe),
        random_state=recipe.seed,
        use_rslora=settings.rslora,
    )
    if wrapped.get_base_model() is not model:
        raise RecipeError(
            "loader = 'unsloth': get_peft_model of this version copies the model; leave loader out"
        )
    for name in sorted({name.rpartition(".")[0] for name in head}):
        part = model.get_submodule(name)
        kept = getattr(part, "modules_to_save", None)
        if kept is not None:  # PEFT's wrapper: the trained copy takes the head's plain name again
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, kept["default"])
    found = {name.partition(".lora_A.")[0] for name, _ in model.named_parameters() if ".lora_A." in name}
    if found != wanted:
        raise RecipeError(
            f"loader = 'unsloth' does not adapt the layers that the recipe names ({min(found ^ wanted)} "
            "differs); leave loader out"
        )


def _checkpointing(recipe: Recipe) -> str | bool:
    """``auto`` is on: unsloth's own costs little, and cannot be turned on later."""
    return "unsloth" if recipe.train.gradient_checkpointing else False
