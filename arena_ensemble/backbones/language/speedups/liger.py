"""Norms and gated feed-forward blocks by the package liger-kernel (Triton kernels, Hsu et al. 2024).

Each replaces a row of small kernels that pass over the activations, forward and backward, and keeps less
for backward. Only parts of the model at hand are changed. Liger's rotary embedding and its losses are left
out: the first can only be put in for every model of the process, and a loss over three verdicts needs none.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from typing import Any, Final

from ....errors import DependencyError, RecipeError
from ..text_decoder import text_config, text_decoder

_log = logging.getLogger(__name__)
FAMILIES: Final = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3")
"""Model types that were held against the plain modules on a card; others keep their own."""


def installed() -> bool:
    """Whether liger-kernel is there."""
    return importlib.util.find_spec("liger_kernel") is not None


def wanted(kernels: str, config: Any, *, cuda: bool) -> bool:
    """Whether a model of this configuration gets Liger's kernels under ``train.kernels``.

    Raises
    ------
    DependencyError
        They are asked for and not installed.
    RecipeError
        They are asked for on a CPU, or for a family that was not checked.
    """
    kind = str(text_config(config).model_type)
    if kernels == "auto":
        return cuda and kind in FAMILIES and installed()
    if kernels == "plain":
        return False
    if not installed():
        raise DependencyError(
            "train.kernels = 'liger' needs liger-kernel: pip install 'arena-ensemble[liger]', or set 'auto'"
        )
    if not cuda:
        raise RecipeError("train.kernels = 'liger' needs a GPU; set 'auto'")
    if kind not in FAMILIES:
        raise RecipeError(
            f"train.kernels = 'liger': not checked for a base of type {kind!r} (for {', '.join(FAMILIES)}); "
            "set 'auto'"
        )
    return True


def apply(model: Any) -> None:
    """Change the norms and the feed-forward blocks of ``model``, before adapters are inserted."""
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    body = text_decoder(model)
    module = sys.modules[type(body).__module__]
    before = dict(vars(module))
    level = logging.getLogger("liger_kernel").level
    logging.getLogger("liger_kernel").setLevel(logging.ERROR)  # it tells of backends that are not there
    try:
        _apply_liger_kernel_to_instance(
            model=body,
            **dict.fromkeys(("rope", "cross_entropy", "fused_linear_cross_entropy"), False),
            **dict.fromkeys(("rms_norm", "swiglu", "geglu"), True),
        )
    finally:
        # it also exchanges the classes of the module, which other models of this process are built of
        for name, value in before.items():
            if vars(module).get(name) is not value:
                setattr(module, name, value)
        logging.getLogger("liger_kernel").setLevel(level)
