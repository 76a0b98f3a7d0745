"""What training minimises and how fast: the loss of an example, the rate of a step, optimizer groups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .adapters import layer_of, trained_parameters


@dataclass(frozen=True)
class SoftLoss:
    """How a teacher's probabilities enter the loss of an example, see `example_loss`."""

    temperature: float = 1.0
    share: float = 0.0
    """of the loss that the teacher has, where people voted too"""
    cosine: bool = False


def example_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    teacher: torch.Tensor | None,
    *,
    temperature: float,
    share: float | torch.Tensor,
    cosine: bool = False,
) -> torch.Tensor:
    """Loss of each example (n,): cross-entropy, mixed with the teacher's divergence where there is one.

    ``(1 - share) CE + share T^2 KL(teacher_T || model_T)`` with both distributions at temperature T
    (Hinton, Vinyals and Dean 2015, arXiv:1503.02531). ``share`` is one for all examples, or (n,).
    ``cosine`` adds ``1 - cos`` of the two distributions at temperature T to the divergence, as in the
    distillation of the winners of LMSYS's competition (2024).
    """
    hard = functional.cross_entropy(logits, labels, reduction="none")
    if teacher is None:
        return hard
    taught = ~torch.isnan(teacher).any(dim=1)
    target = functional.log_softmax(torch.where(taught[:, None], teacher, 0.0) / temperature, dim=1)
    own = functional.log_softmax(logits / temperature, dim=1)
    soft = temperature**2 * functional.kl_div(own, target, reduction="none", log_target=True).sum(dim=1)
    if cosine:
        soft = soft + 1 - functional.cosine_similarity(own.exp(), target.exp(), dim=1)
    return torch.where(taught, (1 - share) * hard + share * soft, hard)


def rate_at(step: int, steps: int, warmup: float, schedule: str) -> float:
    """Learning rate of a step in [0, steps), relative to its peak."""
    climb = warmup * steps
    if step < climb:
        return (step + 1) / (climb + 1)
    if schedule == "constant":
        return 1.0
    done = (step - climb) / max(1.0, steps - climb)
    return 0.5 * (1 + math.cos(math.pi * done)) if schedule == "cosine" else 1 - done


def parameter_groups(head_model: nn.Module, settings: Any, head: Sequence[str]) -> list[dict[str, Any]]:
    """Optimizer groups: the head's own rate, layer-wise decay, no weight decay on vectors."""
    base, top = settings.learning_rate, settings.head_learning_rate or settings.learning_rate
    named = trained_parameters(head_model)
    layers = [layer_of(name) for name, _ in head_model.named_parameters()]
    depth = max((k for k in layers if k is not None), default=0) + 1
    heads = set(head)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named.items():
        if name in heads:
            rate = top
        else:
            layer = layer_of(name)
            above = depth if "embed" in name or ".wte" in name or ".wpe" in name else 0
            rate = base * settings.layer_decay ** (depth - 1 - layer if layer is not None else above)
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": p, "lr": r, "peak": r, "weight_decay": d} for (r, d), p in groups.items()]
