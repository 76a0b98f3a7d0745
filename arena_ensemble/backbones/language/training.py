"""One member's training run: its trainer, early stopping on held-out prompts, loss curves."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ...battles import Battles
from ...calibration import fit_temperature
from ...deadline import Deadline
from ...losses import tie_aside
from ...metrics import log_loss
from ...predictions import without_ties
from ..base import Progress
from . import loading, spread
from .adapters import unmoved
from .model import MemberModel
from .objective import SoftLoss
from .reporting import reporter
from .sequences import TrainingSet
from .trainer import Trainer

_log = logging.getLogger(__name__)


def train_member(
    member: MemberModel,
    training_set: TrainingSet,
    held: Battles,
    *,
    folder: Path,
    resume: bool,
    on_progress: Progress | None,
    deadline: Deadline | None = None,
) -> dict[str, Any]:
    """Train the model in place and return facts for the card.

    Parameters
    ----------
    held
        Battles with outcomes that early stopping evaluates on; empty where it is off.
    folder
        Where checkpoints lie; its name also tells the runs of one member apart in reports.
    """
    recipe, fold = member.encoder.recipe, folder.name.removesuffix(".partial")
    machine: dict[str, Any] = {"batch_tokens": member.policy.micro_batch(recipe.train.batch_tokens)}
    recompute = None
    if recipe.train.gradient_checkpointing == "auto":
        # unsloth's own is on since the adapters were inserted; a kept model's since an earlier fold
        if recipe.loader == "unsloth" or loading.recomputes(member.head_model):
            machine["gradient_checkpointing"] = True
        else:
            recompute = partial(loading.recompute_activations, member.head_model.model)
    trainer = Trainer(
        member.head_model,
        replace(training_set, sequences=member.from_frozen(training_set.sequences, on_progress)),
        recipe.train.model_copy(update=machine),
        policy=member.policy,
        seed=recipe.seed,
        pad_id=member.encoder.pad_id,
        head=member.head_parameters,
        soft=SoftLoss(recipe.soft.temperature, recipe.soft.weight, recipe.soft.loss == "kl+cosine"),
        recompute=recompute,
        name=f"{recipe.name or 'a member'} {fold}",
    )
    log = close = None
    if recipe.train.report_to and spread.first():
        place = member.encoder.cache / "reports" / (recipe.name or recipe.digest()[:12]) / fold
        log, close = reporter(recipe.train.report_to, place, trainer.steps)
    try:
        facts = trainer.run(
            checkpoints=folder,
            resume=resume,
            evaluate=_refined_loss(member, held, ties=_has_ties(training_set, held)) if len(held) else None,
            on_progress=on_progress,
            on_log=log,
            deadline=deadline,
        )
    finally:
        if close is not None:
            close()
    if still := unmoved(member.head_model):
        facts["unmoved_adapters"] = len(still)
        _log.warning("%s: %d adapters did not move, such as %s", recipe.name, len(still), still[0])
    if len(held):
        facts["inner_validation_rows"] = len(held)
    return facts


def _has_ties(training_set: TrainingSet, held: Battles) -> bool:
    """Whether a tie was voted at all: where none can be, predictions lose P(tie), as they do when scored."""
    return bool((training_set.labels == 2).any() or (held.outcomes() == 2).any())


def _refined_loss(member: MemberModel, held: Battles, *, ties: bool) -> Callable[[], float]:
    """Log-loss on held-out rows at the best temperature, which the ensemble would mend anyway."""
    outcomes = held.outcomes()
    sequences = member.encoder.joined(member.encoder.encode(held))

    def evaluate() -> float:
        log_probs = member.log_probs(sequences)
        if not ties:
            log_probs = tie_aside(without_ties(log_probs), outcomes)
        return log_loss(fit_temperature(log_probs, outcomes).apply(log_probs), outcomes)

    return evaluate
