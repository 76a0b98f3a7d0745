"""Memory of one training step and one prediction pass, simulated with tensors that have no values.

The engine's own model, adapters and head run forward and backward on fake tensors, and every storage
that is allocated or freed is counted. That sees what formulas forget: the copies that casts make, the
normalisations kept in float32, the score matrices of attention that is not fused. Layers are alike, so
two shallow models give the memory of a deep one.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..backbones.language.heads import HeadModel

Act = Literal["step", "keep", "read"]


class StorageTracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of storages that operations make, while they live.

    ``now`` and ``peak`` leave out what was there before (``known``): weights and inputs.
    """

    def __init__(self, known: Iterator[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._seen: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        for tensor in known:
            self._seen[tensor.untyped_storage()] = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                if storage not in self._seen:
                    size = storage.nbytes()
                    self._seen[storage] = size
                    self.now += size
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self._died, size)
        return result

    def _died(self, size: int) -> None:
        self.now -= size


@dataclass(frozen=True)
class MemoryUse:
    """Bytes beside weights and inputs."""

    kept: int
    """alive after the forward pass: what the backward pass needs"""
    passing: int
    """at most alive at once beyond ``kept``"""


def measure(
    head_model: HeadModel, batch: dict[str, torch.Tensor], act: Act, half: torch.dtype | None
) -> MemoryUse:
    """Run one batch on a model whose tensors exist already, real or fake; see :func:`simulate_batch`."""
    known = iter([*head_model.parameters(), *head_model.buffers(), *batch.values()])
    tracker = StorageTracker(known)
    head_model.train(act != "read")
    with tracker, torch.set_grad_enabled(act != "read"):
        with _cast(half):
            logits = head_model(batch)
        kept = tracker.now
        if act == "step" and logits.requires_grad:
            logits.logsumexp(dim=1).sum().backward()
        del logits
    return MemoryUse(kept, tracker.peak - kept)


def _cast(half: torch.dtype | None) -> contextlib.AbstractContextManager[Any]:
    # The fake tensors count as a CPU's; what autocast keeps in 16 bits is nearly the same on a GPU.
    return contextlib.nullcontext() if half is None else torch.autocast("cpu", dtype=half)


def simulate_batch(
    build: Callable[[], HeadModel], rows: int, length: int, act: Act, half: torch.dtype | None
) -> MemoryUse:
    """Build a model on the meta device, give its weights fake storage, and run one batch.

    Parameters
    ----------
    build
        Makes the model; called under the meta device.
    rows, length
        Shape of the batch of token ids.
    act
        ``step``: forward and backward, gradients counted as passing. ``keep``: the forward pass of
        training. ``read``: of prediction.
    half
        The type that forward passes run in, or None for float32.
    """
    with torch.device("meta"):
        head_model = build()
    with FakeTensorMode():
        _replace_by_fakes(head_model)
        ids = torch.zeros(rows, length, dtype=torch.long)
        batch = {"input_ids": ids, "last": torch.full((rows,), length - 1)}
        return measure(head_model, batch, act, half)


def _replace_by_fakes(head_model: nn.Module) -> None:
    """Replace every weight and buffer by a fake tensor of its shape; tied ones stay tied."""
    fakes: dict[int, torch.Tensor] = {}

    def fake(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in fakes:
            other = torch.empty(tensor.shape, dtype=tensor.dtype)
            if isinstance(tensor, nn.Parameter):
                other = nn.Parameter(other, requires_grad=tensor.requires_grad)
            fakes[id(tensor)] = other
        return fakes[id(tensor)]

    kept: list[torch.Tensor] = []  # an id must not be used twice while the originals are replaced
    for part in head_model.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                kept.append(weight)
                part._parameters[name] = cast(nn.Parameter, fake(weight))
        for name, buffer in part._buffers.items():
            if buffer is not None:
                kept.append(buffer)
                part._buffers[name] = fake(buffer)
