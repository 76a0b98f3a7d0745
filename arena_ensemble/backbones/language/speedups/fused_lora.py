"""A low-rank adapter as one step of automatic differentiation, for float32.

PEFT writes ``base(x) + B(A(x)) * scaling``: two products, a scaling and a sum, each a pass over the
activations, and the same again backward. Here the update is added to the weight first, which costs
r / tokens of a product, and computed again backward, so that nothing is kept but the input. The arithmetic
is the same up to the order of sums. Used where no autocast, no quantisation, no dropout and no variant
of LoRA is at work; everything else keeps PEFT's own forward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class _Adapted(torch.autograd.Function):
    """``x W' + bias + scaling (x A') B'`` for x (tokens, in), W (out, in), A (r, in), B (out, r)."""

    @staticmethod
    def forward(
        context: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        context.save_for_backward(x, weight, a, b)
        context.scaling = scaling
        merged = torch.addmm(weight, b, a, alpha=scaling)
        return x @ merged.T if bias is None else torch.addmm(bias, x, merged.T)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, a, b = context.saved_tensors
        [above] = gradients
        scaling = context.scaling
        to_x = None
        if context.needs_input_grad[0]:
            to_x = above @ torch.addmm(
                weight, b, a, alpha=scaling
            )  # computed again: not a second base in memory
        below = (above @ b).mul_(scaling)
        return to_x, None, None, below.T @ x, (above.T @ (x @ a.T)).mul_(scaling), None


def fuse(model: nn.Module) -> int:
    """Give every plain float32 adapter of ``model`` the fused forward; how many there are."""
    from peft.tuners.lora import Linear

    count = 0
    for part in model.modules():
        if isinstance(part, Linear) and _plain(part):
            part.forward = _fused(part, part.forward)
            count += 1
    return count


def _plain(part: Any) -> bool:
    [name, *others] = part.active_adapters
    base = part.get_base_layer()
    return (
        not others
        and isinstance(base, nn.Linear)
        and base.weight.dtype is torch.float32
        and not base.weight.requires_grad
        and (base.bias is None or not base.bias.requires_grad)
        and not part.fan_in_fan_out
        and name not in part.lora_variant
        and isinstance(part.lora_dropout[name], nn.Identity)
        and part.lora_A[name].weight.dtype is torch.float32
        and getattr(part.lora_B[name], "bias", None) is None
    )


def _fused(part: Any, forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    name = part.active_adapters[0]

    def fused(x: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        away = rest or named or part.merged or part.disable_adapters or x.dtype is not torch.float32
        if away or torch.is_autocast_enabled(x.device.type) or not torch.is_grad_enabled():
            return forward(x, *rest, **named)
        base = part.get_base_layer()
        weights = (base.weight, base.bias, part.lora_A[name].weight, part.lora_B[name].weight)
        flat = x.reshape(-1, x.shape[-1])
        output: torch.Tensor = _Adapted.apply(flat, *weights, part.scaling[name])  # type: ignore[no-untyped-call]
        return output.view(*x.shape[:-1], output.shape[-1])

    return fused
