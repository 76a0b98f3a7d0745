"""Which kernel computes attention on a card, and ours for cards whose fused kernels take no shared heads.

Grouped-query attention has fewer heads of keys and values than of queries. Where no mask is given,
transformers passes them to PyTorch as they are (``enable_gqa``), which only the kernels of newer cards take
(compute capability 8.0), and only in 16 bits; everywhere else PyTorch falls back to whole score matrices
(transformers issue 48633 and pull request 45776 report 1.6 to 1.8 times the time on a T4). There, keys and
values are repeated for every query head first: the same products, and the memory-efficient kernel again.
"""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import torch

from ...errors import RecipeError

EXPANDED: Final = "arena_sdpa_expanded"
"""The name of our attention function in transformers' registry."""
_FUSED_CAPABILITY: Final = (8, 0)
_FLASH_WITH_SOFT_CAP: Final = (2, 6)


@dataclass(frozen=True)
class Card:
    """What decides on attention: compute capability, None on a CPU, and which kernels are installed."""

    capability: tuple[int, int] | None = None
    flash: tuple[int, ...] | None = None
    """major and minor version of the package flash_attn"""

    @property
    def new(self) -> bool:
        """Whether kernels written for Ampere and later run here."""
        return self.capability is not None and self.capability >= _FUSED_CAPABILITY


def card_here() -> Card:
    """The current device's."""
    if not torch.cuda.is_available():
        return Card()
    return Card(torch.cuda.get_device_capability(), _flash_version())


def choose_attention(requested: str, config: Any, dtype: torch.dtype, card: Card) -> str | None:
    """The attention implementation by transformers' name, or None to leave the choice to transformers.

    ``auto`` is flash attention where it is installed and the card can run it; else what transformers
    chooses. Where the architecture soft-caps its attention scores (Gemma-2), PyTorch's fused kernels would
    leave the cap out: then flash attention from 2.6 on, which knows it, else eager. Flex attention knows it
    too and is taken where a recipe asks for it: on the one card where we ran it, compiling it for batches of
    many shapes took longer than eager took for everything.

    Raises
    ------
    RecipeError
        The recipe asks for a kernel that would leave out the soft-cap.
    """
    capped = soft_capped(config)
    knows_cap = card.flash is not None and card.flash >= _FLASH_WITH_SOFT_CAP
    if requested != "auto":
        able = requested in ("eager", "flex_attention") or (requested == "flash_attention_2" and knows_cap)
        if capped and not able:
            raise RecipeError(
                f"attention = {requested!r} would leave out this model's soft-cap on attention scores; "
                "use 'auto', 'flex_attention' or 'eager' (flash_attn knows it from 2.6 on)"
            )
        return requested
    half = dtype is not torch.float32
    if card.flash is not None and card.new and half and (knows_cap or not capped):
        return "flash_attention_2"
    return next_attention(config)


def next_attention(config: Any) -> str | None:
    """What ``auto`` comes to without flash attention."""
    return "eager" if soft_capped(config) else None


def needs_expanding(dtype: torch.dtype, card: Card) -> bool:
    """Whether no fused kernel of this card takes fewer heads of keys and values than of queries."""
    return card.capability is not None and (not card.new or dtype is torch.float32)


def expand_shared_heads(body: Any) -> bool:
    """Let ``body`` repeat shared keys and values before PyTorch's attention; whether it does now.

    Only models that compute attention by PyTorch's ``scaled_dot_product_attention`` and share heads are
    changed. The numbers are the same up to the order of sums.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    shared = any(getattr(part, "num_key_value_groups", 1) > 1 for part in body.modules())
    if not shared or getattr(body.config, "_attn_implementation", None) != "sdpa":
        return False
    AttentionInterface.register(EXPANDED, _expanded)
    AttentionMaskInterface.register(EXPANDED, sdpa_mask)
    body.set_attn_implementation(EXPANDED)
    return True


def _expanded(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **named: Any
) -> tuple[torch.Tensor, None]:
    """transformers' function for PyTorch's attention, with keys and values repeated beforehand."""
    from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

    groups = query.shape[1] // key.shape[1]
    one_each = SimpleNamespace(num_key_value_groups=1, is_causal=getattr(module, "is_causal", True))
    output, _ = sdpa_attention_forward(
        one_each, query, repeat_kv(key, groups), repeat_kv(value, groups), mask, **named
    )
    return output, None


def soft_capped(config: Any) -> bool:
    """Whether the model caps its attention scores."""
    return bool(getattr(config, "attn_logit_softcapping", None))


def _flash_version() -> tuple[int, ...] | None:
    try:
        return _version(importlib.metadata.version("flash_attn"))
    except importlib.metadata.PackageNotFoundError:
        return None


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])
