"""What a training run came to, for the card of its fold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .trainer import Trainer


def facts_of(trainer: Trainer, steps: int, stopped: bool) -> dict[str, Any]:
    """Plain JSON values of a run that has ended.

    Parameters
    ----------
    steps
        Optimizer steps that were planned.
    stopped
        Whether it ended before them.
    """
    state, gradients, device = trainer.state, trainer.gradients, trainer.policy.device
    facts: dict[str, Any] = {
        "optimizer_steps": state.done,
        "planned_steps": steps,
        "stopped_early": stopped,
        "training_seconds": round(state.seconds, 3),
        "training_tokens": state.real,
        "tokens_per_second": round(state.real / state.seconds, 1) if state.seconds else None,
        "padding_share": round(1 - state.real / state.padded, 4) if state.padded else 0.0,
        "epoch_losses": state.losses,
        "batch_tokens": gradients.budget.tokens,
        "gradient_checkpointing": gradients.recomputes,
        **trainer.watch.facts(),
    }
    if math.isfinite(state.best):
        facts["refined_validation_loss"] = round(state.best, 6)
        facts["best_epochs"] = round(state.best_done * trainer.settings.epochs / steps, 4)
    if device.type == "cuda":
        facts["peak_device_bytes"] = torch.cuda.max_memory_allocated(device)
    return facts
