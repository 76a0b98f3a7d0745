"""The gradients of one optimizer step, added up over micro-batches that fit into memory."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch

from ...errors import MemberError
from ...losses import Floats
from . import spread
from .ahead import Ahead
from .batching import Index
from .heads import HeadModel
from .objective import SoftLoss, example_loss
from .out_of_memory import TokenBudget, attempt, random_state, set_random_state
from .sequences import TrainingSet, collate

_log = logging.getLogger(__name__)
ENOUGH_TOKENS: Final = 2048
"""A micro-batch of so many tokens still fills a GPU's matrix products. Down to it halving comes before
recomputing the layers, which adds half to the work of LoRA training (2N operations a token beside 4N)."""


@dataclass(frozen=True, eq=False)
class Accumulated:
    """What a step's micro-batches gave; the gradients lie in the parameters."""

    rows: list[Index]
    """the micro-batches"""
    logits: Floats
    """(rows, 3)"""
    losses: torch.Tensor
    """(micro-batches,) parts of the step's mean loss, on the CPU"""
    real: int
    padded: int
    """tokens"""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A micro-batch on its device: what the model sees, and what is learned from it."""

    batch: dict[str, torch.Tensor]
    labels: torch.Tensor
    weights: torch.Tensor
    teacher: torch.Tensor | None
    share: torch.Tensor
    """of the loss that the teacher has, for each row or for all"""


@dataclass(eq=False)
class Gradients:
    """Runs micro-batches forward and backward; the parameters are as in :class:`.trainer.Trainer`."""

    head_model: HeadModel
    training_set: TrainingSet
    policy: Any
    scaler: torch.amp.GradScaler
    pad_id: int
    packed: bool
    soft: SoftLoss
    parameters: Sequence[torch.nn.Parameter]
    budget: TokenBudget
    recompute: Callable[[], None] | None = None
    """makes the layers keep nothing and compute again in the backward pass, where that is left to memory"""
    recomputes: bool = False
    """whether it was called"""

    def __post_init__(self) -> None:
        own = weakref.ref(self)  # a cycle would keep the trained base beside the next one

        def prepared(rows: Index) -> Any:
            gradients = own()
            assert gradients is not None
            return gradients._prepared(rows)

        self._ahead = Ahead(prepared)

    def add(self, micro_batches: Sequence[Index], following: Sequence[Index] = ()) -> Accumulated:
        """Add the gradients of the mean loss over micro-batches of units.

        When memory runs out, all is done again in smaller ones, and so are all later steps. The first of the
        ``following`` ones, those of the next step, is prepared meanwhile.

        Raises
        ------
        MemberError
            Memory ran out with a single row.
        """
        whole = [self.training_set.units[units].reshape(-1) for units in micro_batches]
        total = float(sum(self.training_set.weights[part].sum() for part in whole)) or 1.0
        rows = self._cut(whole)
        following = following[:1]
        then = self._cut([self.training_set.units[units].reshape(-1) for units in following])[:1]
        before = random_state(self.policy.device)
        while (found := attempt(partial(self._accumulate, rows, total, then))) is None:
            self._forget(before)
            rows = self._in_less_memory(rows, whole)
        self.budget.settled()
        spread.sum_gradients(self.parameters)
        return found

    def rehearse(self, micro_batches: Sequence[Index], reserve: int) -> None:
        """Run micro-batches of units forward and backward and leave everything as it was.

        Parameters
        ----------
        micro_batches
            Those that need most memory, the fullest last: it meets the gradients of those before it.
        reserve
            Bytes that an optimizer will take, kept occupied meanwhile.

        Raises
        ------
        MemberError
            Memory ran out with a single row.
        """
        whole = [self.training_set.units[units].reshape(-1) for units in micro_batches]
        rows = self._cut(whole)
        before = random_state(self.policy.device)

        def once() -> bool:
            kept = torch.empty(reserve, dtype=torch.uint8, device=self.policy.device)
            self._accumulate(rows, 1.0)
            del kept
            return True

        while not attempt(once):
            self._forget(before)
            rows = self._in_less_memory(rows, whole)
        self._forget(before)
        self.budget.settled()

    def start_recomputing(self) -> bool:
        """Compute layers again from now on; False where that is no choice, or the model cannot.

        Every number stays but for rounding: it is the same forward pass, from the same random state.
        """
        if self.recompute is None:
            return False
        recompute, self.recompute = self.recompute, None
        try:
            recompute()
        except ValueError as error:  # transformers' word for a model without it
            _log.info("%s: %s", self.budget.what, str(error).strip().splitlines()[0])
            return False
        self.recomputes = True
        return True

    def _cut(self, whole: list[Index]) -> list[Index]:
        if not self.budget.shrunk or not whole:
            return whole
        return self.budget.cut(whole, self.training_set.sequences.lengths)

    def _in_less_memory(self, rows: list[Index], whole: list[Index]) -> list[Index]:
        """The same rows: in halves while those are large, then whole and recomputed, then in halves."""
        if spread.inside():  # the other processes wait in the middle of this step
            raise MemberError(
                f"{self.budget.what}: out of memory in process {spread.rank()} of {spread.size()}; set "
                "train.gradient_checkpointing = true, train.batch_tokens lower, or machine.processes higher"
            )
        lengths = self.training_set.sequences.lengths
        if self.budget.next(rows, lengths) < ENOUGH_TOKENS and self.start_recomputing():
            self.budget.restore()
            _log.info(
                "%s: out of memory; from here on layers are computed again in the backward pass, which "
                "changes no result but by rounding",
                self.budget.what,
            )
            return whole
        return self.budget.smaller(rows, lengths, self._name)

    def _name(self, row: int) -> str:
        return str(self.training_set.names[row])

    def _forget(self, before: dict[str, torch.Tensor]) -> None:
        for parameter in self.parameters:
            parameter.grad = None
        set_random_state(before, self.policy.device)

    def _accumulate(self, rows: list[Index], total: float, then: Sequence[Index] = ()) -> Accumulated:
        rows, then = [spread.share(part) for part in rows], [spread.share(part) for part in then]
        after = [*rows[1:], *then, None][: len(rows)]
        prepared = (self._ahead.get(part, later) for part, later in zip(rows, after, strict=True))
        logits, losses, shapes = zip(*(self._backward(part, total) for part in prepared), strict=True)
        values = torch.stack(losses).cpu()  # the step's only wait for the device
        counts = [k for k, part in enumerate(rows) if spread.real_rows(part)[1]]
        real = sum(int(self.training_set.sequences.real_tokens[rows[k]].sum()) for k in counts)
        every = torch.cat([*(logits[k] for k in counts), logits[0][:0]]).double().cpu().numpy()
        mine = Accumulated([rows[k] for k in counts], every, values[counts], real, sum(shapes))
        return _together(spread.gathered(mine))

    def _prepared(self, rows: Index) -> Prepared:
        training_set, device = self.training_set, self.policy.device
        rows, counts = spread.real_rows(rows)
        batch = self._batch(rows)
        labels = _to(torch.from_numpy(training_set.labels[rows]), device)
        weights = _to(torch.from_numpy(training_set.weights[rows] * counts).float(), device)
        teacher, share = None, torch.tensor(self.soft.share)
        if training_set.teacher is not None:
            teacher = _to(torch.from_numpy(training_set.teacher[rows]).float(), device)
        if training_set.voted is not None:
            share = torch.where(torch.from_numpy(training_set.voted[rows]), share, 1.0)
        return Prepared(batch, labels, weights, teacher, _to(share, device))

    def _backward(self, given: Prepared, total: float) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Add one micro-batch's gradients; its logits (n, 3), its part of the loss, its padded tokens."""
        batch = given.batch
        with self.policy.context():
            logits = self.head_model(batch)
        each = example_loss(
            logits,
            given.labels,
            given.teacher,
            temperature=self.soft.temperature,
            share=given.share,
            cosine=self.soft.cosine,
        )
        loss = (each * given.weights).sum() / total
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        shape = batch["input_ids"] if "input_ids" in batch else batch["features"][:, :1]
        return logits.detach(), loss.detach(), int(shape.numel())

    def _batch(self, rows: Index) -> dict[str, torch.Tensor]:
        return collate(
            self.training_set.sequences,
            rows,
            pad_id=self.pad_id,
            segment_ids=self.head_model.segment_ids,
            causal=self.head_model.causal,
            device=self.policy.device,
            packed=self.packed,
        )


def _together(parts: Sequence[Accumulated]) -> Accumulated:
    """What the processes of a group have added up, as one."""
    if len(parts) == 1:
        return parts[0]
    return Accumulated(
        [rows for part in parts for rows in part.rows],
        np.concatenate([part.logits for part in parts]),
        torch.cat([part.losses for part in parts]),
        sum(part.real for part in parts),
        sum(part.padded for part in parts),
    )


def fullest(micro_batches: Sequence[Index], unit_lengths: Index) -> list[Index]:
    """Of micro-batches of units the one with the longest unit, then the one with most tokens."""

    def tokens(units: Index) -> int:
        return int(unit_lengths[units].max()) * len(units)

    def longest(units: Index) -> int:
        return int(unit_lengths[units].max())

    return [
        max(micro_batches, key=lambda units: (longest(units), tokens(units))),
        max(micro_batches, key=lambda units: (tokens(units), longest(units))),
    ]


def _to(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
