"""Linear layers whose weight a model multiplies by itself, around the layer's own forward.

The mixers of Mamba hand their weights to one fused kernel, Gemma-3n clamps one of its small layers while it
trains. An adapter in such a layer does nothing there, and something wherever the layer is called after all
(on a CPU, in evaluation), so the model that predicts would not be the one that was trained.
"""

from __future__ import annotations

import functools
import inspect
import re
from typing import Any, Final

from torch import nn

_READS: Final = re.compile(r"(?<!isinstance\()\bself\.(\w+)\.weight\b(?!\.(?:dtype|device|shape)\b)")
_CALL_IT_HERE: Final = ("BloomAttention", "BloomMLP", "DisentangledSelfAttention")
"""Read a weight in a branch that no prediction takes (Bloom's ``slow_but_exact`` across devices, queries of
another layer in DeBERTa's masked language model), and else call the layer."""


def bypassed(parent: nn.Module) -> frozenset[str]:
    """Names of children of ``parent`` whose weight the code of its class, one of transformers', reads."""
    kind: Any = type(parent)
    known = kind.__module__.startswith("transformers.") and kind.__name__ not in _CALL_IT_HERE
    return _read_in(kind) if known else frozenset()


@functools.cache
def _read_in(kind: Any) -> frozenset[str]:
    try:
        return frozenset(_READS.findall(inspect.getsource(kind)))
    except (OSError, TypeError):  # without source nothing is known
        return frozenset()
