"""One model over several processes: its frozen weights in shards (FSDP2), rows and gradients shared out.

Frozen weights lie in shards, gathered layer by layer as they are needed (PyTorch's ``fully_shard``; Zhao et
al. 2023, arXiv:2304.11277). What is trained (adapters, a head) is small and whole in every process: each
takes its share of a micro-batch's rows, gradients are summed, and all take the same optimizer step. So
weights, checkpoints and artifacts are those of one process, up to the order of sums.

Outside such a group every function here does what one process needs: nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import nn

Index = npt.NDArray[np.int64]
_LAYER: Final = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks)\.\d+\Z")


def rank() -> int:
    """Which process of the group this is; 0 outside one."""
    return dist.get_rank() if inside() else 0


def size() -> int:
    """How many processes the model is spread over."""
    return dist.get_world_size() if inside() else 1


def inside() -> bool:
    """Whether this process is one of a group."""
    return dist.is_available() and dist.is_initialized()


def first() -> bool:
    """Whether this process writes what all of them have."""
    return rank() == 0


def wait() -> None:
    """Until all processes are here."""
    if inside():
        dist.barrier()


def agreed(value: bool) -> bool:
    """What the first process thinks, since clocks differ."""
    if not inside():
        return value
    sent = [value]
    dist.broadcast_object_list(sent, src=0)
    return bool(sent[0])


def share(rows: Index) -> Index:
    """This process's rows of a batch. Where it has none, the first row again, as ``-1 - row``: it runs along,
    for layers are gathered by all, and counts nothing."""
    if not inside():
        return rows
    mine = rows[rank() :: size()]
    return mine if len(mine) else -1 - rows[:1]


def real_rows(rows: Index) -> tuple[Index, bool]:
    """The rows of a :func:`share`, and whether they count."""
    idle = len(rows) > 0 and int(rows[0]) < 0
    return (-1 - rows, False) if idle else (rows, True)


def whole(output: torch.Tensor, rows: int) -> torch.Tensor:
    """The outputs (rows, …) of a batch, in its order, from those of each process's share."""
    if not inside():
        return output
    most = -(-rows // size())
    padded = output.new_zeros(most, *output.shape[1:])
    padded[: len(output)] = output
    parts = [torch.empty_like(padded) for _ in range(size())]
    dist.all_gather(parts, padded.contiguous())
    return torch.stack(parts, dim=1).reshape(most * size(), *output.shape[1:])[:rows]


def gathered(value: Any) -> list[Any]:
    """Each process's value, by rank."""
    if not inside():
        return [value]
    found: list[Any] = [None] * size()
    dist.all_gather_object(found, value)
    return found


def sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Give every process the sum of all processes' gradients."""
    if not inside():
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    # few large messages in place of many small ones
    by_type: dict[torch.dtype, list[torch.Tensor]] = {}
    for parameter in parameters:
        assert parameter.grad is not None
        by_type.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in by_type.values():
        flat, start = torch.cat([gradient.reshape(-1) for gradient in gradients]), 0
        dist.all_reduce(flat)
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()


def shard(model: nn.Module, device: torch.device, also_whole: Sequence[str] = ()) -> dict[str, int]:
    """Spread the frozen parameters of a model over the group; the others are moved to the device whole.

    Returns facts for the card: processes, and bytes of frozen weights that this one holds.

    Parameters
    ----------
    also_whole
        Names of frozen parameters that every process keeps, such as a head's.
    """
    if not inside():
        return {}
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    mesh = init_device_mesh(device.type, (size(),))
    kept = {p for name, p in model.named_parameters() if p.requires_grad or name in set(also_whole)}
    for parameter in kept:
        parameter.data = parameter.data.to(device)
    for name, part in model.named_modules():
        if _LAYER.search(name):
            fully_shard(part, mesh=mesh, ignored_params=kept & set(part.parameters()))
    fully_shard(model, mesh=mesh, ignored_params=kept)
    frozen = [p for p in model.parameters() if isinstance(p, DTensor)]
    held = sum(p.to_local().numel() * p.element_size() for p in frozen)
    return {"processes": size(), "shard_bytes": held}


def through(model: nn.Module, function: Callable[[Any], Any], batch: Any) -> Any:
    """``function(batch)`` with the model's outermost weights gathered, as in its own forward pass."""
    if not inside():
        return function(batch)
    forward = model.forward
    model.forward = function
    try:
        return model(batch)
    finally:
        model.forward = forward


def no_gradients() -> Any:
    """Prediction's context. Weights that were gathered in inference mode could not be trained with later."""
    return torch.no_grad() if inside() else torch.inference_mode()
