"""One training loop for every head: token ids and plain settings in, a trained model out.

It knows no battles, no recipes and no files but its own checkpoints, so a benchmark can call it with
torch, transformers, peft and NumPy alone. A step's gradient is the mean over its examples, however
they are cut into micro-batches.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from ...artifacts import atomic
from ...deadline import Clock, Deadline
from ...errors import MemberError, OutOfTime
from . import checkpoints as _checkpoints
from . import spread
from .adapters import trained_parameters
from .batching import Index, plan_epoch
from .gradients import Gradients, fullest
from .heads import HeadModel
from .objective import SoftLoss, parameter_groups, rate_at
from .optimizers import build_optimizer, state_bytes
from .out_of_memory import TokenBudget, remedied
from .pace import Pace
from .sequences import TrainingSet
from .trainer_facts import facts_of
from .trainer_state import TrainerState, copies, exchange, put
from .watch import Log, Watch

_log = logging.getLogger(__name__)
_WATCHES: Final = 10
"""So often during a run is it checked whether the member learns anything."""
GO_ON: Final = "run the same command again to go on"
Evaluate = Callable[[], float]
Progress = Callable[[float, float, str], None]


class Trainer:
    """Trains one head model. ``run`` may be interrupted at any moment and resumed from its checkpoints.

    Parameters
    ----------
    head_model
        On its device, with the parameters to train marked.
    training_set
        The examples.
    settings
        As :class:`arena_ensemble.recipes.TrainSettings` (any object with its fields).
    policy
        Needs ``device``, ``context()`` and ``scaled``.
    head
        Names of the head's parameters, which get the head's learning rate.
    soft
        How a teacher counts, where the examples have one.
    recompute
        Turns on that layers are computed again in the backward pass; called when memory runs out and smaller
        micro-batches would be inefficient. None where it is on already, or never shall be.
    name
        How warnings call what is trained.
    """

    def __init__(
        self,
        head_model: HeadModel,
        training_set: TrainingSet,
        settings: Any,
        *,
        policy: Any,
        seed: int,
        pad_id: int,
        head: Sequence[str] = (),
        soft: SoftLoss | None = None,
        recompute: Callable[[], None] | None = None,
        name: str = "a member in training",
    ) -> None:
        self.head_model, self.training_set = head_model, training_set
        self.settings, self.policy = settings, policy
        self.seed, self.name = seed, name
        self.named = trained_parameters(head_model)
        self.parameters = list(self.named.values())
        groups = parameter_groups(head_model, settings, head)
        kind = getattr(settings, "optimizer", "adamw")
        self.optimizer = build_optimizer(kind, groups, policy.device)
        self.optimizer_bytes = state_bytes(kind, self.parameters)
        self.scaler = torch.amp.GradScaler(enabled=policy.scaled)
        self.ema: list[torch.Tensor] | None = None
        if settings.ema:
            self.ema = [p.detach().float().clone() for p in self.parameters]  # rounded, it would stand still
        self.best: list[torch.Tensor] | None = None
        self.state = TrainerState(losses=[])
        self.gradients = Gradients(
            head_model,
            training_set,
            policy,
            self.scaler,
            pad_id,
            settings.packing,
            soft or SoftLoss(),
            self.parameters,
            TokenBudget(settings.batch_tokens, f"training of {name}"),
            recompute,
            getattr(settings, "gradient_checkpointing", False) is True,
        )
        self.kept = 0
        self.watch = Watch(training_set, name)
        self.seen_logits = self.watch.seen_logits
        unit_lengths = training_set.sequences.lengths[training_set.units]
        self.unit_lengths: Index = np.asarray(unit_lengths.max(axis=1) * training_set.units.shape[1])

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return len(self.plan(0)) * int(self.settings.epochs)

    def plan(self, epoch: int) -> list[list[Index]]:
        """The optimizer steps of one epoch, as micro-batches of units."""
        return plan_epoch(
            self.unit_lengths,
            batch_rows=self.settings.batch_rows,
            batch_tokens=self.settings.batch_tokens,
            window=self.settings.window,
            seed=self.seed,
            epoch=epoch,
        )

    def run(
        self,
        *,
        checkpoints: Path | None = None,
        resume: bool = False,
        evaluate: Evaluate | None = None,
        on_progress: Progress | None = None,
        on_log: Log | None = None,
        deadline: Deadline | None = None,
        clock: Clock | None = None,
        rehearse: bool | None = None,
    ) -> dict[str, Any]:
        """Train to the end and return facts for the card.

        Parameters
        ----------
        checkpoints
            The folder of checkpoints; None keeps none.
        resume
            Whether to go on from a checkpoint there.
        evaluate
            A loss on held-out rows, for early stopping.
        deadline
            When to have stopped, a last checkpoint included; None is never.
        clock
            Seconds that checkpoints by time go by; None takes the deadline's, else the machine's.
        rehearse
            Whether to run the fullest micro-batches first and forget them, so that too little memory shows
            at once and not after hours. It changes no bit. None: on a GPU only.

        Raises
        ------
        MemberError
            The loss of a batch is NaN or infinite, its row ids are named; or memory ran out with one row.
        OutOfTime
            The deadline came first.
        """
        settings, state, steps = self.settings, self.state, self.steps
        per_epoch = len(self.plan(0))
        if resume and checkpoints is not None:
            self._restore(checkpoints)
        self.head_model.train()
        if self.policy.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.policy.device)  # an earlier fold's is not this one's
        if self.policy.device.type == "cuda" if rehearse is None else rehearse:
            self._rehearse()
        start = time.perf_counter() - state.seconds
        pace = Pace(
            minutes=settings.checkpoint_minutes,
            every=settings.checkpoint_every,
            deadline=deadline,
            checkpoint_bytes=self.optimizer_bytes
            + sum(p.numel() * p.element_size() for p in self.parameters),
            clock=clock,
        )

        def keep() -> None:
            if checkpoints is not None:
                began, state.seconds = pace.clock(), time.perf_counter() - start
                if not spread.first() or _checkpoints.try_write(self, checkpoints):
                    self.kept = state.done
                spread.wait()
                pace.checkpoint_written(began)

        marks = {round(per_epoch * (k + 1) / settings.evaluations) - 1 for k in range(settings.evaluations)}
        # a run killed between stopping and its end has stopped
        stopped = 0 < settings.early_stopping <= state.stale
        while state.epoch < settings.epochs:
            plan = self.plan(state.epoch)
            if state.step == 0:
                self.seen_logits[:] = np.nan
            while state.step < len(plan) and not stopped:
                if spread.agreed(pace.must_stop()):
                    if state.done != self.kept:
                        keep()
                    kept = "which are kept" if self.kept == state.done else f"{self.kept:,} of them kept"
                    raise OutOfTime(
                        f"{self.name}: out of time after {state.done:,} of {steps:,} steps, {kept}; {GO_ON}"
                    )
                pace.step_begins()
                at, rate = state.step, rate_at(state.done, steps, settings.warmup, settings.schedule)
                loss = self.train_step(plan[at], rate, following=next(iter(plan[at + 1 :]), ()))
                state.step, state.done = state.step + 1, state.done + 1
                self._report(loss, steps, on_progress, on_log)
                if evaluate is not None and settings.early_stopping and at in marks:
                    stopped = self._evaluate(evaluate, on_log)
                pace.step_ended()
                if state.done < steps and spread.agreed(pace.checkpoint_due(state.done)):
                    keep()
            assert state.losses is not None
            state.losses.append(self.watch.epoch_loss())
            state.epoch, state.step = state.epoch + 1, 0
            if stopped:
                break
        state.seconds = time.perf_counter() - start
        self._settle()
        return facts_of(self, steps, stopped)

    def train_step(
        self, micro_batches: list[Index], relative_rate: float, following: Sequence[Index] = ()
    ) -> float:
        """One optimizer step over micro-batches of units; returns its loss. ``following``: the next step's.

        Raises
        ------
        MemberError
            The loss is NaN or infinite, or memory ran out with a single row.
        """
        training_set = self.training_set
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * relative_rate
        found = self.gradients.add(micro_batches, following)
        self._remember_budget()
        self.state.real, self.state.padded = self.state.real + found.real, self.state.padded + found.padded
        if not bool(torch.isfinite(found.losses).all()):
            bad = found.rows[int(np.flatnonzero(~torch.isfinite(found.losses).numpy())[0])]
            ids = sorted({str(training_set.names[k]) for k in bad.tolist()})
            raise MemberError(
                f"the loss is NaN or infinite in a batch of rows {', '.join(ids[:20])}"
                f"{' …' if len(ids) > 20 else ''}: lower train.learning_rate, or set train.precision = "
                "'fp32' or 'bf16'"
            )
        self.watch.add(np.concatenate(found.rows), found.logits)
        self._update()
        return float(found.losses.sum())

    def _restore(self, checkpoints: Path) -> None:
        """Go on from the newest checkpoint, with its micro-batches."""
        if spread.first():
            atomic.sweep(checkpoints)  # what a killed run left is as large as a checkpoint
        spread.wait()
        self.kept = _checkpoints.restore(self, checkpoints) or 0
        if self.state.recomputes:
            self.gradients.start_recomputing()
        if self.state.batch_tokens is not None:
            self.gradients.budget.tokens, self.gradients.budget.shrunk = self.state.batch_tokens, True

    def _rehearse(self) -> None:
        """Run the fullest micro-batches of all epochs to come once; nothing is changed but the budget."""
        epochs = range(self.state.epoch, self.settings.epochs)
        parts = [units for epoch in epochs for step in self.plan(epoch) for units in step]
        reserve = 0 if self.optimizer.state else self.optimizer_bytes
        if parts:
            self.gradients.rehearse(fullest(parts, self.unit_lengths), reserve)
        self._remember_budget()

    def _remember_budget(self) -> None:
        budget = self.gradients.budget
        self.state.batch_tokens = budget.tokens if budget.shrunk else None
        self.state.recomputes = self.gradients.recomputes

    def _update(self) -> None:
        """Clip the gradients, move the parameters, and follow them with the moving average."""
        with remedied(f"training of {self.name}: optimizer step {self.state.done + 1}"):
            if self.settings.max_grad_norm:
                self.scaler.unscale_(self.optimizer)
                torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            if self.ema is not None:
                with torch.no_grad():
                    # early averages lean on few steps, so the decay itself warms up
                    decay = min(self.settings.ema, (1 + self.state.done) / (10 + self.state.done))
                    torch._foreach_lerp_(self.ema, [p.detach().float() for p in self.parameters], 1 - decay)

    def _report(self, loss: float, steps: int, on_progress: Progress | None, on_log: Log | None) -> None:
        done = self.state.done
        if on_progress:
            on_progress(done, steps, f"loss {loss:.3f}")
        if on_log:
            on_log(done, {"loss": loss, "learning_rate": self.optimizer.param_groups[0]["lr"]})
        if done % -(-steps // _WATCHES) == 0:
            # warned earlier, many a sound run would look bad
            self.watch.look(done, steps, on_log, warn=5 * done >= 2 * steps)

    def _evaluate(self, evaluate: Evaluate, on_log: Log | None) -> bool:
        """Whether to stop: no better validation loss for ``early_stopping`` evaluations."""
        live = exchange(self.parameters, self.ema) if self.ema is not None else None
        self.head_model.eval()
        value = evaluate()
        self.head_model.train()
        state = self.state
        if value < state.best:
            state.best, state.best_done, state.stale = value, state.done, 0
            self.best = copies(self.parameters)
        else:
            state.stale += 1
        if live is not None:
            put(self.parameters, live)
        if on_log:
            on_log(state.done, {"refined_validation_loss": value})
        return bool(state.stale >= self.settings.early_stopping)

    def _settle(self) -> None:
        """The weights that are kept: the best evaluated, else the average, else the last."""
        if self.best is not None:
            put(self.parameters, self.best)
        elif self.ema is not None and self.state.done:
            put(self.parameters, self.ema)
        self.head_model.eval()
