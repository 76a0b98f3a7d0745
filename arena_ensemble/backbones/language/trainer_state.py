"""How far a training run is, and what of a trainer a checkpoint keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn


@dataclass
class TrainerState:
    """How far a run is; everything here goes into a checkpoint."""

    epoch: int = 0
    step: int = 0  # within the epoch
    done: int = 0  # optimizer steps in all
    best: float = math.inf
    best_done: int = 0  # optimizer steps at the best evaluation
    stale: int = 0  # evaluations since the best
    real: int = 0
    padded: int = 0
    batch_tokens: int | None = None  # of a micro-batch, once memory has run out
    recomputes: bool = False  # layers in the backward pass, since memory has run out
    losses: list[float] | None = None  # mean loss of each finished epoch
    seconds: float = 0.0


def copies(parameters: Sequence[nn.Parameter]) -> list[torch.Tensor]:
    """What is in the parameters, in main memory: a device that training fills has no room for it."""
    return [p.detach().to("cpu", copy=True) for p in parameters]


def put(parameters: Sequence[nn.Parameter], values: Sequence[torch.Tensor]) -> None:
    """Copy ``values``, from wherever they lie, into the parameters."""
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)


def exchange(parameters: Sequence[nn.Parameter], values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Put ``values`` into the parameters; returns what was there, in main memory."""
    before = copies(parameters)
    put(parameters, values)
    return before


class Resumable(Protocol):
    """What a checkpoint writes and restores: a :class:`~.trainer.Trainer` seen from outside."""

    name: str
    state: TrainerState
    kept: int
    """steps of the last checkpoint"""
    seed: int
    policy: Any
    named: dict[str, nn.Parameter]
    """the parameters in training, by name"""
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: list[torch.Tensor] | None
    best: list[torch.Tensor] | None
    seen_logits: npt.NDArray[np.float64]
