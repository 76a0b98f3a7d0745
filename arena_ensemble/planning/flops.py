"""Arithmetic of one pass over an example, counted from a model's modules: forward, backward, recomputation.

A matrix product of (m, k) by (k, n) is 2mkn operations. A frozen weight costs its forward product and,
where a trained weight lies below it, the product that carries the gradient on; only trained weights
cost the product that makes their own gradient. So LoRA training is about two thirds of full training.
Norms, activations and the optimizer are left out: they are memory-bound and small.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

from ..backbones.language.adapters import layer_of

_READS_LAYER_INPUT: Final = re.compile(
    r"\b(q_proj|k_proj|v_proj|qkv_proj|query|key|value|query_proj|key_proj|value_proj|Wqkv|c_attn)$"
)
_FUSED_BACKWARD: Final = 2.5
"""A fused kernel's backward makes the scores again: five products where its forward has two
(Dao 2023, arXiv:2307.08691, section 3.1)."""


@dataclass(frozen=True)
class Operations:
    """Operations of a pass over padded batches, by what they grow with."""

    per_token: float = 0.0
    per_square: float = 0.0
    """per sum of squared row lengths (attention scores)"""
    per_row: float = 0.0
    per_batch: float = 0.0

    def over(self, batch_totals: BatchTotals) -> float:
        """Operations in all."""
        return (
            self.per_token * batch_totals.tokens
            + self.per_square * batch_totals.squares
            + self.per_row * batch_totals.rows
            + self.per_batch * batch_totals.batches
        )

    def __add__(self, other: Operations) -> Operations:
        return Operations(
            self.per_token + other.per_token,
            self.per_square + other.per_square,
            self.per_row + other.per_row,
            self.per_batch + other.per_batch,
        )


@dataclass(frozen=True)
class BatchTotals:
    """How much is computed, padding included: tokens, squared lengths, rows, micro-batches."""

    tokens: float
    squares: float
    rows: float
    batches: float
    real: float
    """tokens that are not padding"""

    def times(self, factor: float) -> BatchTotals:
        """The same for so many times the rows."""
        return BatchTotals(
            *(factor * x for x in (self.tokens, self.squares, self.rows, self.batches, self.real))
        )

    @property
    def padding_share(self) -> float:
        """Share of computed tokens that are padding."""
        return 1 - self.real / self.tokens if self.tokens else 0.0


@dataclass(frozen=True)
class Passes:
    """What one model costs."""

    forward: Operations
    backward: Operations
    """as the model needs it: nothing is computed twice"""
    again: Operations
    """computed a second time: by gradient checkpointing, and inside fused attention's backward"""

    def training(self, batch_totals: BatchTotals) -> tuple[float, float]:
        """(model, performed) operations of training on these batches."""
        model = self.forward.over(batch_totals) + self.backward.over(batch_totals)
        return model, model + self.again.over(batch_totals)

    def prediction(self, batch_totals: BatchTotals) -> float:
        """Operations of prediction."""
        return self.forward.over(batch_totals)


def count(model: nn.Module, config: Any, *, causal: bool, fused: bool, checkpointed: bool) -> Passes:
    """Operations of a model as it is built and marked for training (weights may be on the meta device).

    Parameters
    ----------
    causal
        Whether a token sees only those before it; a fused kernel then skips half the scores.
    fused
        Whether attention is a fused kernel; else whole score matrices are computed.
    checkpointed
        Whether the layers are computed again in the backward pass.
    """
    trained = [layer_of(name) for name, p in model.named_parameters() if p.requires_grad]
    lowest = lowest_trained(model)
    forward, backward, again = Operations(), Operations(), Operations()
    for name, shape in _linears(model):
        layer = layer_of(f"{name}.")
        # without trained weights below, no gradient is carried on
        carried = lowest is not None and (layer is None or layer >= lowest)
        if layer is not None and layer == lowest and _READS_LAYER_INPUT.search(name):
            carried = lowest < 0 or _embeddings_trained(model)
        there, back = shape.work(carried)
        if layer is None:
            forward, backward = forward + Operations(per_row=there), backward + Operations(per_row=back)
            continue
        forward, backward = forward + Operations(per_token=there), backward + Operations(per_token=back)
        if checkpointed and lowest is not None and layer >= lowest:
            again += Operations(per_token=there)
    attention = _attention(config, causal=causal and fused)
    layers = int(config.num_hidden_layers)
    live = layers - max(lowest, 0) if lowest is not None and any(k is not None for k in trained) else 0
    scores, positions = attention
    forward += _scaled(scores, layers) + _scaled(positions, layers)
    backward += _scaled(scores, 2 * live) + _scaled(positions, 2 * live)
    if fused:
        again += _scaled(scores, (_FUSED_BACKWARD - 2) * live)
    if checkpointed:
        again += _scaled(scores, live) + _scaled(positions, live)
    return Passes(forward, backward, again)


