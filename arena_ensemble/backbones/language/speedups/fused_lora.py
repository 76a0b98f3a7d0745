"""A low-rank adapter as one step of automatic differentiation, in float32 and in 16 bits.

PEFT writes ``base(x) + B(A(x)) * scaling``: two products, a scaling and a sum, each a pass over the
activations, and the same again backward. In float32 the update is added to the weight first, which costs
r / tokens of a product, and computed again backward, so that nothing is kept but the input. Under autocast
that would round most of the update away (a weight of 16 bits has 8 or 11 binary digits); there the update's
product is added up inside the second product, which spares the scaling, the sum and an output. The
arithmetic is the same up to the order of sums and one rounding less. Used where no quantisation, no dropout
and no variant of LoRA is at work; everything else keeps PEFT's own forward. Prediction takes the way of 16
bits too: PEFT would copy every activation to float32, the type of the adapters, and autocast back again.
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


class _AdaptedHalf(torch.autograd.Function):
    """The same with every tensor in one type of 16 bits, the update beside the weight."""

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
        low = x @ a.T
        context.save_for_backward(x, weight, a, b, low)
        context.scaling = scaling
        output = x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)
        return output.addmm_(low, b.T, alpha=scaling)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, a, b, low = context.saved_tensors
        [above] = gradients
        below = (above @ b).mul_(context.scaling)
        to_x = (above @ weight).addmm_(below, a) if context.needs_input_grad[0] else None
        return to_x, None, None, below.T @ x, (above.T @ low).mul_(context.scaling), None


def fuse(model: nn.Module) -> int:
    """Give every plain adapter of ``model`` the fused forward; how many there are."""
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
        and base.weight.dtype in (torch.float32, torch.bfloat16, torch.float16)
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
        base, device = part.get_base_layer(), x.device.type
        dtype = base.weight.dtype
        # where the computing type is not the weight's, PEFT and autocast know what to do
        computes = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        plain = dtype is torch.float32 and not torch.is_autocast_enabled(device)
        half = dtype is not torch.float32 and torch.is_autocast_enabled(device)
        away = rest or named or part.merged or part.disable_adapters
        away = away or (
            plain and not torch.is_grad_enabled()
        )  # there the adapter is merged once, not per batch
        if away or computes is not dtype or not (plain or half):
            return forward(x, *rest, **named)
        flat = x.reshape(-1, x.shape[-1])
        update = (part.lora_A[name].weight, part.lora_B[name].weight)
        way: Any = _Adapted
        if half:
            flat, update, way = flat.to(dtype), (update[0].to(dtype), update[1].to(dtype)), _AdaptedHalf
        output: torch.Tensor = way.apply(flat, base.weight, base.bias, *update, part.scaling[name])
        return output.view(*x.shape[:-1], output.shape[-1])

    return fused
