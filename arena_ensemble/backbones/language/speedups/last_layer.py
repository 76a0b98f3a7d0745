"""The last layer, computed only at the positions that a head reads.

A head reads one position of a row: a decoder's last real token, an encoder's first. The last layer's
keys and values are needed everywhere, but its queries, scores, output projection and feed-forward
block only there; their values elsewhere are never used. The results are the same, and so
are the gradients. Of L like layers this saves nearly one: a quarter of a base of four, one part in
forty of a 9B model, and the memory of its widest activations.

Only architectures that the contract tests compare with the whole layer are patched; others run whole.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
from torch import nn

from ..attention import EXPANDED
from ..text_decoder import text_config

_NAME: Final = "arena_last_layer"
_PRE_NORM: Final = {
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3"), ("self_attn", "o_proj")
    ),
    "gpt2": ("attn", "c_proj"),
    "modernbert": ("attn", "Wo"),
}
"""Attention module of a layer and its output projection; the feed-forward block is ``mlp``."""
_POST_NORM: Final = ("bert", "deberta-v2")
_ATTENTION: Final = ("sdpa", EXPANDED, "eager")
Forward = Callable[..., torch.Tensor]


class ReadPositions:
    """Where the last layer is read in the batch at hand: rows and positions, (n,) each."""

    def __init__(self) -> None:
        self.at: tuple[torch.Tensor, torch.Tensor] | None = None
        self.on = True

    @property
    def now(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The places, or None where the whole layer shall run."""
        return self.at if self.on else None

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Run the whole layer for a while."""
        before, self.on = self.on, False
        try:
            yield
        finally:
            self.on = before


def patch_last_layer(model: nn.Module, body: nn.Module) -> ReadPositions | None:
    """Make the last layer of ``body`` look at the positions that the returned object holds.

    None where the architecture is not among those known; nothing is changed then.
    """
    config: Any = text_config(model.config)
    kind = config.model_type
    if kind == "modernbert" and getattr(config, "classifier_pooling", "cls") != "cls":
        return None
    layer = _last_layer(body)
    if layer is None:
        return None
    positions = ReadPositions()
    if kind in _PRE_NORM:
        attention, projection = _PRE_NORM[kind]
        part = layer.get_submodule(attention)
        _at_places(part.get_submodule(projection), positions)
        _at_places(layer.get_submodule("mlp"), positions)
        _attend(part, config, positions)
    elif kind in _POST_NORM:
        attention_block = layer.get_submodule("attention")
        _first_only(attention_block.get_submodule("output"), positions)
        if kind == "bert":
            _attend(attention_block.get_submodule("self"), config, positions)
    else:
        return None
    return positions


def _last_layer(body: nn.Module) -> nn.Module | None:
    for name in ("layers", "h", "encoder.layer"):
        with contextlib.suppress(AttributeError):
            found = body.get_submodule(name)
            if isinstance(found, nn.ModuleList) and len(found):
                return found[-1]
    return None


def _at_places(module: nn.Module, positions: ReadPositions) -> None:
    """Let a module that treats positions alike see the places alone; elsewhere the output is zero."""
    forward: Forward = module.forward

    def some(x: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        at = positions.now
        if at is None:
            return forward(x, *rest, **named)
        output = forward(x[at][None], *rest, **named)[0]
        return output.new_zeros(*x.shape[:2], output.shape[-1]).index_put(at, output)

    module.forward = some


def _first_only(module: nn.Module, positions: ReadPositions) -> None:
    """Cut what flows through (tensors (rows, length, hidden)) to the first position, for good."""
    forward: Forward = module.forward

    def some(*tensors: torch.Tensor) -> torch.Tensor:
        return forward(*tensors) if positions.now is None else forward(*(x[:, :1] for x in tensors))

    module.forward = some


def _attend(module: nn.Module, config: Any, positions: ReadPositions) -> None:
    """Let an attention module that takes transformers' attention functions ask for the places alone."""
    from transformers import AttentionInterface

    kind = getattr(config, "_attn_implementation", None)
    if kind not in _ATTENTION:
        return  # other kernels have their own ways to say which tokens belong together
    own = copy.copy(config)
    AttentionInterface.register(_NAME, _queries_at_places)
    own._attn_implementation = _NAME
    module.config = own
    module._arena = (positions, kind)  # type: ignore[assignment]


def _queries_at_places(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **named: Any
) -> tuple[torch.Tensor, None]:
    """Attention (rows, length, heads, width) whose queries are the places alone; elsewhere zero."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    positions, kind = module._arena
    attend = ALL_ATTENTION_FUNCTIONS.get_interface(
        kind, getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    )
    at = positions.now
    causal = bool(getattr(module, "is_causal", False))
    if at is None or (mask is None and causal and kind == "eager"):
        output, _ = attend(module, query, key, value, mask, **named)
        return output, None
    row, place = at
    packed = len(query) == 1 and len(row) > 1  # all rows lie in one
    asked = query[row, :, place]  # (n, heads, width)
    asked = asked.transpose(0, 1)[None] if packed else asked[:, :, None]
    if mask is None and causal:
        mask = (torch.arange(key.shape[2], device=key.device) <= place[:, None])[:, None, None]
        mask = mask.transpose(0, 2) if packed else mask
    elif mask is not None and mask.shape[2] > 1:
        mask = mask.expand(len(query), *mask.shape[1:])
        mask = mask[row, :, place]  # (n, heads or 1, keys)
        mask = mask.transpose(0, 1)[None] if packed else mask[:, :, None]
    output, _ = attend(module, asked, key, value, mask, **named)  # (rows, asked, heads, width)
    output = output[0] if packed else output[:, 0]
    return output.new_zeros(len(query), query.shape[2], *output.shape[1:]).index_put(at, output), None