def lowest_trained(model: nn.Module) -> int | None:
    """The lowest layer that a gradient reaches; None where only the head is trained."""
    layers = [layer_of(name) for name, p in model.named_parameters() if p.requires_grad]
    if _embeddings_trained(model):
        return 0
    return min((k for k in layers if k is not None), default=None)


def _embeddings_trained(model: nn.Module) -> bool:
    return any(isinstance(part, nn.Embedding) and part.weight.requires_grad for part in model.modules())


@dataclass(frozen=True)
class _Linear:
    """Sizes of one linear layer, and of the low-rank path beside it."""

    inputs: int
    outputs: int
    trained: bool
    rank: int = 0

    def work(self, carried: bool) -> tuple[float, float]:
        """Operations per token, forward and backward."""
        base, low = 2.0 * self.inputs * self.outputs, 2.0 * self.rank * (self.inputs + self.outputs)
        back = base if carried else 0.0
        back += base if self.trained else 0.0
        if self.rank:
            back += low  # gradients of A and B
            back += (
                low if carried else 2.0 * self.rank * self.outputs
            )  # through B always, through A on demand
        return base + low, back


def _linears(model: nn.Module) -> Iterator[tuple[str, _Linear]]:
    from peft.tuners.lora import LoraLayer
    from transformers.pytorch_utils import Conv1D

    adapted = [name for name, part in model.named_modules() if isinstance(part, LoraLayer)]
    inside = tuple(f"{name}." for name in adapted)
    outputs = getattr(model, "get_output_embeddings", lambda: None)()
    for name, part in model.named_modules():
        if isinstance(part, LoraLayer):
            rank = sum(int(r) for r in part.r.values())
            yield name, _Linear(int(part.in_features), int(part.out_features), trained=False, rank=rank)
        elif isinstance(part, nn.Linear | Conv1D) and not (inside and name.startswith(inside)):
            rows, columns = part.weight.shape
            inputs, wide = (rows, columns) if isinstance(part, Conv1D) else (columns, rows)
            # of a language model's output layer only the verdicts' three rows are multiplied
            yield name, _Linear(inputs, 3 if part is outputs else wide, trained=part.weight.requires_grad)


def _attention(config: Any, *, causal: bool) -> tuple[Operations, Operations]:
    """Forward work of one layer's attention: the scores, and disentangled positions where there are any."""
    heads = int(config.num_attention_heads)
    size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    width = heads * size
    scores = Operations(per_square=4.0 * width * (0.5 if causal else 1.0))
    if not getattr(config, "relative_attention", False):
        return scores, Operations()
    # He et al. 2021 (arXiv:2006.03654): content to position and position to content, each against 2k places
    kinds = getattr(config, "pos_att_type", None) or ()
    buckets = getattr(config, "position_buckets", 0)  # the first DeBERTa has none
    places = 2 * (buckets if buckets > 0 else config.max_position_embeddings)
    projections = 4.0 * places * config.hidden_size * width / 2 * len(kinds)
    return scores, Operations(per_token=2.0 * places * width * len(kinds), per_batch=projections)


def _scaled(work: Operations, factor: float) -> Operations:
    return Operations(
        work.per_token * factor, work.per_square * factor, work.per_row * factor, work.per_batch * factor
    )
