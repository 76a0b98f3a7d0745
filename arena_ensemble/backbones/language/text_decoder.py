"""Which part of a checkpoint reads text, and a classification head of our own where transformers has none.

Checkpoints of models that also see (Gemma-3, Qwen-VL, Llama-4) wrap a text decoder. It alone is used here:
it gets the adapters, and its last hidden state meets the head.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn

from ...errors import RecipeError

_OURS: Final = ("modernbert-decoder",)
"""Decoders whose class for classification is an encoder's, with layers that no checkpoint holds."""


_MASKS_WITHOUT_POSITIONS: Final = ("gpt_oss", "afmoe", "bloom", "falcon", "mpt", "opt", "xglm", "biogpt")
"""Decoders whose masks are made without positions (transformers 5.23), which alone tell packed rows apart."""


def text_config(config: Any) -> Any:
    """The part of a configuration that describes the text model; the whole one where there is one part."""
    return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config


def text_decoder(model: Any) -> Any:
    """The module that turns token ids into hidden states: without head, image tower or projector."""
    found = model
    while True:
        inner = found.get_decoder()
        if not hasattr(inner, "get_decoder"):
            inner = found.base_model  # ModernBERT-decoder calls its output layer so
        if inner is found and getattr(found, "lm_head", None) is not None:
            inner = found.model  # Llama-4's causal model takes itself for its decoder
        if inner is found:
            return found
        found = inner


def reads_both_ways(config: Any) -> bool:
    """Whether a token of text sees what stands after it (Gemma-4: ``"vision"`` is image tokens alone).

    Raises
    ------
    RecipeError
        PaliGemma: its text decoder alone reads both ways or not by whether a batch happens to have padding.
    """
    both = getattr(config, "use_bidirectional_attention", None) in (True, "all")
    if both and config.model_type in ("gemma", "gemma2"):
        raise RecipeError(
            f"a base of type {config.model_type!r} that reads its prompt both ways (PaliGemma) needs its "
            "image tower for that; choose a base that reads text, such as the Gemma that it is made of"
        )
    return both


def auto_class(config: Any, labels: int | None) -> tuple[Any, bool]:
    """transformers' loader for a base and a head of so many ``labels``, and whether the head is our own.

    Raises
    ------
    RecipeError
        No text model that this head could stand on; the message says what to do.
    """
    import transformers
    from transformers.models.auto import modeling_auto as known

    kind = config.model_type
    sees = text_config(config) is not config
    if labels is None:
        if sees and kind in known.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
            return transformers.AutoModelForImageTextToText, False
        return transformers.AutoModelForCausalLM, False
    if not sees and kind not in _OURS and kind in known.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        return transformers.AutoModelForSequenceClassification, False
    if sees or kind in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return transformers.AutoModel, True
    raise RecipeError(
        f"a base of type {kind!r} has neither a classification head in transformers nor a text decoder; "
        "choose another base"
    )


class DecoderClassifier(nn.Module):
    """A text decoder and a linear head ``score``, as transformers' classes for classification have it."""

    def __init__(self, model: Any, labels: int) -> None:
        super().__init__()
        body = text_decoder(model)
        self.config = body.config
        self.base_model_prefix = str(body.base_model_prefix or "model")
        self.add_module(self.base_model_prefix, body)
        weight = next(body.parameters())
        self.score = nn.Linear(self.config.hidden_size, labels, bias=False, device=weight.device)
        if not weight.is_meta:
            nn.init.normal_(self.score.weight, std=getattr(self.config, "initializer_range", 0.02))

    def get_decoder(self) -> Any:
        """The text decoder."""
        return self.get_submodule(self.base_model_prefix)

    @property
    def activation_checkpointing_enable(self) -> Any:
        """The decoder's own."""
        return self.get_decoder().activation_checkpointing_enable

    @property
    def gradient_checkpointing_enable(self) -> Any:
        """The decoder's own."""
        return self.get_decoder().gradient_checkpointing_enable

    def tie_weights(self) -> None:
        """Nothing is shared with the head."""

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Logits (rows, length, labels) at every position."""
        logits: torch.Tensor = self.score(self.get_decoder()(**inputs).last_hidden_state)
        return logits


def refuse_packing(config: Any) -> None:
    """Rows in one sequence are kept apart by attention: refuse models that mix tokens in another way.

    Raises
    ------
    RecipeError
        Layers of linear attention or a state, positions of more than one dimension, or masks without them.
    """
    kinds = set(getattr(config, "layer_types", None) or ())
    apart = not kinds - {"full_attention", "sliding_attention", "chunked_attention"}
    if not apart or "_vl" in config.model_type or config.model_type in _MASKS_WITHOUT_POSITIONS:
        raise RecipeError(
            f"train.packing: rows of a base of type {config.model_type!r} would see each other; "
            "leave packing out"
        )
