"""AdamW in four forms: float32 moments, 8-bit ones (paged or not), and bfloat16 weights with Kahan sums."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from typing import Any, Final

import torch

from ...errors import DependencyError

_BETAS: Final = (0.9, 0.999)
_EPS: Final = 1e-8
_SMALL: Final = 4096
"""bitsandbytes keeps the moments of smaller weights in float32 (its ``min_8bit_size``)"""


def build_optimizer(name: str, groups: list[dict[str, Any]], device: torch.device) -> torch.optim.Optimizer:
    """The optimizer that ``train.optimizer`` names, over groups with their own rates and weight decay.

    Raises
    ------
    DependencyError
        The 8-bit ones need bitsandbytes.
    """
    if name == "adamw":
        return torch.optim.AdamW(groups, betas=_BETAS, eps=_EPS, fused=True)
    if name == "adamw-kahan":
        return KahanAdamW(groups)
    if importlib.util.find_spec("bitsandbytes") is None:
        raise DependencyError(
            f"train.optimizer = {name!r} needs bitsandbytes: pip install 'arena-ensemble[quantised]'"
        )
    from bitsandbytes import optim

    # its pages are CUDA's; on a CPU there is nothing that they could be paged to
    paged = name == "adamw-paged-8bit" and device.type == "cuda"
    build: Callable[..., torch.optim.Optimizer] = optim.PagedAdamW8bit if paged else optim.AdamW8bit
    return build(groups, betas=_BETAS, eps=_EPS, min_8bit_size=_SMALL)


def keeps_bf16(name: str, kind: str, compute: torch.dtype) -> bool:
    """Whether full fine-tuning trains bfloat16 weights: where their sums are compensated, in bfloat16 alone.

    Not with 8-bit moments: they save twice as much as the weights would, and updates below half a unit in
    the last place of a bfloat16 weight, as they are at usual rates, would be lost.
    """
    return name == "adamw-kahan" and kind == "full" and compute is torch.bfloat16


def state_bytes(name: str, parameters: Iterable[torch.Tensor]) -> int:
    """Bytes on the device of what the optimizer keeps of these parameters; pages count, they may be there."""
    total = 0.0
    for parameter in parameters:
        count = parameter.numel()
        if name in ("adamw-8bit", "adamw-paged-8bit") and count >= _SMALL:
            total += count * (2 + 2 * 4 / 256)  # two bytes, and a float32 scale for each block of 256
        elif name == "adamw-kahan" and parameter.dtype is torch.bfloat16:
            total += count * (2 + 4 + 2)
        else:
            total += 8 * count
    return round(total)


def on_device(optimizer: Any, parameter: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """A part of an optimizer's kept state where the optimizer would have put it: in pages, if it has any."""
    if getattr(optimizer, "is_paged", False) and value.shape == parameter.shape:
        pages: torch.Tensor = optimizer.get_state_buffer(parameter, dtype=value.dtype)
        return pages.copy_(value)
    return value.to(parameter.device)


class KahanAdamW(torch.optim.Optimizer):
    """AdamW for bfloat16 weights, whose small updates are kept until they add up to a step of the weight.

    ``compensation`` holds what rounding took from each weight (Kahan 1965; for bfloat16 training Zamirai et
    al. 2020, arXiv:2010.06192). The second moment is float32: at beta 0.999 a bfloat16 one never falls. Each
    update is computed in float32. Weights of other types are updated as AdamW does.

    Parameters
    ----------
    groups
        Parameter groups with ``lr`` and ``weight_decay``.
    """

    def __init__(
        self, groups: list[dict[str, Any]], betas: tuple[float, float] = _BETAS, eps: float = _EPS
    ) -> None:
        super().__init__(groups, {"lr": 1e-3, "weight_decay": 0.0, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient. A closure is not taken."""
        assert closure is None, "this optimizer takes no closure"
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad.float(), group)

    def _move(self, weight: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(weight)
            state["exp_avg_sq"] = torch.zeros_like(weight, dtype=torch.float32)
            if weight.dtype is not torch.float32:
                state["compensation"] = torch.zeros_like(weight)
        (first, second), mean, square = group["betas"], state["exp_avg"], state["exp_avg_sq"]
        state["step"] += 1
        done = state["step"]
        smooth = mean.float().lerp_(gradient, 1 - first)
        mean.copy_(smooth)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        scale = square.div(1 - second**done).sqrt_().add_(group["eps"])
        update = smooth.div(scale).mul_(-group["lr"] / (1 - first**done))
        exact = weight.float()
        update.add_(exact, alpha=-group["lr"] * group["weight_decay"])
        if "compensation" not in state:
            weight.add_(update)
            return
        update.add_(state["compensation"])
        moved = (exact + update).to(weight.dtype)
        # exact in float32: the weights are near each other
        state["compensation"].copy_(update.sub_(moved.float().sub_(exact)))
        weight.copy_(moved)
