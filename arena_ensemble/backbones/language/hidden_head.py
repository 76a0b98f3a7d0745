"""A classification head with a layer between: dropout, linear, dropout, GELU, linear.

It is the head of the second place of Kaggle's LMSYS competition (tascj/kaggle-lmsys-chatbot-arena,
configs/stage3: half the base's width, dropout .1, drawn anew), in the order of its layers there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ...errors import RecipeError


class HiddenHead(nn.Module):
    """Logits (rows, outputs) from vectors (rows, inputs), through ``hidden`` units.

    Parameters
    ----------
    dropout
        Share of the inputs, and of the units, that is left out of a training step.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, dropout: float, device: Any = None) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(inputs, hidden, device=device)
        self.out = nn.Linear(hidden, outputs, device=device)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """See the class."""
        units = self.dropout(self.dense(self.dropout(features)))
        logits: torch.Tensor = self.out(nn.functional.gelu(units))
        return logits


def put_hidden_layer(model: nn.Module, settings: Any) -> set[str]:
    """Put such a head in the place of a linear one; names of its parameters, none where ``hidden`` is 0.

    Parameters
    ----------
    settings
        As :class:`arena_ensemble.recipes.HeadSettings` (any object with its fields).

    Raises
    ------
    RecipeError
        The base's own head is no single layer.
    """
    if not settings.hidden:
        return set()
    name = "score" if hasattr(model, "score") else "classifier"
    linear = getattr(model, name, None)
    if not isinstance(linear, nn.Linear):
        raise RecipeError(
            f"head.hidden = {settings.hidden}: the head that transformers builds on this base has a layer "
            "between already; leave head.hidden and head.dropout out"
        )
    weight = linear.weight
    head = HiddenHead(
        linear.in_features, settings.hidden, linear.out_features, settings.dropout, weight.device
    )
    setattr(model, name, head)
    return {f"{name}.{own}" for own, _ in head.named_parameters()}
