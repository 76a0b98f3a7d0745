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

_READS: Final = re.compile(r"\bself\.(\w+)\.weight\b(?!\.(?:dtype|device|shape)\b)")


def bypassed(parent: nn.Module) -> frozenset[str]:
    """Names of children of ``parent`` whose weight the code of its class, one of transformers', reads."""
    kind: Any = type(parent)
    return _read_in(kind) if kind.__module__.startswith("transformers.") else frozenset()


@functools.cache
def _read_in(kind: Any) -> frozenset[str]:
    try:
        return frozenset(_READS.findall(inspect.getsource(kind)))
    except (OSError, TypeError):  # without source nothing is known
        return frozenset()
